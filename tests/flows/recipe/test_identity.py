"""The identity of runs, and their names."""

from pathlib import Path

import pytest

from ddpm_core.choices import Choice
from flows.recipe.config import PipelineConfig
from flows.recipe.identity import recipe_key, run_key, run_name, settings_of
from flows.recipe.settings import load_config
from infra.storage.local_store import LocalStore
from infra.storage.store import check_name

KEY = "0123456789abcdef0123"
END = "-01234567"
STAGES = ("prepare", "train", "sample", "evaluate")


def made(*settings: str, recipe: str = "digits") -> PipelineConfig:
    return load_config(recipe, None, settings)


def named(*settings: str, recipe: str = "digits", given: str = "") -> str:
    return run_name(made(*settings, recipe=recipe), recipe, KEY, given)


def differently(path: str) -> PipelineConfig:
    """The digits with another value of one setting, whether or not the rest goes with it."""
    stage, _, name = path.partition(".")
    config = made()
    part = getattr(config, stage)
    value = getattr(part, name)
    if isinstance(value, Choice):
        other = next(option for option in type(value) if option != value)
        return config.model_copy(update={stage: part.model_copy(update={name: other})})
    if isinstance(value, list) and value and isinstance(value[0], Choice):
        other = [next(option for option in type(value[0]) if [option] != value)]
        return config.model_copy(update={stage: part.model_copy(update={name: other})})
    other = (not value) if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else None
    if other is None:
        other = [*value, 1] if isinstance(value, list) else value + 1
    return config.model_copy(update={stage: part.model_copy(update={name: other})})


ALL = [f"{stage}.{name}" for stage in STAGES for name in type(getattr(PipelineConfig(), stage)).model_fields]


@pytest.mark.parametrize("path", ALL)
def test_results_and_goals_make_another_run_and_execution_does_not(path: str) -> None:
    stage, _, name = path.partition(".")
    execution = getattr(PipelineConfig(), stage).role(name) in ("execution", "input")
    other = differently(path)
    assert other != made()
    # The digits' network has no dropout, without which micro-batches say only how to work.
    same = execution or name in getattr(other, stage).unused() or name == "microbatch"
    assert (recipe_key(other) == recipe_key(made())) == same
    of_data = path == "prepare.kind"
    assert (run_key(other, "data") == run_key(made(), "data")) == (same or of_data)
    assert (path in settings_of(made())) != execution


def test_there_are_goals_and_settings_of_every_role() -> None:
    roles = [getattr(PipelineConfig(), path.partition(".")[0]).role(path.partition(".")[2]) for path in ALL]
    assert roles.count("goal") == 2
    assert roles.count("execution") > 10
    assert roles.count("input") == 5
    assert roles.count("") > 40


def test_other_data_make_another_run_of_the_same_recipe() -> None:
    keys = {run_key(made(), data) for data in ("a", "b", "")}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {20}
    assert recipe_key(made()) not in keys
    assert run_key(made(), "a") == run_key(made(), "a")


def test_a_key_does_not_depend_on_where_the_source_is() -> None:
    """The listing's digest says what is in it."""
    keys = {run_key(made(f"prepare.source={place}", recipe="folder"), "data") for place in ("/a", "/b")}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ((), "digits"),
        (("train.learning_rate=0.008",), "digits-train.learning_rate=0.008"),
        (("train.random_flip=true",), "digits-train.random_flip=true"),
        (("sample.count=64", "train.images=1000"), "digits-train.images=1000,sample.count=64"),
        (("train.channel_mults=[1,2,2]",), "digits-train.channel_mults=1+2+2"),
        (("train.attention_resolutions=[]", "sample.seed=1"), "digits-train.attention_resolutions=,sample.seed=1"),
        (("train.workers=2", "train.checkpoint_images=64"), "digits"),
        (("train.beta_start=1e-05",), "digits-train.beta_start=1e-05"),
        (("train.images=89600",), "digits"),
    ],
)
def test_a_name_says_what_differs_from_the_recipe(settings: tuple[str, ...], name: str) -> None:
    assert named(*settings) == name + END


