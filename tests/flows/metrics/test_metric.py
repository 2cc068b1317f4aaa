"""A subject gives each metric those settings that enter the metric's key, and no others."""

from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def test_the_key_of_some_settings_leaves_out_the_others(tiny_run: TinyRun) -> None:
    about = subject(tiny_run, {"seed": 3, "threads": 2})
    assert about.key_of(["seed", "batch_size"]) == {"seed": 3, "batch_size": 8}
    assert about.key_of(["unheard_of"]) == {}
    assert "bpd_timesteps" in about.settings, "a setting at its default is known"
    assert about.key_of(["bpd_timesteps"]) == {}, "and in no key"
