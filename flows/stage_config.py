"""The settings that all stage configs share, and the roles of settings.

A setting has one of four roles. A *result* setting is part of the stage key. A *goal* only extends work; each of its
values is sealed by a manifest of its own. An *execution* setting says how and where to work, and no result depends on
it. An *input* says where something from outside is; the digest of its content takes the setting's place in the key.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ddpm_core.choices import Choice

SEED_LIMIT = (1 << 63) - 1

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "tf32", "bfloat16", "float16"]


def execution(default: object, description: str, **bounds: Any) -> Any:  # noqa: ANN401 - pydantic's own type
    """Return the field of an execution setting."""
    return Field(default, description=description, json_schema_extra={"role": "execution"}, **bounds)


def outside_input(default: object, description: str, **bounds: Any) -> Any:  # noqa: ANN401 - pydantic's own type
    """Return the field of an input from outside."""
    return Field(default, description=description, json_schema_extra={"role": "input"}, **bounds)


def goal(default: int, description: str, **bounds: Any) -> Any:  # noqa: ANN401 - pydantic's own type
    """Return the field of a goal."""
    return Field(default, description=description, json_schema_extra={"role": "goal"}, **bounds)


def choice(default: Choice, description: str) -> Any:  # noqa: ANN401 - pydantic's own type
    """Return the field of a result setting with few options; its description lists them with a line about each."""
    options = "; ".join(f"{option}: {option.description}" for option in type(default))
    return Field(default, description=f"{description}. {options}")


def choices(default: Sequence[Choice], description: str) -> Any:  # noqa: ANN401 - pydantic's own type
    """Return the field of a list of options, each at most once; its description lists them with a line about each."""
    options = "; ".join(f"{option}: {option.description}" for option in type(default[0]))
    text = f"{description}, a list. {options}"
    return Field(list(default), min_length=1, description=text, json_schema_extra={"uniqueItems": True})


class StageConfig(BaseModel):
    """The base of every stage's config."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    workers: int = execution(0, "Ray workers; 0 means all CPUs of the cluster, or all GPUs", ge=0, le=4096)

    def result_settings(self) -> dict[str, Any]:
        """The settings that determine the result, without the goals."""
        return {name: value for name, value in self.model_dump(mode="json").items() if not self.role(name)}

    def key_settings(self) -> dict[str, Any]:
        """The result settings that enter the stage key: those that differ from their defaults and have an effect.

        A new setting therefore changes no existing key. A changed default needs a new FORMAT_VERSION.
        """
        usual, unused = type(self)().result_settings(), self.unused()
        settings = self.result_settings()
        return {name: value for name, value in settings.items() if name not in unused and value != usual[name]}

    def unused(self) -> set[str]:
        """The settings without effect: other options use them, but the chosen options do not.

        A choice without effect uses nothing itself, whatever the order of the settings.
        """
        unused: set[str] = set()
        while (more := self._unused_beside(unused)) != unused:
            unused = more
        return unused

    def _unused_beside(self, unused: set[str]) -> set[str]:
        """Return these settings without effect, and those that only they use."""
        found = set(unused)
        for name in type(self).model_fields:
            value = getattr(self, name)
            options = value if isinstance(value, list) else [value]
            chosen = [option for option in options if isinstance(option, Choice)]
            if chosen:
                used = {setting for option in chosen for setting in option.uses} if name not in unused else set()
                found |= {setting for option in type(chosen[0]) for setting in option.uses} - used
        return found

    def goals(self) -> dict[str, int]:
        """The settings that only extend work."""
        return {name: getattr(self, name) for name in type(self).model_fields if self.role(name) == "goal"}

    @property
    def cpus(self) -> int:
        """The number of CPUs that the stage's workers take together."""
        return (self.workers or 1) * int(getattr(self, "threads", 1))

    @classmethod
    def role(cls, name: str) -> str:
        """The role of a setting: `execution`, `input`, `goal`, or an empty text for a result setting."""
        extra = cls.model_fields[name].json_schema_extra
        return str(extra.get("role", "")) if isinstance(extra, dict) else ""
