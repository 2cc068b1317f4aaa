"""The assignment of every worker of a training group: the settings, the data set and the output to work on."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from flows.artifacts import Dataset, artifact_from_json
from flows.nodes.survey import Survey
from flows.stages.train.config import TrainConfig
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The work of one group, which all its workers share.

    Attributes:
        config: The stage's settings, device and dtype resolved.
        dataset: To train on.
        output: Where checkpoints, history and the snapshot go.
        watching: Whether rank 0 measures points in turn with training.
        initial: The digest of the network to start from, sealed in the output's store; empty for fresh weights.
        survey: Of the nodes that the group may work on; None to compare no node.
    """

    config: TrainConfig
    dataset: Dataset
    output: Output
    watching: bool = False
    initial: str = ""
    survey: Survey | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, since Ray Train passes a dict; a store travels as its URI."""
        return {
            "root": self.output.store.uri,
            "plan": self.output.plan.as_json(),
            "attempt": self.output.attempt,
            "config": self.config.model_dump(mode="json"),
            "dataset": asdict(self.dataset),
            "watching": self.watching,
            "initial": self.initial,
            "survey": self.survey.as_json() if self.survey else None,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return what `as_json` wrote, with the store opened on this machine.

        Raises:
            IntegrityError: If the data set is no record of one.
        """
        output = Output(store=open_store(values["root"]), plan=Plan(**values["plan"]), attempt=values["attempt"])
        return cls(
            config=TrainConfig(**values["config"]),
            dataset=artifact_from_json(Dataset, values["dataset"]),
            output=output,
            watching=values["watching"],
            initial=values["initial"],
            survey=Survey.from_json(values["survey"]) if values["survey"] else None,
        )
