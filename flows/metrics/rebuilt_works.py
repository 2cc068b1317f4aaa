"""The output of a rebuilt snapshot: the run's network with another EMA length, in the form of a sealed training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from flows.metrics.metric import Subject
from flows.metrics.together import Work
from flows.nodes.environment import Environment
from flows.reconstruction import StoredAverages, digest_of, rebuilt_snapshot, stored_averages, whole_averages
from infra.compute.device import prepare_process
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan, current

STAGE = "rebuilt"
FORMAT_VERSION = 1
_UNIT = "units/000000"


def rebuilt_works(subject: Subject, sigma_rels: Sequence[float]) -> list[Work]:
    """The snapshots at the end of the run's training with some EMA lengths.

    Those that are not sealed yet are rebuilt from the stored averages whose files are whole, and keyed by these.

    Args:
        subject: Names the network.
        sigma_rels: The lengths, as shares of training.

    Raises:
        InputError: If the training stored no averages.
        IntegrityError: If those at the end of training are damaged.
    """
    trained = subject.snapshot.manifest(subject.store)
    stored = stored_averages(trained)
    plans = [_plan(trained, stored, sigma_rel) for sigma_rel in sigma_rels]
    sealed = [current(Output(store=subject.store, plan=plan)).manifest({}) for plan in plans]
    whole = stored if all(sealed) else whole_averages(subject.store, trained)
    return [_work(trained, stored if seal else whole, length) for seal, length in zip(sealed, sigma_rels, strict=True)]


def _plan(trained: Manifest, points: Sequence[StoredAverages], sigma_rel: float) -> Plan:
    return Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings={"sigma_rel": sigma_rel},
        inputs={"snapshot": trained.digest, "averages": digest_of(points)},
    )


def _work(trained: Manifest, points: Sequence[StoredAverages], sigma_rel: float) -> Work:
    return Work(
        label=f"rebuilt_{sigma_rel}",
        plan=_plan(trained, points, sigma_rel),
        environment=Environment(work="measuring"),
        names=[_UNIT],
        task=lambda output, _: RebuiltTask(output=output, trained=trained, sigma_rel=sigma_rel, points=tuple(points)),
        seal=partial(_seal, trained=trained),
    )


@dataclass(frozen=True, kw_only=True)
class RebuiltTask:
    """Rebuilds the snapshot, with one thread."""

    output: Output
    trained: Manifest
    sigma_rel: float
    points: tuple[StoredAverages, ...]

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits the only unit."""
        prepare_process(1)

        def run(_: int) -> None:
            rebuilt = rebuilt_snapshot(self.output.store, self.trained, self.sigma_rel, self.points)
            self.output.commit(_UNIT, "safetensors", rebuilt.data, rebuilt.facts)

        return run


def _seal(output: Output, trained: Manifest) -> Manifest:
    """Seal the snapshot with the facts of the training that readers of a snapshot need."""
    record = output.record(_UNIT)
    assert record is not None, "the unit was committed and has no record"
    facts = {name: trained.facts[name] for name in ("images_seen", "num_timesteps", "settings")}
    return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], facts | record.facts)