def test_a_long_name_counts_the_rest() -> None:
    settings = ["train.learning_rate=0.008", "train.lr_warmup_images=5", "train.lr_decay_images=7", "sample.seed=3"]
    settings += ["train.dropout=0.25", "evaluate.seed=4"]
    assert named(*settings[:2]) == f"digits-{settings[0]},{settings[1]}{END}"
    assert named(*settings) == f"digits-{settings[0]},{settings[1]},+4{END}"
    for count in range(len(settings) + 1):
        assert len(named(*settings[:count])) <= 80
    long = named("prepare.source=/" + "x" * 300, "train.seed=1", recipe="folder")
    assert long == f"folder,+2{END}"


@pytest.mark.parametrize(
    ("initial", "shown"),
    [
        ("digits-1a2b3c4d", "digits-1a2b3c4d"),
        ("/nets/my net.safetensors", "my_net"),
        ("s3://bucket/diffusers/", "diffusers"),
        ("models:/digits@champion", "digits_champion"),
    ],
)
def test_a_name_says_which_network_it_starts_from(initial: str, shown: str) -> None:
    assert named(f"train.initial={initial}", "train.seed=1") == f"digits-initial={shown},train.seed=1{END}"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("/data/flowers", "flowers"),
        ("/data/flowers/", "flowers"),
        ("/data/my flowers", "my_flowers"),
        ("/data/блюмен", "_"),
        ("/data/a$(rm -rf)b;c", "a_rm_-rf_b_c"),
        ("s3://bucket/some/images", "images"),
        ("s3://bucket/images/", "images"),
        ("/data/*.png", "_.png"),
        ('["/data/first", "/data/second"]', "first"),
        ("../../up", "up"),
    ],
)
def test_a_name_says_which_images(source: str, shown: str) -> None:
    assert named(f"prepare.source={source}", recipe="folder") == f"folder-{shown}{END}"


@pytest.mark.parametrize(
    "source",
    [
        "..",
        "../",
        "/",
        "/a/..",
        "/a/.",
        ".",
        "s3://bucket",
        "/%2e%2e",
        "~root",
        "/" + "x" * 300,
        "/a:b",
        "-",
    ],
)
def test_every_name_is_one_of_a_folder(source: str, tmp_path: Path) -> None:
    config = made("train.channel_mults=[1,2]", f"prepare.source={source}", recipe="folder")
    name = run_name(config, "folder", KEY)
    check_name(f"reports/{name}/report.html", str(tmp_path))
    check_name(f".leases/{KEY}/{name}", str(tmp_path))
    assert "/" not in name
    assert len(name) <= 80
    assert name.endswith(END)
    store = LocalStore(tmp_path)
    assert store.put_if_absent(f"reports/{name}/run.json", b"{}")
    assert store.list("reports") == [f"reports/{name}/run.json"]


def test_the_recipes_own_source_is_no_difference() -> None:
    source = load_config("fashion-mnist", None, []).prepare.source
    assert named(recipe="fashion-mnist") == named(f"prepare.source={source}", recipe="fashion-mnist")
    assert named("prepare.source=/other/mnist", recipe="fashion-mnist") == f"fashion-mnist-mnist{END}"


def test_a_users_name_replaces_recipe_and_differences() -> None:
    assert named("train.images=1000", given="my-first_run.2") == f"my-first_run.2{END}"
    assert len(named(given="x" * 64)) == 64 + len(END)


def test_one_recipe_on_two_data_sets_has_two_names() -> None:
    """Even where both are called the same."""
    config = made("prepare.source=/a/images", recipe="folder")
    names = {run_name(config, "folder", run_key(config, data)) for data in ("a", "b")}
    assert len(names) == 2
    assert {name.rpartition("-")[0] for name in names} == {"folder-images"}


def test_settings_have_their_full_names() -> None:
    settings = settings_of(made("train.images=640"))
    assert settings["train.images"] == 640
    assert settings["prepare.image_size"] == 8
    assert settings["train.channel_mults"] == [1, 2]
    assert not {"prepare.source", "train.workers", "sample.device"} & set(settings)
