"""The settings that an inspection offers: each only if it applies, and each with the effect that it says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.inspection.inspection import Inspection, inspect_source
from flows.stages.prepare.config import PrepareConfig
from tests.infra.sources.formats.archives import END, member
from tests.infra.sources.trees import laid
from tests.pictures import encoded, picture


def inspected(folder: Path, *settings: str, **more: object) -> Inspection:
    values: dict[str, object] = {"source": str(folder), "image_size": 8, "holdout": 0} | more
    for setting in settings:
        name, _, value = setting.removeprefix("prepare.").partition("=")
        values[name] = float(value) if value.isdigit() else value
    return inspect_source(PrepareConfig.model_validate(values), lambda _: None)


def settings(found: Inspection) -> list[str]:
    return [one.setting for one in found.advice]


def pictures(*names: str) -> dict[str, bytes]:
    return {f"{name}.png": encoded(picture(number, (8, 8))) for number, name in enumerate(names)}


def test_plain_images_leave_only_the_hold_out(tmp_path: Path) -> None:
    laid(tmp_path, pictures(*(f"{n}" for n in range(8))))
    assert settings(inspected(tmp_path, holdout=0.1)) == ["prepare.holdout=0"]
    assert settings(inspected(tmp_path)) == []


def test_folders_that_are_passed_over_and_found_classes(tmp_path: Path) -> None:
    laid(tmp_path, pictures(*(f"{n:05d}/{n + k:05d}" for n in (0, 1000) for k in range(4))))
    assert settings(inspected(tmp_path)) == ["prepare.labels=folder"]
    assert inspected(tmp_path, "prepare.labels=folder").classes.keys() == {"00000", "01000"}
    (tmp_path / "deep").mkdir()
    laid(tmp_path / "deep", pictures(*(f"{name}/{part}/{n}" for name in "ab" for part in "xy" for n in range(3))))
    found = settings(inspected(tmp_path / "deep"))
    assert found == ["prepare.label_depth=0", "prepare.labels=none"]
    assert inspected(tmp_path / "deep", found[0]).classes.keys() == {"a/x", "a/y", "b/x", "b/y"}
    assert inspected(tmp_path / "deep", found[1]).classes == {}


@pytest.mark.parametrize(
    ("bits", "advised"), [(10, ["prepare.max_value=1023"]), (12, ["prepare.max_value=4095"]), (16, [])]
)
@pytest.mark.parametrize("kind", ["png", "npy"])
def test_a_camera_that_stores_few_bits_in_sixteen(tmp_path: Path, bits: int, advised: list[str], kind: str) -> None:
    values = np.linspace(0, 2**bits - 1, 4 * 64).astype(np.uint16).reshape(4, 8, 8)
    if kind == "png":
        laid(tmp_path, {f"{number}.png": encoded(Image.fromarray(one)) for number, one in enumerate(values)})
    else:
        np.save(tmp_path / "x.npy", values)
    found = inspected(tmp_path, channels=1)
    assert settings(found) == advised
    share = 2 if bits == 10 else 6
    dark = f"all of the sample are dark: their largest value is {share}% of white"
    assert found.warnings == [dark] * len(advised)
    if advised:
        brighter = inspected(tmp_path, *advised, channels=1)
        assert int(brighter.sample.pictures.max()) == 255
        assert (settings(brighter), brighter.warnings) == ([], [])


def test_dark_images_of_eight_bits_have_no_other_white(tmp_path: Path) -> None:
    laid(tmp_path, {"0.png": encoded(Image.new("L", (8, 8), 3))})
    assert settings(inspected(tmp_path, channels=1)) == []


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_opacity(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        sprite = encoded(picture(0, (8, 8)).convert("P"), transparency=bytes(256))
    else:
        sprite = encoded(Image.new(mode, (8, 8), (9,) * (len(mode) - 1) + (0,)))
    opaque = encoded(picture(1, (8, 8)).convert("RGBA"))
    laid(tmp_path, {"0.png": sprite, "1.png": opaque})
    found = inspected(tmp_path)
    assert [(one.setting, one.effect) for one in found.advice] == [
        ("prepare.channels=4", "keep the opacity: 1 of the sample are transparent in places")
    ]
    assert settings(inspected(tmp_path, channels=4)) == []
    (tmp_path / "0.png").unlink()
    assert settings(inspected(tmp_path)) == []


def test_another_kind_beside_the_one_that_is_read(tmp_path: Path) -> None:
    laid(tmp_path, pictures(*(f"{n}" for n in range(20))))
    (tmp_path / "a.tar").write_bytes(member(b"x.png", encoded(picture(99, (8, 8)))) + END)
    assert settings(inspected(tmp_path)) == ["prepare.kind=tar"]
    assert inspected(tmp_path, "prepare.kind=tar").images == 1


def test_masks(tmp_path: Path) -> None:
    laid(tmp_path, pictures(*(f"{name}/{n}" for name in ("frames", "masks") for n in range(4))))
    assert settings(inspected(tmp_path)) == ["prepare.image_key=masks", "prepare.image_key=*"]
    (tmp_path / "frames").rename(tmp_path / "cats")
    found = inspected(tmp_path)
    assert settings(found) == ["prepare.image_key=plain", "prepare.labels=none"]
    assert found.warnings == ["some images look like masks of others (masks: 4)"]
    assert inspected(tmp_path, "prepare.image_key=plain").images == 4
