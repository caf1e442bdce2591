"""What was measured, as JSON and back, and several runs as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from comparison.entries import PRECISIONS
from comparison.grid import Case, grid, memory_cases
from comparison.outcome import Outcome


@dataclass
class Memory:
    """The peak memory of training one case, in bytes above that of the bare package.

    `ready` is what weights and data take, `peak` the most that is taken while it runs.
    """

    case: Case
    ready: dict[str, int]
    peak: dict[str, int]

    @property
    def ratio(self) -> float | None:
        """The peak of gatewise as a share of torch's."""
        if not self.peak.keys() >= {"gatewise", "torch"}:
            return None
        return self.peak["gatewise"] / self.peak["torch"]


T = TypeVar("T", Outcome, Memory)


@dataclass
class Measured:
    """All that is stored of one run, or of several."""

    about: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)

    def has(self, case: Case, threads: int) -> bool:
        """Whether this case was measured."""
        return any((o.case, o.threads) == (case, threads) for o in self.outcomes)

    def add(self, later: Measured) -> None:
        """Take over what a later run has measured, in place of what it measured again.

        Raises
        ------
        ValueError
            If it was another machine.
        """
        machine, other = (m.about.get("processor") for m in (self, later))
        if machine not in (None, other):
            raise ValueError(f"all runs should be of one machine, {machine}, got {other}")
        outcomes = {(o.threads, o.case): o for o in self.outcomes + later.outcomes}
        memory = {entry.case: entry for entry in self.memory + later.memory}
        order = {case: place for place, case in enumerate(grid() + memory_cases(False))}
        last = len(order)
        self.outcomes = sorted(
            outcomes.values(), key=lambda o: (o.threads, order.get(o.case, last))
        )
        self.memory = sorted(memory.values(), key=lambda m: order.get(m.case, last))
        self.about = _joined(self.about, later.about)


def _joined(first: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of two runs: since when, how long, of which commits."""
    joined = {**later, **first}
    for name in ("versions", "sgemm", "sgemm of NumPy"):
        if name in joined:
            joined[name] = {**first.get(name, {}), **later.get(name, {})}
    if first:
        joined["minutes"] = round(first["minutes"] + later["minutes"], 1)
        joined["load after"] = later["load after"]
        commits = [*first["commit"].split(", "), later["commit"]]
        joined["commit"] = ", ".join(dict.fromkeys(commits))
    return joined


def as_json(measured: Measured) -> dict[str, Any]:
    """Everything that was measured, for `json.dump`."""
    cases = [
        {
            **asdict(outcome),
            "label": str(outcome.case),
            "disturbed": outcome.disturbed,
            "of_bound": outcome.of_bound,
            "ratios": {p: outcome.ratio(p) for p in PRECISIONS},
            "best": [outcome.ratio(), outcome.best_of_ours(), outcome.best_peer()],
        }
        for outcome in measured.outcomes
    ]
    memory = [
        {**asdict(entry), "label": str(entry.case), "ratio": entry.ratio}
        for entry in measured.memory
    ]
    return {"about": measured.about, "cases": cases, "memory": memory}


def from_json(stored: Mapping[str, Any]) -> Measured:
    """What `as_json` was made of; what is computed from it is computed again."""
    return Measured(
        stored["about"],
        [_from_dict(Outcome, entry) for entry in stored["cases"]],
        [_from_dict(Memory, entry) for entry in stored["memory"]],
    )


def _from_dict(kind: type[T], entry: Mapping[str, Any]) -> T:
    values = {each.name: entry[each.name] for each in fields(kind)}
    return kind(**{**values, "case": Case(**entry["case"])})
