"""Recipes as they are served: a preset or a recipe of the user, whole or up to a stage, each as a deployment."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.recipe.config import PipelineConfig
from flows.recipe.form import STAGES, SWEEP, changed, sweep_of
from flows.recipe.form_schema import form_schema
from flows.recipe.identity import recipe_name
from flows.recipe.presets.table import PRESETS, preset
from flows.recipe.settings import load_config, own_settings
from flows.stages.table import STAGES as ALL_STAGES
from infra.errors import ConfigError

# Those of a run, as it may take the name.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
# Parameters that a deployment of ours sets itself, so that nothing of an earlier start stays in them. The last stage is
# none of them: a stage's deployment sets it, and on any other one a user may.
SET_BY_US = frozenset({"preset", "root", "recipe"})


@dataclass(frozen=True, kw_only=True)
class ServedRecipe:
    """One recipe to serve.

    Attributes:
        name: The deployment's name.
        preset: The preset that it starts from.
        config: The values of all its settings.
        about: A sentence about it.
        own: The settings by which a recipe of the user differs from the preset, a group per stage.
        run_name: The name of its runs; empty for the usual one, of what differs from the preset.
        until: The last stage that it runs; empty for all.
    """

    name: str
    preset: str
    config: PipelineConfig
    about: str
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run_name: str = ""
    until: str = ""

    def parameters(self, root: str) -> dict[str, Any]:
        """Return the parameters of each of its runs below a root."""
        more = {"recipe": self.own, "name": self.run_name, "until": self.until}
        return {"preset": self.preset, "root": root} | {name: value for name, value in more.items() if value}

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its form."""
        return form_schema(self.preset, self.config, self.own, self.until)

    def accepts(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether parameters that users gave its deployment are still those of a run; its form must offer them."""
        try:
            changed(parameters)
            sweep_of(parameters)
        except ConfigError:
            return False
        return SWEEP in self.schema["properties"] or not parameters.get(SWEEP)

    @property
    def tags(self) -> list[str]:
        """Its tags, for filtering."""
        return ["ddpm", self.preset, *([self.until] if self.until else [])]

    @property
    def description(self) -> str:
        """Its text on the pages."""
        return f"{self.about} An empty field has the recipe's value."

    @property
    def up_to_each_stage(self) -> "list[ServedRecipe]":
        """The recipe up to each stage but the last, each as a recipe of its own."""
        abouts = {stage.name: stage.about for stage in ALL_STAGES}
        return [
            replace(
                self,
                name=f"{self.name}-{stage}",
                until=stage,
                about=f"{self.about} Up to the stage {stage}: {abouts[stage]}",
            )
            for stage in STAGES[:-1]
        ]


def served_presets() -> list[ServedRecipe]:
    """Return every preset, to be served as it is."""
    return [served_preset(name) for name in PRESETS]


def served_preset(name: str) -> ServedRecipe:
    """Return a preset, to be served as it is.

    Raises:
        ConfigError: If there is no such preset.
    """
    load_config(name, None, [])
    return ServedRecipe(name=name, preset=name, config=preset(name), about=PRESETS[name].about)


def own_recipe(start: str, file: Path | None, settings: Sequence[str], name: str = "") -> ServedRecipe:
    """Return a recipe of the user.

    Args:
        start: The preset that it starts from.
        file: A TOML or JSON file of settings, if any.
        settings: Settings, each as `a.b=value`.
        name: Its name, also of its runs; empty for the file's, else for the preset's with what differs from it.

    Raises:
        ConfigError: If a setting is wrong, or the name has characters that a run's name cannot have.
    """
    config = load_config(start, file, settings)
    if name and not _NAME.fullmatch(name):
        raise ConfigError(
            f"must be up to 64 letters, digits, dots, dashes and underscores; got {name!r}", item="--name"
        )
    recipe = ServedRecipe(
        name=name or (_NOT_IN_NAMES.sub("_", file.stem) if file else recipe_name(config, start)),
        preset=start,
        config=config,
        about=f"Your recipe, from the preset {start}.",
        own=own_settings(file, settings),
        run_name=name,
    )
    changed(recipe.parameters(""))  # so that no run meets an error that could have been seen here
    return recipe
