"""The settings of the evaluation: what is refused, and in which form a choice of metrics is kept."""

import pytest

from flows.metrics.choices import ExtractorName
from flows.recipe.config import PipelineConfig
from flows.stages.evaluate.config import EvaluateConfig
from tests.conftest import revised


@pytest.mark.parametrize("metrics", [[], ["fid"]])
def test_none_and_unknown_ones_are_refused(metrics: list[str]) -> None:
    with pytest.raises(ValueError, match="metrics"):
        EvaluateConfig.model_validate({"metrics": metrics})


def test_a_choice_of_metrics_is_kept_in_one_order() -> None:
    chosen = EvaluateConfig.model_validate({"metrics": ["bits_per_dim", "fd"]})
    assert chosen == EvaluateConfig()
    assert chosen.key_settings() == {}
    with pytest.raises(ValueError, match="fd is named twice"):
        EvaluateConfig.model_validate({"metrics": ["fd", "bits_per_dim", "fd"]})


@pytest.mark.parametrize("name", [name for name in ExtractorName if name.file])
def test_an_extractor_needs_its_file_only_if_a_metric_uses_it(name: ExtractorName) -> None:
    with pytest.raises(ValueError, match=r"set evaluate\.extractor_weights to") as caught:
        EvaluateConfig.model_validate({"extractor": name})
    assert name.file in str(caught.value)
    unused = EvaluateConfig.model_validate({"extractor": name, "metrics": ["bits_per_dim"]})
    assert {"extractor", "extractor_sha256"} <= unused.unused()


def test_a_program_needs_its_digest_too() -> None:
    given = {"extractor": "program", "extractor_weights": "w.pt"}
    with pytest.raises(ValueError, match=r"state the file's sha256 by evaluate\.extractor_sha256"):
        EvaluateConfig.model_validate(given)
    digest = {"extractor_sha256": "0" * 64}
    key = EvaluateConfig.model_validate(given | digest).key_settings()
    assert key == {"extractor": "program"} | digest
    assert EvaluateConfig.model_validate(given | {"extractor": "dinov2"}).extractor == "dinov2"


@pytest.mark.parametrize("digest", ["0" * 63, "G" * 64, "A" * 64])
def test_a_digest_is_64_small_hexadecimal_digits(digest: str) -> None:
    with pytest.raises(ValueError, match="extractor_sha256"):
        EvaluateConfig.model_validate({"extractor_sha256": digest})


def test_each_likelihood_uses_its_own_setting() -> None:
    """So a config from before the choice, with a number of timesteps alone, is told that nothing uses it."""
    old = EvaluateConfig.model_validate({"bpd_timesteps": 50})
    assert {"bpd_timesteps", "flow_steps"} <= old.unused()
    assert old.key_settings() == {}
    both = EvaluateConfig.model_validate({"likelihood": ["flow", "estimate"], "bpd_timesteps": 50})
    assert not {"bpd_timesteps", "flow_steps"} & both.unused()
    assert both.key_settings() == {"likelihood": ["estimate", "flow"], "bpd_timesteps": 50}
    neither = EvaluateConfig.model_validate({"metrics": ["fd"], "likelihood": ["estimate"]})
    assert {"likelihood", "bpd_timesteps", "flow_steps", "bpd_draws"} <= neither.unused()
    with pytest.raises(ValueError, match="flow is named twice"):
        EvaluateConfig.model_validate({"likelihood": ["flow", "flow"]})


def test_lengths_are_kept_in_order_and_use_the_timesteps_of_an_estimate() -> None:
    chosen = EvaluateConfig.model_validate(
        {"metrics": ["ema_lengths"], "ema_lengths": [0.2, 0.04], "bpd_timesteps": 7, "likelihood": ["flow"]}
    )
    assert chosen.key_settings() == {"metrics": ["ema_lengths"], "ema_lengths": [0.04, 0.2], "bpd_timesteps": 7}
    with pytest.raises(ValueError, match=r"0\.1 is named twice"):
        EvaluateConfig.model_validate({"ema_lengths": [0.1, 0.2, 0.1]})
    for length in (0, 0.2887):
        with pytest.raises(ValueError, match="ema_lengths"):
            EvaluateConfig.model_validate({"ema_lengths": [length]})
    assert "ema_lengths" in EvaluateConfig.model_validate({"ema_lengths": [0.3 / 2]}).unused()


def test_inception_is_never_taken_unasked() -> None:
    config = PipelineConfig().evaluate
    assert config.extractor == ExtractorName.AUTO
    assert config.extractor_weights == ""
    with pytest.raises(ValueError, match="extractor inception needs a file"):
        revised(config, {"extractor": "inception"})
    assert revised(config, {"extractor": "inception", "metrics": ["bits_per_dim"]}).extractor == "inception"
