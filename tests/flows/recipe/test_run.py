"""The identity of a run with inputs from outside: by the digests of a reference's file and of an initial network."""

from pathlib import Path

import numpy as np
import pytest

from flows.recipe.identity import run_key
from flows.recipe.run import _reference_digest
from flows.recipe.settings import load_config
from infra.digests import sha256
from infra.errors import ConfigError, DdpmError, InputError
from tests.conftest import TinyRun
from tests.flows.conftest import NAME
from tests.flows.sessions import Page, opened, run_settings, tracked_runs
from tests.tiny import TINY


def test_a_reference_counts_by_its_content_and_only_if_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "r.npz"
    np.savez(file, mu=np.zeros(3), sigma=np.eye(3))
    given = f"evaluate.reference_statistics={file}"
    assert _reference_digest(load_config("digits", None, [given])) == sha256(file.read_bytes())
    assert _reference_digest(load_config("digits", None, [])) == ""
    assert _reference_digest(load_config("digits", None, [given, 'evaluate.metrics=["kid"]'])) == ""


def test_a_run_from_a_network_is_another_run_and_says_which(finished: TinyRun, root: Path) -> None:
    (root / "mlflow.db").rename(finished.root / "mlflow.db")
    page = Page()
    config = load_config("digits", None, [*TINY, "train.images=64", f"train.initial={NAME}"])
    with opened(config, run_settings(finished.root), page) as walk:
        snapshot = walk.to("train")
        given = walk.around.given["train.initial"]
    key = run_key(config, f"{finished.dataset.key}train.initial{given.digest}")
    assert walk.name.startswith(f"digits-initial={NAME},")
    assert walk.name.endswith(f"-{key[:8]}")
    assert f"initial {NAME} at {given.place}, digest {given.digest[:12]}" in page.lines
    assert any(line.startswith(f"train: 64 images seen since {NAME}; sealed") for line in page.lines)
    params = tracked_runs(finished.root, "pipeline")[walk.name].data.params
    assert (params["train.initial"], params["train.initial_digest"]) == (NAME, given.digest)
    (stage,) = tracked_runs(finished.root, "train").values()
    assert (stage.data.params["train.initial"], stage.data.tags["ddpm.initial_digest"]) == (NAME, given.digest)
    assert snapshot.manifest(finished.store).plan["inputs"]["initial"] == given.digest


@pytest.mark.parametrize(
    ("settings", "kind", "says"),
    [
        (("train.initial=none",), InputError, "train: train.initial: none: no finished run of that name"),
        ((f"train.initial={NAME}", "train.base_channels=16"), ConfigError, "--set train.base_channels=8"),
    ],
)
def test_a_bad_network_ends_the_run_before_any_work(
    finished: TinyRun, settings: tuple[str, ...], kind: type[DdpmError], says: str
) -> None:
    before = sorted(finished.root.glob("prepare/*"))
    config = load_config("digits", None, [*TINY, "prepare.holdout=0.5", *settings])
    with pytest.raises(kind) as caught, opened(config, run_settings(finished.root, tracking=False)) as walk:
        walk.to("prepare")
    assert says in str(caught.value)
    assert sorted(finished.root.glob("prepare/*")) == before


@pytest.mark.parametrize("address", ["https://user:password@host/n.safetensors", "s3://b/n.safetensors?signature=x"])
def test_an_address_with_a_secret_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="neither a user nor a query"):
        load_config("digits", None, [f"train.initial={address}"])
