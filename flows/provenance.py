"""The provenance of figures: the data, network, samples, extractor, rules, versions and hardware that they rest on.

A figure rests on sealed outputs. Each names its inputs by their digests, so everything behind it follows from manifests
alone. The evaluation seals the result beside the figures; readers need nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.digests import Json
from infra.outputs.environments import periods_of
from infra.outputs.manifest import Manifest

FACT = "provenance"
_SHOWN_DIGITS = 12
# The stages that make what is measured. Every other stage that reads the data set measures.
_DATA, _NETWORK, _SAMPLES = "prepare", "train", "sample"
# The stage that makes another average of a network, and the one that fits the distribution of an estimate's timesteps.
_REBUILT, _PROPOSAL = "rebuilt", "proposal"
# The stages that seal the weights of an extractor.
_EXTRACTORS = ("classifier", "weights")
# An output that names no split was computed on the held-out one, as the bound is.
_HELD_OUT = "test"
# The rule of `ddpm_core.images.to_uint8`.
_ROUNDING = "clamped to [-1, 1]; (x + 1) * 127.5 rounded to the nearest integer, ties to even"
# The parts of an environment that are no versions.
_DEVICE, _DTYPE = "device", "dtype"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The provenance of figures that share it; `provenance_of` makes it and `read_provenance` reads it.

    A part is empty if the figures do not rest on it: a bound rests on no samples, pixels have no weights.

    Attributes:
        figures: Names of the figures.
        counts: How many images or timesteps they rest on, by name.
        data: `name` and `digest` of the data set, and `splits`: the number of images in each split that was
            compared; empty if the figures rest on several data sets.
        datasets: The same of each data set by its role, `samples` or `reference`, if there are several.
        network: `digest` of the snapshot, `images_seen`, `num_timesteps`, and `ema_halflife_images`, the half-life of
            the averaged weights at the end of training, in images. Of an average that was rebuilt it has `sigma_rel`
            in place of the half-life, its own `digest`, and that of the run's snapshot as `rebuilt_from`. If it did not
            start from fresh weights, `initial` has the `source` that its setting names, the `place` where that was
            found, and the `digest` of its content.
        samples: `digest`, `count`, `sampler`, `num_steps`, `seed` and the other settings of sampling.
        extractor: `name` of the features, and `digest`, the sha256 of the file of weights, or of the sealed output if
            the weights were fitted to the data.
        settings: The evaluation's settings that the metric uses.
        rules: The rules that change pixels or features on the way to a figure, by the step that follows them.
        environments: Versions and device, as each stage recorded them; several if its outputs have different ones, or
            if one output was computed in several, one after the other.
    """

    figures: tuple[str, ...]
    counts: Mapping[str, int]
    data: Json
    network: Json
    samples: Json
    extractor: Json
    settings: Json
    rules: Mapping[str, str]
    environments: Mapping[str, Sequence[Mapping[str, str]]]
    datasets: Mapping[str, Json] = field(default_factory=dict)

    def as_json(self) -> Json:
        """Return it as plain data, as it is sealed."""
        values = asdict(self) | {"figures": list(self.figures)}
        # Left out of the record if there is one data set, as it was before there could be several.
        return {name: value for name, value in values.items() if name != "datasets" or value}

    def rows(self) -> list[tuple[str, str]]:
        """Return it for people: names and values, without the parts that are empty."""
        rows = [
            *_data_rows(self.data, ""),
            *(row for role, data in self.datasets.items() for row in _data_rows(data, f" of {role}")),
            ("network", _network_text(self.network)),
            ("initial network", _initial_text(self.network)),
            ("EMA length", _ema_text(self.network)),
            ("samples", _samples_text(self.samples)),
            ("counts", _listed(self.counts)),
            ("extractor", f"{self.extractor['name']}, {_short(self.extractor)}" if self.extractor else ""),
            ("settings", _listed(self.settings)),
            *((f"rule of {step}", rule) for step, rule in self.rules.items()),
            ("versions", _by_stage(self.environments, _versions)),
            ("hardware", _by_stage(self.environments, lambda environment: environment.get(_DEVICE, ""))),
        ]
        return [(name, value) for name, value in rows if value]


