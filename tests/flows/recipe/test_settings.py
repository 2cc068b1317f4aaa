"""Preset, file, settings: later ones win, and whatever is wrong is named with what it could have been."""

import json
from pathlib import Path

import pytest

from flows.recipe.settings import load_config, without_effect
from infra.errors import ConfigError

ORDERS = ('["bits_per_dim", "fd"]', '["fd", "bits_per_dim"]')


def test_a_file_wins_over_the_preset_and_a_setting_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[train]\nimages = 111\nseed = 5\n[sample]\ncount = 7\n")
    plain, from_file = load_config("digits", None, ()), load_config("digits", file, ())
    both = load_config("digits", file, ["train.images=222"])
    assert plain.train.images not in (111, 222)
    assert (from_file.train.images, from_file.train.seed, from_file.sample.count) == (111, 5, 7)
    assert (both.train.images, both.train.seed, both.sample.count) == (222, 5, 7)
    assert both.train.base_channels == plain.train.base_channels, "what nobody set is the preset's"


def test_the_last_of_two_settings_wins() -> None:
    assert load_config("digits", None, ["train.seed=1", "train.seed=2"]).train.seed == 2


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    values = {"train": {"channel_mults": [1, 2, 4], "attention_resolutions": [2]}, "sample": {"clip_x_start": False}}
    (tmp_path / "c.json").write_text(json.dumps(values))
    (tmp_path / "c.toml").write_text(
        "[train]\nchannel_mults = [1, 2, 4]\nattention_resolutions = [2]\n[sample]\nclip_x_start = false\n"
    )
    from_json, from_toml = (load_config("digits", tmp_path / name, ()) for name in ("c.json", "c.toml"))
    assert from_json == from_toml
    assert from_json.train.channel_mults == [1, 2, 4]
    assert from_json.sample.clip_x_start is False


@pytest.mark.parametrize(
    ("setting", "stage", "name", "value"),
    [
        ("train.images=5", "train", "images", 5),
        ("train.images=1e6", "train", "images", 1_000_000),
        ("train.learning_rate=0.5", "train", "learning_rate", 0.5),
        ("train.random_flip=true", "train", "random_flip", True),
        ("train.channel_mults=[1]", "train", "channel_mults", [1]),
        ("train.schedule=cosine", "train", "schedule", "cosine"),
        ('train.schedule="cosine"', "train", "schedule", "cosine"),
        (" train.seed =4", "train", "seed", 4),
        ("prepare.source=/a b", "prepare", "source", "/a b"),
        ('prepare.source="/a"', "prepare", "source", "/a"),
        ('prepare.source=["/a","s3://b/c"]', "prepare", "source", ["/a", "s3://b/c"]),
        ("prepare.source=/a/*[0-9].png", "prepare", "source", "/a/*[0-9].png"),
        ("prepare.kind=tar", "prepare", "kind", "tar"),
        ("prepare.drop_duplicates=true", "prepare", "drop_duplicates", True),
    ],
)
def test_values_are_json_or_plain_words(setting: str, stage: str, name: str, value: object) -> None:
    extra = ["train.attention_resolutions=[8]"] if "channel_mults" in setting else []
    got = getattr(
        getattr(load_config("folder" if stage == "prepare" else "digits", None, [*extra, setting]), stage), name
    )
    assert got == value
    assert isinstance(got, type(value))
    assert isinstance(got, bool) == isinstance(value, bool)


def test_a_value_may_hold_the_equals_sign() -> None:
    assert load_config("folder", None, ["prepare.source=/a=b c"]).prepare.source == "/a=b c"


def refused(settings: list[str] = (), file: Path | None = None, name: str = "digits") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(name, file, settings)
    assert caught.value.exit_code == 2
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("trian.images=5", "did you mean train?"),
        ("train.imags=5", "did you mean images?"),
        ("train.learningrate=5", "did you mean learning_rate?"),
        ("evaluate.bpd_image=5", "did you mean bpd_images?"),
        ("zzz.images=5", "choose one of prepare, train, sample, evaluate"),
        ("sample.zzzzz=5", "count"),
        ("train=5", "images"),
        ("train.=5", "images"),
        (".images=5", "prepare"),
        ("=5", "prepare"),
        ("train.images.more=5", "images"),
    ],
)
def test_unknown_names_get_a_suggestion(setting: str, remedy: str) -> None:
    error = refused([setting])
    assert remedy in error.remedy
    assert error.item == setting.partition("=")[0]


