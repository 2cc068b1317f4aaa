"""A lineage leads back to the data and forward to every run, from whatever names a thing."""

import pytest

from flows.inventory.finding import find_subject, root_of
from flows.inventory.lineage import Lineage, Node, lineage_of
from flows.inventory.words import time_text, value_text
from infra.errors import InputError
from infra.outputs.source_code import enter_source, sources
from infra.storage.local_store import LocalStore
from infra.storage.store import Store
from tests.conftest import TinyRun
from tests.flows.inventory.roots import inventory, make_run, output, seal


def lineage(store: Store, address: str) -> Lineage:
    found = inventory(store)
    return lineage_of(find_subject(address, found, store), found, store)


def nodes(top: Node) -> list[Node]:
    return [top, *(node for below in top.below for node in nodes(below))]


def shown(top: Node) -> set[str]:
    return {node.name for node in nodes(top)}


def test_a_run_leads_back_to_every_output_and_the_listing_of_its_data(store: LocalStore) -> None:
    made = make_run(store)
    found = lineage(store, "1a2b3c4d")
    assert shown(found.origin) == {
        "digits-1a2b3c4d",
        f"digest {'ab' * 6}",
        *(manifest.folder for manifest in made.values()),
    }
    by_role = {node.role: node for node in found.origin.below}
    assert list(by_role) == ["dataset", "snapshot", "samples", "figures"]
    assert by_role["snapshot"].details["changed settings"] == "learning_rate 0.1"
    assert by_role["snapshot"].details["environment"] == "device cpu, torch 2.13.0"
    assert by_role["dataset"].details["images"] == "test 3, train 9"
    assert found.origin.details == {"fd_pixels": "7.50 ± 0.50", "MLflow": "http://m/"}
    details = [node for node in nodes(found.origin) if node.name == made["prepare"].folder and node.details]
    assert len(details) == 1, "its details are shown once"


def test_a_data_set_leads_forward_to_every_run_that_uses_it(store: LocalStore) -> None:
    first = make_run(store, "a-1a2b3c4d")
    second = make_run(store, "b-5e6f7a8b", rate=0.2)
    found = lineage(store, first["prepare"].folder)
    used_by = {folder for made in (first, second) for folder in (one.folder for one in made.values())}
    assert shown(found.uses) == used_by | {"a-1a2b3c4d", "b-5e6f7a8b"}
    assert shown(found.origin) == {first["prepare"].folder, f"digest {'ab' * 6}"}
    (sharing,) = lineage(store, "a-1a2b3c4d").uses.below
    assert (sharing.name, sharing.role) == ("b-5e6f7a8b", "shares dataset")


def test_the_commits_that_worked_on_an_output_are_named_in_their_order(store: LocalStore) -> None:
    made = make_run(store)
    for commit in ("c0ffee" * 6 + "c0ff", "release-0.1.0", "c0ffee" * 6 + "c0ff", ""):
        enter_source(store, made["train"].folder, commit)
    assert sources(store, made["train"].folder) == ["c0ffee" * 6 + "c0ff", "release-0.1.0"]
    origin = lineage(store, made["train"].folder).origin
    assert origin.details["source code"] == f"{'c0ffee' * 6}c0ff then release-0.1.0"


def test_a_network_to_start_from_leads_to_the_training_that_it_was_copied_from(store: LocalStore) -> None:
    made = make_run(store)
    place = f"{store.uri}/{made['train'].folder}/snapshots/x.safetensors"
    copy = seal(output(store, "initial", {}, {"network": "cd" * 32}), {}, {"place": place}, 1)
    tuned = seal(output(store, "train", {}, {"initial": "cd" * 32}), {"images": 1}, {"images_seen": 1}, 1)
    assert made["prepare"].folder in shown(lineage(store, tuned.folder).origin)
    assert {copy.folder, tuned.folder} <= shown(lineage(store, made["train"].folder).uses)


@pytest.mark.parametrize(
    "form", ["folder", "path", "uri", "file", "manifest", "digest", "prefix", "key", "file digest"]
)
def test_an_output_is_found_by_whatever_names_it(store: LocalStore, form: str) -> None:
    made = make_run(store)["train"]
    file = f"{made.folder}/{made.units[0]['file']}"
    addresses = {
        "folder": made.folder,
        "path": f"{store.uri}/{made.folder}/",
        "uri": f"file://{store.uri}/{file}",
        "file": file,
        "manifest": made.name,
        "digest": made.digest,
        "prefix": made.digest[:10],
        "key": made.key[:9],
        "file digest": made.units[0]["sha256"],
    }
    subject = find_subject(addresses[form], inventory(store), store)
    assert subject.output is not None
    assert subject.output.folder == made.folder
    assert subject.file == ("" if form in ("folder", "path", "digest", "prefix", "key") else subject.file)
    if form in ("uri", "file", "file digest"):
        assert subject.file == file


def test_an_address_names_its_root(store: LocalStore) -> None:
    folder = f"train/{'0' * 20}"
    assert root_of(f"s3://bucket/prefix/{folder}/plan.json") == "s3://bucket/prefix"
    assert root_of(f"s3://bucket/{folder}.2") == "s3://bucket"
    assert root_of(f"file://{store.uri}/reports/a-1b/report.html") == f"file://{store.uri}"
    assert root_of(f"/data/reports/2026/runs/{folder}/units") == "/data/reports/2026/runs"
    assert root_of(folder) == root_of("digits-1a2b3c4d") == root_of("0123abcd") == ""


def test_of_attempts_that_came_out_equal_the_latest_is_found(store: LocalStore) -> None:
    make_run(store)
    made = make_run(store, attempt=1)["train"]
    for address in (made.digest, made.units[0]["sha256"]):
        subject = find_subject(address, inventory(store), store)
        assert subject.output is not None
        assert subject.output.folder == made.folder


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nothing", "no run, output, file or digest of that name"),
        (f"train/{'0' * 20}", "no run, output, file or digest of that name"),
        ("abcd", "no run, output, file or digest of that name"),
        ("reports/nobody/run.json", "no run, output, file or digest of that name"),
        ("digits", "names several things - choose one of digits-1a2b3c4d, digits-5e6f7a8b"),
    ],
)
def test_what_is_not_there_or_not_clear_is_refused(store: LocalStore, address: str, words: str) -> None:
    make_run(store)
    make_run(store, "digits-5e6f7a8b", rate=0.2)
    with pytest.raises(InputError) as caught:
        lineage(store, address)
    assert words in str(caught.value)


def test_a_real_run_leads_back_to_its_source_code(finished: TinyRun) -> None:
    found = lineage(finished.store, "1a2b3c4d")
    outputs = [node for node in nodes(found.origin) if node.kind == "output" and not node.is_again]
    assert {node.details["source code"] for node in outputs} == {sources(finished.store, outputs[0].name)[0]}
    assert {node.name for node in nodes(found.origin) if node.kind == "input"} == {
        node.name for node in nodes(found.origin) if node.role == "listing"
    }


def test_times_and_values_in_words() -> None:
    assert time_text(0) == ""
    assert time_text(1_000_000_000) == "2001-09-09 01:46"
    assert value_text([1, 2]) == "[1, 2]"
    assert value_text("x" * 50) == "x" * 40 + "..."
