"""Nodes that differ, and workers on nodes that joined later, are recorded and said, or refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from flows.nodes.environment import Environment
from flows.nodes.survey import Begun, Survey, SurveyedTask, joined_later, take_survey
from flows.stage import Context
from infra.compute.cluster import Cluster
from infra.compute.hardware import Hardware
from infra.compute.nodes import HERE
from infra.compute.units import Workers
from infra.errors import ConflictError
from infra.outputs.environments import periods_of
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from tests.hardware import A100_NODE, CPU_NODE, H100_NODE, T4_NODE, node

PLAN = Plan(stage="bake", format_version=1, settings={}, inputs={})
TRAINING = Environment(work="training", device="cuda", settings={"dtype": "float16"}, workers=Workers(gpus=1))
MIXED = "device: NVIDIA H100; Tesla T4"


def cluster_of(monkeypatch: pytest.MonkeyPatch, context: Context, **nodes: Hardware) -> Context:
    """The context on a cluster of these nodes."""
    monkeypatch.setattr(context.cluster.nodes, "hold", lambda *_, **__: nodes)
    return context


def bake(context: Context, environment: Environment = TRAINING, join: str = "") -> Manifest:
    """Begin and seal an output, by a worker on the node `join`."""

    def make(output: Output, survey: Survey) -> Manifest:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("flows.nodes.survey.this_node", lambda: join or min(survey.nodes))
            SurveyedTask(task=Nothing(), survey=survey, output=output).open()
        return output.seal({}, [], {})

    return context.sealed(PLAN, {}, lambda: environment, make)[0]


class Nothing:
    def open(self) -> Callable[[int], None]:
        return lambda _: None


def test_like_nodes_are_one_environment_and_no_line(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    context = make_context(say=lines.append, strict_environment=True)
    manifest = bake(cluster_of(monkeypatch, context, a=H100_NODE, b=H100_NODE))
    assert manifest.environment == {"device": "NVIDIA H100", "python": "3.11", "torch": "2.13", "dtype": "float16"}
    assert lines == []


def test_unlike_nodes_are_recorded_and_said_once(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    context = cluster_of(monkeypatch, make_context(say=lines.append), a=T4_NODE, b=H100_NODE)
    assert bake(context).environment["device"] == "NVIDIA H100; Tesla T4"
    (line,) = lines
    assert line.startswith(f"bake: works on nodes that differ ({MIXED}); the bytes may differ")
    context.survey(TRAINING, "bake")
    assert lines == [line]


def test_unlike_nodes_are_refused_by_a_strict_run_before_anything_begins(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = cluster_of(monkeypatch, make_context(strict_environment=True), a=T4_NODE, b=H100_NODE)
    with pytest.raises(ConflictError) as caught:
        bake(context)
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(f"bake: the nodes that can hold a worker differ ({MIXED}) - take nodes")
    assert not context.store.list("bake")


def test_what_does_not_count_for_the_work_makes_no_mixture(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(strict_environment=True)
    cluster_of(monkeypatch, context, a=H100_NODE, b=replace(H100_NODE, cpu="aarch64", host="elsewhere", cores=1))
    assert bake(context).environment["device"] == "NVIDIA H100"


def test_a_worker_on_a_node_that_joined_records_and_says_what_differs(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    context = make_context(say=lines.append)
    context.cluster.probe = lambda: T4_NODE
    manifest = bake(cluster_of(monkeypatch, context, a=H100_NODE), join="b")
    first, second = (period.environment for period in periods_of(manifest))
    assert (first["device"], second["device"]) == ("NVIDIA H100", "Tesla T4")
    assert second["dtype"] == "float16"
    (line,) = lines
    assert line.startswith(
        "bake: a node that joined works in another environment (device: NVIDIA H100 there, Tesla T4 here); "
    )


def test_a_worker_on_a_node_that_joined_and_is_alike(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    context = make_context(say=lines.append, strict_environment=True)
    context.cluster.probe = lambda: H100_NODE
    assert len(periods_of(bake(cluster_of(monkeypatch, context, a=H100_NODE), join="b"))) == 1
    assert lines == []


def test_a_worker_on_a_node_that_joined_leaves_a_strict_run(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(strict_environment=True)
    context.cluster.probe = lambda: node(torch="2.11")
    environment = Environment(work="measuring", workers=Workers())
    with pytest.raises(ConflictError, match=r"a node that joined has another environment \(torch: 2.13 there, 2.11 "):
        bake(cluster_of(monkeypatch, context, a=CPU_NODE), environment, join="b")


def test_a_run_that_goes_on_does_not_say_again_what_joined_before(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    context = make_context(say=lines.append)
    context.cluster.probe = lambda: T4_NODE
    cluster_of(monkeypatch, context, a=H100_NODE)
    output = context.output(PLAN)
    begun = context.begin(output, TRAINING)
    monkeypatch.setattr("flows.nodes.survey.this_node", lambda: "b")
    begun.survey.compare(output)
    again: Begun = context.begin(output, TRAINING)
    assert (begun.environments, again.environments) == (1, 2)
    manifest = output.seal({}, [], {})
    assert len(joined_later(output, begun, manifest)) == 1
    assert joined_later(output, again, manifest) == []


def test_a_survey_travels_as_json() -> None:
    survey = Survey.of(replace(TRAINING, more=("numpy",)), {"a": H100_NODE, "b": A100_NODE}, strict=True)
    again = Survey.from_json(json.loads(json.dumps(survey.as_json())))
    assert (again.nodes, again.recorded, again.strict) == (survey.nodes, survey.recorded, True)
    assert again.environment.on([T4_NODE]) == survey.environment.on([T4_NODE])


def test_work_of_the_driver_asks_nobody() -> None:
    survey = take_survey(
        Environment(work="copying"),
        Cluster(address="127.0.0.1:1"),
        "bake",
        strict=False,
        on_wait=partial(pytest.fail, "waited"),
    )
    assert survey.nodes == {HERE}