def provenance_of(
    figures: Sequence[str],
    *,
    rests_on: Sequence[Manifest],
    known: Iterable[Manifest],
    counts: Mapping[str, int],
    settings: Json,
    rules: Mapping[str, str],
    environment: Mapping[str, str],
    roles: Mapping[str, str] | None = None,
) -> Provenance:
    """Return the provenance of figures; a function of the manifests alone.

    Args:
        figures: Their names.
        rests_on: The outputs that they were computed from.
        known: The outputs among which inputs are looked up by digest. An input that is not among them is left out.
        counts: How many images or timesteps they rest on, by name.
        settings: The evaluation's settings that their metric uses.
        rules: Rules of the measure, such as the resize before an extractor, by the step that follows them.
        environment: The software and hardware that computed the figures from the outputs.
        roles: The roles of images in the comparison, by the digest of the output that holds them. They tell several
            data sets apart; one without a role is known by its digest.
    """
    behind = list(_behind(rests_on, {manifest.digest: manifest for manifest in known}))
    by_stage = {manifest.stage: manifest for manifest in behind}
    trained = by_stage.get(_NETWORK)
    drawn = by_stage.get(_SAMPLES)
    datasets = _datasets(behind, {manifest.folder for manifest in rests_on}, roles or {})
    data = {role: values for role, (_, values) in datasets.items()}
    return Provenance(
        figures=tuple(figures),
        counts=dict(counts),
        data=next(iter(data.values())) if len(data) == 1 else {},
        network=_network(trained, _only_rebuilt(behind, rests_on)) if trained else {},
        samples=_samples(drawn, trained) if drawn else {},
        extractor=_extractor(behind),
        settings=dict(settings),
        rules=_data_rules({role: manifest for role, (manifest, _) in datasets.items()})
        | ({"samples": _ROUNDING} if drawn else {})
        | _proposal_rule(by_stage.get(_PROPOSAL))
        | dict(rules),
        environments=_environments(behind) | {"evaluate": [dict(environment)]},
        datasets=data if len(data) > 1 else {},
    )


def read_provenance(evaluated: Manifest) -> tuple[Provenance, ...]:
    """Return what the evaluation sealed, of all figures; nothing if it was sealed before that was recorded.

    Args:
        evaluated: The manifest of the figures.
    """
    return tuple(
        Provenance(**values | {"figures": tuple(values["figures"])}) for values in evaluated.facts.get(FACT, ())
    )


def _behind(outputs: Sequence[Manifest], known: Mapping[str, Manifest]) -> Iterator[Manifest]:
    """Yield the outputs and everything that they were made from, each once, the outputs first."""
    found: dict[str, Manifest] = {}
    waiting = list(outputs)
    while waiting:
        manifest = waiting.pop(0)
        if manifest.folder not in found:
            found[manifest.folder] = manifest
            waiting += [known[digest] for digest in manifest.plan["inputs"].values() if digest in known]
            yield manifest


def _datasets(
    behind: Sequence[Manifest], measured: set[str], roles: Mapping[str, str]
) -> dict[str, tuple[Manifest, Json]]:
    """Return each data set whose images were measured, by its role; or the one behind the network if there is none."""
    found = [(manifest, _data(manifest, behind, measured)) for manifest in behind if manifest.stage == _DATA]
    compared = [(manifest, data) for manifest, data in found if data["splits"]]
    return {roles.get(manifest.digest, manifest.digest): (manifest, data) for manifest, data in compared or found[-1:]}


def _data(dataset: Manifest, behind: Sequence[Manifest], measured: set[str]) -> Json:
    """Return the data set, and the splits that were measured; a network's own training data are none of them."""
    makers = {_DATA, _NETWORK, _SAMPLES, *_EXTRACTORS}
    splits = {
        _split(manifest)
        for manifest in behind
        if (manifest.stage not in makers or manifest.folder in measured)
        and manifest.stage != _PROPOSAL
        and dataset.digest in manifest.plan["inputs"].values()
    }
    sizes = {split: count for split, count in dataset.facts["images"].items() if split in splits}
    return {"name": dataset.facts["settings"]["kind"], "digest": dataset.digest, "splits": sizes}


def _split(manifest: Manifest) -> str:
    return str(manifest.plan["settings"].get("split", _HELD_OUT))


def _only_rebuilt(behind: Sequence[Manifest], rests_on: Sequence[Manifest]) -> Manifest | None:
    """Return the rebuilt network that was measured; None if the figures are of another one, or of several."""
    measured = {manifest.plan["inputs"]["snapshot"] for manifest in rests_on if "snapshot" in manifest.plan["inputs"]}
    rebuilt = (manifest for manifest in behind if manifest.stage == _REBUILT)
    return next((manifest for manifest in rebuilt if measured == {manifest.digest}), None)


