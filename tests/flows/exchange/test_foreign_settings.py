"""Settings of another program are taken strictly."""

import pytest

from flows.exchange.foreign_settings import ForeignSettings, is_number
from infra.errors import ConfigError

DEFAULTS = {"size": 3, "rate": 0.5, "table": None, "word": "a"}


def read(**given: object) -> ForeignSettings:
    return ForeignSettings(given, DEFAULTS, "Thing", "thing.json")


def test_defaults_where_nothing_is_given() -> None:
    settings = read(size=4, _version="1")
    assert (settings["size"], settings["rate"]) == (4, 0.5)
    assert settings.whole("size") == 4
    assert settings.number("rate") == 0.5
    assert settings.one_of("word", ("a", "b")) == "a"
    assert read(table=[1, 0.5]).numbers("table") == [1.0, 0.5]


def test_the_class_and_the_names_are_checked() -> None:
    assert read(_class_name="Thing")["_class_name"] == "Thing"
    with pytest.raises(ConfigError, match=r'^thing.json: _class_name is "Other"; we can represent Thing$'):
        read(_class_name="Other")
    with pytest.raises(ConfigError, match=r"^thing.json: depth is not a setting of Thing that we know; it is 3$"):
        read(depth=3)


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", None, [3], 1 << 40])
def test_whole_numbers(value: object) -> None:
    with pytest.raises(ConfigError, match=r"size is .*; we can represent whole numbers from 1 to 1048576"):
        read(size=value).whole("size")


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), [1.0], 10**400])
def test_numbers(value: object) -> None:
    assert not is_number(value)
    with pytest.raises(ConfigError, match=r"rate is .*; we can represent finite numbers"):
        read(rate=value).number("rate")
    with pytest.raises(ConfigError, match=r"table is .*; we can represent a list of finite numbers"):
        read(table=[1.0, value]).numbers("table")


def test_words_and_cases() -> None:
    with pytest.raises(ConfigError, match='word is "c"; we can represent a or b'):
        read(word="c").one_of("word", ("a", "b"))
    with pytest.raises(ConfigError, match=r"word is \[1\]; we can represent a or b"):
        read(word=[1]).one_of("word", ("a", "b"))
    read().check_cases({"size": 3, "word": "a"})
    with pytest.raises(ConfigError, match=r"rate is 0.5; we can represent 0.25 only"):
        read().check_cases({"size": 3, "rate": 0.25})


def test_long_values_are_cut_to_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        read(word="x\n" * 1000).one_of("word", ("a",))
    assert len(str(caught.value)) < 160
    assert "\n" not in str(caught.value)
