"""A config with one setting changed to some other valid value."""

from pydantic import ValidationError

from ddpm_core.choices import Choice
from flows.stage_config import StageConfig


def others(value: object) -> list[object]:
    """Values to try in the place of one."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1, 3 if value == 1 else 1]
        case float():
            return [value / 2, value * 2] if value else [0.5]
        case str():
            words = (
                "ddpm ddim digits idx folder linear cosine fixed_small fixed_large float32 bfloat16 fd_classifier "
                "classifier pixels fd_pixels eps v simple bound learned lanczos box pad fail quarantine"
            )
            return [word for word in [*words.split(), "cpu", "elsewhere", "0" * 64] if word != value]
        case [Choice(), *_]:
            return [[option] for option in type(value[0]) if [option] != value]
        case list():
            return [value[:-1] or [8], [*value, 1]]
        case _:
            raise AssertionError(f"teach this test about {type(value)}")


def toggled(config: StageConfig, name: str) -> StageConfig:
    for value in others(getattr(config, name)):
        try:
            return type(config).model_validate(config.model_dump() | {name: value})
        except ValidationError:
            continue
    raise AssertionError(f"no other value of {name} is valid")
