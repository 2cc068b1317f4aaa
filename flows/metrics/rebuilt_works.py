"""The output of a rebuilt snapshot: the run's network with another EMA length, in the form of a sealed training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flows.environment import Environment
from flows.metrics.metric import Subject
from flows.metrics.together import Work
from flows.reconstruction import digest_of, rebuilt_snapshot, stored_averages
from infra.compute.device import prepare_process
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

STAGE = "rebuilt"
FORMAT_VERSION = 1
_UNIT = "units/000000"


def rebuilt_work(subject: Subject, sigma_rel: float) -> Work:
    """The snapshot at the end of the run's training with an EMA length.

    Args:
        subject: Names the network.
        sigma_rel: The length, as a share of training.

    Raises:
        InputError: If the training stored no averages.
    """
    trained = subject.snapshot.manifest(subject.store)
    return Work(
        label=f"rebuilt_{sigma_rel}",
        plan=Plan(
            stage=STAGE,
            format_version=FORMAT_VERSION,
            settings={"sigma_rel": sigma_rel},
            inputs={"snapshot": trained.digest, "averages": digest_of(stored_averages(trained))},
        ),
        environment=Environment(work="measuring"),
        names=[_UNIT],
        task=lambda output, _: RebuiltTask(output=output, trained=trained, sigma_rel=sigma_rel),
        seal=partial(_seal, trained=trained),
    )


@dataclass(frozen=True, kw_only=True)
class RebuiltTask:
    """Rebuilds the snapshot, with one thread."""

    output: Output
    trained: Manifest
    sigma_rel: float

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits the only unit."""
        prepare_process(1)

        def run(_: int) -> None:
            rebuilt = rebuilt_snapshot(self.output.store, self.trained, self.sigma_rel)
            self.output.commit(_UNIT, "safetensors", rebuilt.data, rebuilt.facts)

        return run


def _seal(output: Output, trained: Manifest) -> Manifest:
    """Seal the snapshot with the facts of the training that readers of a snapshot need."""
    record = output.record(_UNIT)
    assert record is not None, "the unit was committed and has no record"
    facts = {name: trained.facts[name] for name in ("images_seen", "num_timesteps", "settings")}
    return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], facts | record.facts)
