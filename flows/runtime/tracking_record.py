"""The record of how a run was tracked, beside its report, from which its tracking can be delivered later.

The outputs hold everything that is sealed; this record holds the rest: the run's key, its experiment, the settings of
its stages, those of execution too, and the name to register its network under.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from flows.account import Account
from flows.artifacts import Artifact
from flows.run_record import FOLDER, TRACKING
from flows.runtime.result import render_links
from flows.stage_config import StageConfig
from infra.digests import canonical_json
from infra.errors import IntegrityError
from infra.record import DatasetInput, StageRecord, TrackedRun
from infra.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class TrackingRecord:
    """The record of a run's tracking.

    Attributes:
        run: The run as MLflow records it.
        experiment: MLflow's experiment.
        stages: The settings of each stage, as JSON values, by the stage's name.
        register_as: The name to register its network under; empty for none.
        champion_by: The figure that decides on the champion; empty for the first that can.
    """

    run: TrackedRun
    experiment: str
    stages: Mapping[str, Any] = field(default_factory=dict)
    register_as: str = ""
    champion_by: str = ""

    def write(self, store: Store) -> None:
        """Write the record; equal records have equal bytes."""
        values = asdict(self)
        values["run"]["params"] = {name: str(value) for name, value in self.run.params.items()}
        store.replace(_path(self.run.name), json.dumps(values, indent=2, sort_keys=True).encode())

    @classmethod
    def read(cls, name: str, store: Store) -> Self | None:
        """Return the record of a finished run; None if it was run without tracking, or by a version without records.

        Raises:
            IntegrityError: If the record is damaged.
        """
        try:
            values = json.loads(store.read(_path(name)))
            run = values.pop("run")
            inputs = [DatasetInput(**one) for one in run.pop("inputs")]
            return cls(run=TrackedRun(inputs=inputs, **run), **values)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "run the pipeline again"
            raise IntegrityError("is not a record of tracking", item=_path(name), remedy=remedy) from error


def stage_params(stage: str, config: StageConfig | None) -> dict[str, Any]:
    """Return a stage's settings as the params of its run in MLflow."""
    return {f"{stage}.{name}": value for name, value in config.model_dump(mode="json").items()} if config else {}


def stage_record(artifact: Artifact, account: Account, config: StageConfig | None, store: Store) -> StageRecord:
    """Return everything to record about a sealed stage.

    Args:
        artifact: Its sealed output.
        account: Its account of it.
        config: Its settings; None if it has none.
        store: The store that holds the output.
    """
    manifest = artifact.manifest(store)
    files = {"manifest.json": canonical_json(manifest.as_json())}
    if config is not None:
        files["config.json"] = canonical_json(config.model_dump(mode="json"))
    return StageRecord(
        key=artifact.key,
        digest=artifact.digest,
        metrics=account.metrics,
        history=account.history,
        files=files | account.files,
        pictures=account.pictures,
        inputs=account.inputs,
        tags={"ddpm.uri": f"{store.uri}/{manifest.folder}", "ddpm.digest": artifact.digest} | account.tags,
        model=account.model,
        measured=account.measured,
    )


def description(links: Mapping[str, str], elsewhere: Mapping[str, str]) -> str:
    """Return the description of a run in MLflow, as Markdown.

    Args:
        links: The addresses of its files, by name.
        elsewhere: Its pages in other programs, by the program's name.
    """
    return render_links({**links, **{name: page for name, page in elsewhere.items() if name != "MLflow"}})


def _path(name: str) -> str:
    return f"{FOLDER}/{name}/{TRACKING}"
