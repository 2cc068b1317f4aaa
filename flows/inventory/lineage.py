"""The lineage of a run or an output: back to data, settings and source code, and forward to whatever uses it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.artifacts import figure_text
from flows.inventory.finding import Subject, root_of
from flows.inventory.inventory import Inventory, StoredRun, goal_with
from flows.inventory.output import SealedGoal, StoredOutput
from flows.inventory.words import short_digest, time_text, value_text
from flows.quantities import bytes_text
from infra.digests import Json
from infra.outputs.source_code import sources
from infra.storage.store import Store

_SOURCE = "listing"
_FIGURES_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Node:
    """A run, an output or an input from outside, in a tree.

    Attributes:
        kind: `run`, `output` or `input`.
        name: A run's name, an output's folder or a digest.
        role: Its role for the node above; empty at the top.
        title: The rest of its line.
        details: Further facts, by name.
        below: The nodes below it.
        is_again: Whether the tree shows its details and what is below it elsewhere.
    """

    kind: str
    name: str
    role: str = ""
    title: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    below: Sequence["Node"] = ()
    is_again: bool = False

    def as_json(self) -> Json:
        """Return the node and all below it as plain data."""
        values: Json = {"kind": self.kind, "name": self.name, "role": self.role, "title": self.title}
        values |= {"details": dict(self.details)} if self.details else {}
        return values | ({"again": True} if self.is_again else {"below": [node.as_json() for node in self.below]})


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The lineage of something.

    Attributes:
        origin: It, and below it what it was made from.
        uses: It, and below it what was made from it.
        left_out: What was not read, in words.
    """

    origin: Node
    uses: Node
    left_out: str = ""

    def as_json(self) -> Json:
        """Return it as plain data."""
        return {"origin": self.origin.as_json(), "uses": self.uses.as_json(), "left_out": self.left_out}


def lineage_of(subject: Subject, inventory: Inventory, store: Store) -> Lineage:
    """Return the lineage of a run or an output.

    Args:
        subject: The run or the output.
        inventory: Everything below the root.
        store: The root, which is read for the commits of source code alone.
    """
    trees = _Trees(inventory, store)
    if subject.run is not None:
        origin = trees.of_run(subject.run)
        uses = Node(kind="run", name=subject.run.name, below=_sharing(subject.run, inventory))
    else:
        assert subject.output is not None, "a subject is a run or an output"
        goal = goal_with(subject.output, subject.digest)
        origin = trees.of_output(subject.output, "", goal)
        if subject.file:
            origin = Node(kind="file", name=subject.file, below=[origin])
        uses = _Uses(inventory, store).of_output(subject.output, "")
    return Lineage(origin=origin, uses=uses, left_out=inventory.left_out)


def _sharing(run: StoredRun, inventory: Inventory) -> list[Node]:
    """Return the other runs that share outputs with a run."""
    found = []
    for other in inventory.runs:
        shared = [kind for kind, name in other.artifacts.items() if name in run.artifacts.values()]
        if shared and other.name != run.name:
            found.append(Node(kind="run", name=other.name, role=f"shares {', '.join(shared)}", title=_run_title(other)))
    return found


class _Trees:
    """Builds the tree back to the origins; what was shown once is named again without its details."""

    def __init__(self, inventory: Inventory, store: Store) -> None:
        self._inventory, self._store = inventory, store
        self._shown: set[str] = set()

    def of_run(self, run: StoredRun) -> Node:
        """Return a run with its four outputs."""
        below = [self._artifact(kind, manifest) for kind, manifest in run.artifacts.items()]
        return Node(kind="run", name=run.name, title=_run_title(run), details=_run_details(run), below=below)

    def _artifact(self, kind: str, manifest: str) -> Node:
        output = self._inventory.outputs.get("/".join(manifest.split("/")[:2]))
        if output is None:
            return Node(kind="output", name=manifest, role=kind, title="not there")
        goal = next((goal for goal in output.sealed if goal.manifest == manifest), None)
        return self.of_output(output, kind, goal)

    def of_output(self, output: StoredOutput, role: str, goal: SealedGoal | None) -> Node:
        """Return an output with all that it was made from."""
        title = output_title(output, goal)
        if output.folder in self._shown:
            return Node(kind="output", name=output.folder, role=role, title=title, is_again=True)
        self._shown.add(output.folder)
        below = list(self._inputs(output))
        details = _details(output, goal) | self._source(output)
        return Node(kind="output", name=output.folder, role=role, title=title, details=details, below=below)

    def _inputs(self, output: StoredOutput) -> Iterator[Node]:
        for reference in self._inventory.inputs(output):
            if not reference.outputs:
                title = "the images as they were listed" if reference.role == _SOURCE else "not below this root"
                name = f"digest {short_digest(reference.digest)}" if reference.digest else "unknown"
                yield Node(kind="input", name=name, role=reference.role, title=title)
            else:
                latest = max(reference.outputs, key=lambda one: one.attempt)
                yield self.of_output(latest, reference.role, goal_with(latest, reference.digest))
        if (copied := _copied_from(output, self._inventory, self._store)) is not None:
            yield self.of_output(copied, "copied from", None)

    def _source(self, output: StoredOutput) -> dict[str, str]:
        found = sources(self._store, output.folder)
        return {"source code": " then ".join(found)} if found else {}


