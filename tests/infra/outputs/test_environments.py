"""The chain of environments: in order, each once, through races and damage, and in the manifest of each goal."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import infra.outputs.manifest
from infra.outputs.environments import FACT, Environments, Period, differences, environment_in_words, periods_of
from infra.outputs.manifest import Manifest, parse_manifest
from infra.outputs.plan import Output
from infra.storage.local_store import LocalStore
from infra.storage.s3_store import S3Store
from infra.storage.store import Store
from tests.faults.leases import Hooked
from tests.infra.outputs.example import HERE, path, seal

THERE = HERE | {"device": "a GPU"}
LATER = HERE | {"torch": "2"}


def after(units: int) -> Callable[[], dict[str, int]]:
    return lambda: {"units": units}


def chain(store: Store) -> Environments:
    return Environments(store=store, folder="bake/0123")


def walk(store: Store) -> None:
    """Three environments, one of which comes back."""
    environments = chain(store)
    words = [environments.enter(one, after(n)) for n, one in enumerate((HERE, THERE, THERE, LATER, HERE))]
    assert words == [
        "",
        "device: x86_64 AVX2 there, a GPU here",
        "",
        "device: a GPU there, x86_64 AVX2 here; torch: 1 there, 2 here",
        "",
    ]
    assert environments.periods() == [
        Period(environment=HERE, after={}),
        Period(environment=THERE, after={"units": 1}),
        Period(environment=LATER, after={"units": 3}),
    ]


def test_each_is_recorded_once_in_the_order_in_which_they_came(store: LocalStore) -> None:
    walk(store)


def test_on_s3(moto_store: S3Store) -> None:
    walk(moto_store)


@pytest.mark.parametrize("same", [True, False])
def test_sixteen_at_once_lose_nothing(store: LocalStore, same: bool) -> None:
    chain(store).enter(HERE, after(0))

    def enter(number: int) -> str:
        return chain(store).enter(HERE | {"torch": "9" if same else f"{number}.0"}, after(number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(enter, range(16)))
    found = [period.environment["torch"] for period in chain(store).periods()]
    assert sorted(found) == sorted(["1", "9"] if same else ["1", *(f"{number}.0" for number in range(16))])


def test_one_that_comes_between_look_and_put_is_neither_lost_nor_repeated(store: LocalStore) -> None:
    chain(store).enter(HERE, after(0))
    slow, puts = Hooked(store), []

    def meanwhile() -> None:
        puts.append(1)
        if len(puts) == 2:  # the first put finds the environment that began the output
            chain(store).enter(THERE, after(1))
            chain(store).enter(LATER, after(2))

    slow.before_put = meanwhile
    assert Environments(store=slow, folder="bake/0123").enter(LATER, after(9)) == ""
    assert len(puts) == 2
    assert [period.after for period in chain(store).periods()] == [{}, {"units": 1}, {"units": 2}]


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"environment": 3, "after": {"x": "y"}}']
)
def test_a_damaged_record_stays_a_period_of_its_own(store: LocalStore, garbage: bytes) -> None:
    walk(store)
    store.replace("bake/0123/environments/000001.json", garbage)
    assert [period.environment for period in chain(store).periods()] == [HERE, {}, LATER]
    assert chain(store).enter(THERE, after(4)) == "device: x86_64 AVX2 there, a GPU here; torch: 2 there, 1 here"


def test_a_removed_record_leaves_the_later_ones(store: LocalStore) -> None:
    walk(store)
    store.delete("bake/0123/environments/000001.json")
    assert chain(store).enter(THERE, after(7)) != ""
    assert [period.after for period in chain(store).periods()] == [{}, {"units": 3}, {"units": 7}]


def test_an_output_that_was_not_begun_has_no_others(store: LocalStore) -> None:
    assert chain(store).others(HERE) == ""


def test_only_what_is_here_is_compared() -> None:
    assert differences(HERE | {"pillow": "12"}, HERE) == ""
    assert differences({}, {"torch": "1"}) == "torch: unknown there, 1 here"


class TestManifest:
    def test_of_one_environment_is_as_it_was(self, output: Output) -> None:
        sealed = seal(output)
        assert FACT not in sealed.facts
        assert periods_of(sealed) == [Period(environment=HERE, after={})]
        assert environment_in_words(sealed) == HERE

    def test_of_several_lists_them_and_suits_the_schema_and_readers(self, output: Output) -> None:
        output.begin(HERE)
        output.begin(THERE, done=after(2))
        sealed = seal(output)
        assert sealed.environment == HERE
        assert sealed.facts[FACT] == [
            {"environment": HERE, "after": {}},
            {"environment": THERE, "after": {"units": 2}},
        ]
        schema = json.loads(Path(infra.outputs.manifest.__file__).with_name("manifest.schema.json").read_text())
        jsonschema.validate(json.loads(path(output, "manifests/all.json").read_text()), schema)
        assert periods_of(parse_manifest(path(output, "manifests/all.json").read_bytes(), item="")) == [
            Period(environment=HERE, after={}),
            Period(environment=THERE, after={"units": 2}),
        ]
        assert environment_in_words(sealed) == HERE | {"device": "x86_64 AVX2 then a GPU"}

    def test_the_digest_does_not_depend_on_them(self, output: Output) -> None:
        alone = seal(replace(output, attempt=1))
        output.begin(LATER)
        assert seal(output).digest == alone.digest

    def test_of_a_goal_leaves_out_what_came_after_it(self, output: Output) -> None:
        output.begin(HERE)
        output.begin(THERE, done=lambda: {"images": 100})

        def environments(images: int) -> list[object]:
            return [period.environment for period in periods_of(of_goal(output, images))]

        assert environments(99) == [HERE]
        assert environments(100) == [HERE]
        assert environments(101) == [HERE, THERE]

    def test_a_damaged_first_environment_seals(self, output: Output) -> None:
        output.begin(HERE)
        path(output, "environment.json").write_bytes(b"{")
        assert seal(output).environment == {}


def of_goal(output: Output, images: int) -> Manifest:
    return seal(output, goal={"images": images})
