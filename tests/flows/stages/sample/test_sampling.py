"""Samples: image i is a function of (seed, i), whoever draws it, when, and among how many."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_core.choices import Variance
from ddpm_core.images import to_uint8
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.samplers.ode import ode_sample
from ddpm_core.schedule import respace
from flows.artifacts import Samples, Snapshot
from flows.snapshot import decode_snapshot, encode_snapshot
from flows.stage import Progress
from flows.stages.sample.config import SampleConfig
from flows.stages.sample.sampling import sample
from infra.errors import DivergedError, IntegrityError
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import read_verified, verify
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun, revised
from tests.hardware import H100, H100_NODE


def pixels(run: TinyRun, samples: Samples) -> np.ndarray:
    return DatasetReader(store=run.store, manifest=samples.manifest(run.store)).load("samples")[0]


@pytest.mark.parametrize(
    ("change", "sampler"),
    [
        ({}, partial(ddpm_sample, variance=Variance.FIXED_SMALL, clip_x_start=True)),
        ({"sampler": "ddim"}, partial(ddim_sample, clip_x_start=True)),
        ({"sampler": "ddim", "eta": 0.5, "clip_x_start": False}, partial(ddim_sample, eta=0.5, clip_x_start=False)),
        ({"sampler": "ode"}, lambda *given, noise: ode_sample(*given)),
    ],
    ids=["ddpm", "ddim", "ddim eta=0.5", "ode"],
)
def test_they_are_what_the_reverse_chain_gives(
    tiny_run: TinyRun,
    config: SampleConfig,
    draw: Callable[..., Samples],
    change: dict[str, object],
    sampler: Callable[..., torch.Tensor],
) -> None:
    """Drawn directly by ddpm_core, one unit at a time as the plan says."""
    config = revised(config, {"variance": "fixed_small", **change})
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    network, schedule, *_ = decode_snapshot(read_verified(tiny_run.store, trained.folder, trained.units[0]), "s")
    chain = respace(schedule, config.num_steps)
    drawn = []
    with torch.inference_mode():
        for first in (0, 8, 16):
            ids = torch.arange(first, first + 8)
            images = sampler(
                network,
                chain,
                normal(5, Stream.X_T, ids, (1, 8, 8)),
                noise=lambda t, ids=ids: normal(5, Stream.Z_T, ids, (1, 8, 8), step=t),
            )
            drawn.append(to_uint8(images).numpy())
    expected = np.concatenate(drawn)[:20].astype(int)
    got = pixels(tiny_run, draw(config)).astype(int)
    # The stage keeps weights channels last, which may round a value at a bin's edge the other way.
    assert np.abs(got - expected).max() <= 1
    assert (got != expected).mean() < 0.01
    assert len(np.unique(got.reshape(20, -1), axis=0)) == 20, "no two alike"


def test_three_orders_of_the_units_give_one_digest(config: SampleConfig, draw: Callable[..., Samples]) -> None:
    results = [
        draw(config),
        draw(config, order=lambda units: units[::-1], force=True),
        draw(config, order=lambda units: [units[1], units[0], units[2], units[0]], force=True),
    ]
    assert not any(samples.reused for samples in results)
    assert len({samples.name for samples in results}) == 3
    assert len({samples.digest for samples in results}) == 1


def test_into_another_root_too(
    tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples], tmp_path: Path, make_context: Callable
) -> None:
    import shutil

    shutil.copytree(tiny_run.root / "train", tmp_path / "other" / "train")
    other = sample(config, tiny_run.snapshot, make_context(tmp_path / "other"))
    here = draw(config, order=lambda units: units[::-1])
    assert (other.key, other.digest, other.name) == (here.key, here.digest, here.name)


def test_a_growing_count_keeps_the_prefix_and_its_units(
    tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples]
) -> None:
    few = draw(config)
    assert draw.cluster.ran == (0, 1, 2)
    many = draw(config.model_copy(update={"count": 37}))
    assert draw.cluster.ran == (3, 4), "what was drawn is not drawn again"
    assert few.key == many.key
    assert np.array_equal(pixels(tiny_run, many)[:20], pixels(tiny_run, few))
    assert [few.count, many.count] == [len(pixels(tiny_run, s)) for s in (few, many)] == [20, 37]
    shas = [[unit["sha256"] for unit in s.manifest(tiny_run.store).units] for s in (few, many)]
    assert shas[1][:3] == shas[0][:3]
    assert shas[1][-1] == shas[0][-1], "how the first images came about"
    again = draw(config)
    assert again == replace(few, reused=True)


def test_a_smaller_count_needs_no_work(tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples]) -> None:
    many = draw(config)
    few = draw(config.model_copy(update={"count": 9}))
    assert draw.cluster.ran == ()
    assert not few.reused, "a goal of its own is sealed"
    assert np.array_equal(pixels(tiny_run, few), pixels(tiny_run, many)[:9])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"workers": 3}, True),
        ({"device": "cpu"}, True),
        ({"seed": 6}, False),
        ({"num_steps": 6}, False),
        ({"variance": "fixed_large"}, False),
        ({"clip_x_start": False}, False),
        ({"sampler": "ddim"}, False),
    ],
    ids=str,
)
def test_settings_that_matter_change_key_and_images_and_others_neither(
    tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples], change: dict[str, object], same: bool
) -> None:
    one, other = draw(config), draw(revised(config, change))
    assert (one.key == other.key) is same
    assert (one.digest == other.digest) is same
    assert np.array_equal(pixels(tiny_run, one), pixels(tiny_run, other)) is same


def test_the_start_of_an_image_does_not_depend_on_the_batch(
    tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples]
) -> None:
    """Another batch is another key, since the last bits may differ; the noise is the same."""
    eight, five = (pixels(tiny_run, draw(config.model_copy(update={"batch_size": n}))) for n in (8, 5))
    assert np.abs(eight.astype(int) - five).max() <= 1


@pytest.mark.parametrize(("memory", "expected"), [(None, 64), (1, 1), (1 << 40, 1024)])
def test_a_batch_that_fits_is_fixed_in_the_plan(
    tiny_run: TinyRun,
    config: SampleConfig,
    draw: Callable[..., Samples],
    monkeypatch: pytest.MonkeyPatch,
    memory: int | None,
    expected: int,
) -> None:
    """Another GPU may choose another batch, which is another key; the same number by hand is the same one."""
    gpus = () if memory is None else (replace(H100, memory=memory), replace(H100, memory=1 << 41))
    found = config.model_copy(update={"device": "cuda" if gpus else "cpu"})
    monkeypatch.setattr("flows.stages.sample.sampling.nodes_for", lambda *_: (found, [replace(H100_NODE, gpus=gpus)]))
    said: list[str] = []
    config = config.model_copy(update={"count": 3, "num_steps": 2})
    fitted = draw(config.model_copy(update={"batch_size": 0}), say=said.append)
    assert fitted.manifest(tiny_run.store).facts["settings"]["batch_size"] == expected
    assert draw(config.model_copy(update={"batch_size": expected})).key == fitted.key
    assert any(f"{expected:,} images at a time" in line for line in said)


def test_a_whole_chain_by_default(tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples]) -> None:
    """0 stands for all T; that is the same chain as T steps, under another key."""
    zero, all_steps = (draw(config.model_copy(update={"count": 8, "num_steps": n})) for n in (0, 20))
    assert zero.digest == all_steps.digest


def test_progress(config: SampleConfig, draw: Callable[..., Samples]) -> None:
    heard: list[Progress] = []
    draw(config, on_progress=heard.append)
    assert [(p.done, p.total, p.start, p.kept) for p in heard] == [(n, 20, 0, n) for n in (0, 8, 16, 20)]
    assert [p.phase for p in heard] == ["starting", "", "", ""]
    heard.clear()
    draw(config.model_copy(update={"count": 30}), on_progress=heard.append)
    assert [(p.done, p.total, p.start) for p in heard] == [(n, 30, 24) for n in (24, 30)], "24 are in three whole units"


def broken_checkpoint(run: TinyRun, poison: float) -> Snapshot:
    """A sealed snapshot whose weights are not all finite."""
    trained = run.snapshot.manifest(run.store)
    network, *_ = decode_snapshot(read_verified(run.store, trained.folder, trained.units[0]), "s")
    weights = network.state_dict()
    weights["conv_out.bias"].fill_(poison)
    schedule = {"kind": "linear", "num_timesteps": 20, "beta_start": 1e-4, "beta_end": 0.3}
    output = Output(store=run.store, plan=Plan(stage="train", format_version=1, settings={"p": str(poison)}, inputs={}))
    output.begin({})
    data = encode_snapshot(weights, network.config, schedule, 64)
    record = output.commit("snapshots/000000000064", "safetensors", data, {})
    manifest = output.seal({"images": 64}, [{"unit": 0, "rows": 1, **record.as_json()}], {})
    return Snapshot(name=manifest.name, key="k", digest=manifest.digest, images_seen=64, num_timesteps=20)


@pytest.mark.parametrize(("poison", "clip"), [(float("nan"), True), (float("nan"), False), (float("inf"), False)])
def test_a_snapshot_that_is_not_finite(tiny_run: TinyRun, config: SampleConfig, poison: float, clip: bool) -> None:
    broken = broken_checkpoint(tiny_run, poison)
    with pytest.raises(DivergedError) as caught:
        sample(config.model_copy(update={"clip_x_start": clip}), broken, tiny_run.context)
    error = caught.value
    assert error.exit_code == 8
    assert error.stage == "sample"
    assert error.item == "images [0, 1, 2, 3, 4]"
    assert error.remedy
    left = [name for name in tiny_run.store.list("sample") if "manifests" in name or name.endswith(".parquet")]
    assert len(left) == len([n for n in left if tiny_run.samples.key in n]), "nothing of it was committed"


def test_a_damaged_snapshot_is_named(tiny_run: TinyRun, config: SampleConfig) -> None:
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    (tiny_run.root / trained.folder / trained.units[0]["file"]).write_bytes(b"x")
    with pytest.raises(IntegrityError, match="snapshots/"):
        sample(config, tiny_run.snapshot, tiny_run.context)


def test_a_damaged_unit_is_not_sealed(tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples]) -> None:
    samples = draw(config)
    manifest = samples.manifest(tiny_run.store)
    verify(tiny_run.store, manifest)
    (tiny_run.root / manifest.folder / manifest.units[1]["file"]).write_bytes(b"x")
    with pytest.raises(IntegrityError, match="units/000001"):
        draw(config.model_copy(update={"count": 24}))
