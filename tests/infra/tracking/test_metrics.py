"""A changed figure gets a later point than all before it; an unchanged one gets none."""

from math import nan

from infra.tracking.metrics import Point, changed, new_points


def test_new_and_changed_figures_have_points() -> None:
    last = {"b": Point(4, 900, 2.0)}
    found = new_points({"a": 1.0, "b": 1.0, "c": 3.0}, {"b": 2.0, "c": 3.0}, last, 500, 2)
    assert found == {"a": Point(2, 500, 1.0), "b": Point(4, 901, 1.0)}
    assert found["b"] > last["b"], "which MLflow then shows"


def test_nan_equals_itself() -> None:
    assert changed({"a": nan, "b": nan, "c": 1.0}, {"a": nan, "b": 1.0}) == ["b"]