def _proposal_rule(proposal: Manifest | None) -> dict[str, str]:
    """Return how an estimate's timesteps are drawn; the fit sees training images, but none of them is measured."""
    if proposal is None:
        return {}
    images = sum(int(unit["rows"]) for unit in proposal.units)
    return {"timesteps": f"drawn by a distribution that is fitted on the first {images:,} training images"}


def _network(trained: Manifest, rebuilt: Manifest | None) -> Json:
    facts, settings = trained.facts, trained.facts.get("settings", {})
    network: Json = {"digest": trained.digest, "images_seen": facts["images_seen"]}
    network["num_timesteps"] = facts["num_timesteps"]
    if rebuilt is not None:
        network |= {"digest": rebuilt.digest, "rebuilt_from": trained.digest, "sigma_rel": rebuilt.facts["sigma_rel"]}
    elif {"ema_halflife_images", "ema_rampup_ratio"} <= settings.keys():
        longest = settings["ema_rampup_ratio"] * facts["images_seen"]
        network["ema_halflife_images"] = min(settings["ema_halflife_images"], longest)
    if "initial" in facts:
        network["initial"] = facts["initial"]
    return network


def _samples(drawn: Manifest, trained: Manifest | None) -> Json:
    settings = drawn.facts["settings"]
    steps = settings["num_steps"] or (trained.facts["num_timesteps"] if trained else 0)
    return settings | {"digest": drawn.digest, "count": drawn.facts["images"], "num_steps": steps}


def _extractor(behind: Sequence[Manifest]) -> Json:
    names = [manifest.plan["settings"]["extractor"] for manifest in behind if "extractor" in manifest.plan["settings"]]
    weights = next((manifest for manifest in behind if manifest.stage in _EXTRACTORS), None)
    if not names:
        return {}
    return {"name": names[0]} | ({"digest": weights.facts.get("sha256", weights.digest)} if weights else {})


def _data_rules(datasets: Mapping[str, Manifest]) -> dict[str, str]:
    rules = {role: dataset.facts["fit"] for role, dataset in datasets.items() if "fit" in dataset.facts}
    if len(datasets) == len(rules) and len(set(rules.values())) == 1:
        return {"preparation": next(iter(rules.values()))}
    return {f"preparation of {role}": rule for role, rule in rules.items()}


def _environments(behind: Sequence[Manifest]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for manifest in behind:
        of_stage = found.setdefault(manifest.stage, [])
        for period in periods_of(manifest):
            if period.environment not in of_stage:
                of_stage.append(dict(period.environment))
    return found


def _data_rows(data: Json, of_role: str) -> list[tuple[str, str]]:
    if not data:
        return []
    splits = ", ".join(f"{split} ({count:,} images)" for split, count in data["splits"].items())
    return [(f"data{of_role}", f"{data['name']}, {_short(data)}"), (f"split{of_role}", splits)]


def _short(part: Mapping[str, Any]) -> str:
    return f"digest {part['digest'][:_SHOWN_DIGITS]}" if "digest" in part else "no weights"


def _network_text(network: Json) -> str:
    return f"{network['images_seen']:,} images seen, {_short(network)}" if network else ""


def _initial_text(network: Json) -> str:
    initial = network.get("initial")
    return f"{initial['place']}, {_short(initial)}" if initial else ""


def _ema_text(network: Json) -> str:
    if "sigma_rel" in network:
        return f"{network['sigma_rel']:g} of training, rebuilt from digest {network['rebuilt_from'][:_SHOWN_DIGITS]}"
    return f"half-life of {network['ema_halflife_images']:,.0f} images" if "ema_halflife_images" in network else ""


def _samples_text(samples: Json) -> str:
    if not samples:
        return ""
    start = f"{samples['count']:,} by {samples['sampler']}, {samples['num_steps']:,} steps"
    return f"{start}, seed {samples['seed']}, {_short(samples)}"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _versions(environment: Mapping[str, str]) -> str:
    return _listed({name: value for name, value in sorted(environment.items()) if name not in (_DEVICE, _DTYPE)})


def _by_stage(environments: Mapping[str, Sequence[Mapping[str, str]]], text: Callable[[Mapping[str, str]], str]) -> str:
    """Name the stages behind each text, unless all stages share one."""
    stages: dict[str, list[str]] = {}
    for stage, of_stage in environments.items():
        for environment in of_stage:
            stages.setdefault(text(environment), []).append(stage)
    if len(stages) == 1:
        return next(iter(stages))
    return "; ".join(f"{value} ({', '.join(dict.fromkeys(names))})" for value, names in stages.items())