def test_an_unknown_preset_gets_one_too() -> None:
    assert refused(name="digit").remedy == "did you mean digits?"
    assert (
        refused(name="zzz").remedy
        == "choose one of digits, showcase, fashion-mnist, folder, cifar10, celebahq256, lsun256"
    )


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("evaluate.metrics=fd", "input should be a valid list; got 'fd' - write it as a list, such as [\"fd\"]"),
        ("evaluate.metrics=[]", "must have at least 1; got []"),
        ('evaluate.metrics=["fid"]', "; got 'fid' - did you mean fd?"),
        ('evaluate.metrics=["fd", "fd"]', "fd is named twice; got ['fd', 'fd']"),
        ("evaluate.extractor=fd_pixels", "; got 'fd_pixels' - did you mean pixels?"),
    ],
)
def test_a_wrong_choice_gets_a_way_on(setting: str, line: str) -> None:
    error = str(refused([setting]))
    assert error.startswith(setting.partition("=")[0] + ": ")
    assert error.endswith(line)


def test_a_long_value_is_shown_in_part() -> None:
    assert len(str(refused(["train.channel_mults=" + "[" * 100_000]))) < 400


def test_metrics_in_another_order_are_the_same_settings() -> None:
    one, other = (load_config("digits", None, [f"evaluate.metrics={names}"]) for names in ORDERS)
    assert one == other == load_config("digits", None, [])


def test_settings_without_effect_are_found(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("[train]\nmin_snr_gamma = 3.0\nimages = 5\n")
    settings = ["train.schedule=cosine", "train.beta_end=0.5", "sample.eta=0", "train.beta_end=0.4", "sample.seed=3"]
    config = load_config("digits", file, settings)
    assert without_effect(config, file, settings) == ["train.min_snr_gamma", "train.beta_end", "sample.eta"]
    assert without_effect(config, None, []) == []


@pytest.mark.parametrize("setting", ["train.images", "", "train images 5"])
def test_a_setting_needs_a_value(setting: str) -> None:
    assert "stage.setting=value" in refused([setting]).cause


@pytest.mark.parametrize(
    ("setting", "item", "says"),
    [
        ("train.images=0", "train.images", "greater than or equal to 1; got 0"),
        ("train.images=many", "train.images", "got 'many'"),
        ("train.images=", "train.images", "got ''"),
        ("train.images=null", "train.images", "got None"),
        ("train.learning_rate=NaN", "train.learning_rate", "finite"),
        ("train.learning_rate=Infinity", "train.learning_rate", "finite"),
        ("train.dtype=float64", "train.dtype", "'bfloat16' or 'float16'; got 'float64'"),
        ("train.channel_mults=[1,0]", "train.channel_mults.1", "got 0"),
        ("prepare.source=/x", "prepare", "must be empty for the digits"),
        ("sample.num_steps=1001", "", "at most train.num_timesteps (1000); got 1001"),
        ("prepare.image_size=9", "", "image_size must be divisible by 2"),
        ("train.images=" + "9" * 5000, "train.images", ""),
        ("train.channel_mults=" + "[" * 100_000, "train.channel_mults", "list"),
    ],
    ids=lambda v: v[:30],
)
def test_a_wrong_value_is_named_with_what_it_may_be(setting: str, item: str, says: str) -> None:
    error = refused([setting])
    assert error.item == item
    assert says in error.cause


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.toml", b"[train\nimages = 1", "cannot be parsed"),
        ("c.toml", b"[train]\nimages = 1\nimages = 2", "cannot be parsed"),
        ("c.toml", b"\xff\xfe", "cannot be parsed"),
        ("c.toml", b"train = 5", "must be a table"),
        ("c.json", b'{"train": {"images": 5', "cannot be parsed"),
        ("c.json", b"", "cannot be parsed"),
        ("c.json", b"[1, 2]", "must hold tables"),
        ("c.json", b'"train"', "must hold tables"),
        ("c.json", b"null", "must hold tables"),
        ("c.json", b'{"train": [1]}', "must be a table"),
        ("c.json", b"[" * 100_000, "cannot be parsed"),
        ("c.json", b'{"train": {"images": NaN}}', "train.images"),
        ("c.yaml", b"train: {images: 5}", "must end in .toml or .json"),
        ("c", b"", "must end in .toml or .json"),
        ("c.toml", b"[trian]\nimages = 1", "did you mean train?"),
        ("c.toml", b"[train]\nimags = 1", "did you mean images?"),
        ("c.toml", b"[train]\nimages = 1979-05-27", "train.images"),
    ],
)
def test_a_wrong_file(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in str(refused(file=tmp_path / name))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    error = refused(file=tmp_path / "c.toml")
    assert "No such file" in error.cause
    assert str(tmp_path) in error.item
    (tmp_path / "d.toml").mkdir()
    assert "cannot be read" in refused(file=tmp_path / "d.toml").cause