class _Uses:
    """Builds the tree forward."""

    def __init__(self, inventory: Inventory, store: Store) -> None:
        self._inventory = inventory
        self._shown: set[str] = set()
        copies = ((one, _copied_from(one, inventory, store)) for one in inventory.outputs.values())
        self._copies = [(one, origin.folder) for one, origin in copies if origin is not None]

    def of_output(self, output: StoredOutput, role: str) -> Node:
        """Return an output with the runs that name it, and all that was made from it."""
        title = output_title(output, None)
        if output.folder in self._shown:
            return Node(kind="output", name=output.folder, role=role, title=title, is_again=True)
        self._shown.add(output.folder)
        runs = [
            Node(kind="run", name=run.name, role=kind, title=_run_title(run))
            for kind, run in self._inventory.runs_of(output)
        ]
        users: dict[str, list[str]] = {}
        for role_there, user in self._inventory.users(output):
            users.setdefault(user.folder, []).append(role_there)
        users |= {copy.folder: ["copied to"] for copy, folder in self._copies if folder == output.folder}
        below = [
            self.of_output(self._inventory.outputs[folder], ", ".join(dict.fromkeys(roles)))
            for folder, roles in users.items()
        ]
        return Node(kind="output", name=output.folder, role=role, title=title, below=[*runs, *below])


def _copied_from(output: StoredOutput, inventory: Inventory, store: Store) -> StoredOutput | None:
    """Return the output below the same root that a network to start from was copied from."""
    places = [str(goal.facts["place"]) for goal in output.sealed if "place" in goal.facts]
    found = [place.removeprefix(f"{store.uri}/") for place in places if root_of(place) == store.uri]
    return inventory.outputs.get("/".join(found[0].split("/")[:2])) if found else None


def output_title(output: StoredOutput, goal: SealedGoal | None) -> str:
    """Return an output's state, amounts, size and digest in a line."""
    amounts = "; ".join(f"{name} {amount:,}" for name, amount in goal.goal.items()) if goal else output.goals
    digest = f"digest {short_digest(goal.digest)}" if goal else ""
    return ", ".join(part for part in (output.state, amounts, bytes_text(output.size.bytes), digest) if part)


def _run_title(run: StoredRun) -> str:
    if run.damage:
        return "its record is damaged"
    return f"finished {time_text(run.changed_s)}" if run.record is not None else "unfinished"


def _run_details(run: StoredRun) -> dict[str, str]:
    if run.record is None:
        rest = {"damage": run.damage, "at work": run.holder, "settings": _listed(run.settings)}
        return {name: text for name, text in rest.items() if text}
    figures = run.record.finished.figures.figures
    shown = [figure for figure in figures if figure.headline] or list(figures[:_FIGURES_SHOWN])
    return {figure.name: figure_text(figure) for figure in shown} | dict(run.record.elsewhere)


def _details(output: StoredOutput, goal: SealedGoal | None) -> dict[str, str]:
    plan = output.plan
    details = {
        "held": output.holder,
        "damage": "; ".join(output.damage),
        "changed settings": _listed(plan.settings) if plan else "",
        "rules": f"format version {plan.format_version}" if plan else "",
    }
    if goal is not None:
        facts = goal.facts
        images = facts.get("images")
        initial = facts.get("initial")
        details |= {
            "images": _listed(images) if isinstance(images, dict) else "",
            "initial network": f"{initial['place']}" if isinstance(initial, dict) else "",
            "place": str(facts.get("place", "")),
            "environment": _listed(goal.environment),
        }
    return {name: text for name, text in details.items() if text}


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items())
