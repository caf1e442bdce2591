"""What was measured, as lines and as JSON and back, and held against what is aimed at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, TypeVar

from comparison.grid import Case
from comparison.match import Outcome


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


class Goal(NamedTuple):
    """The least that some of the ratios should be: each of them, or their mean."""

    name: str
    applies: Callable[[Case], bool]
    each: float | None = None
    mean: float | None = None
    of_bound: float | None = None


def _ordinary(case: Case) -> bool:
    return case.dtype == "float32" and not case.ragged


GOALS = [
    Goal("inference", lambda c: _ordinary(c) and not c.training, each=1.0, mean=1.8),
    Goal(
        "a streaming step up to H256",
        lambda c: c.kind == "inference" and c.streaming and c.hidden_size <= 256,
        each=4.0,
    ),
    Goal(
        "inference of a batch of 128",
        lambda c: c.kind == "inference" and c.batch == 128,
        of_bound=0.85,
    ),
    Goal("training", lambda c: _ordinary(c) and c.training, each=1.1, mean=2.0),
    Goal("ragged", lambda c: c.ragged, each=5.0),
    Goal("float64", lambda c: c.dtype == "float64", mean=2.0),
]
# A case is called noisy where the middle half of the rounds is wider than this share.
NOISY = 0.2
# Of torch's peak memory in training.
MEMORY_GOAL = 0.5


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios."""
    return math.exp(math.fsum(logs := [math.log(v) for v in values]) / len(logs))


def heading(threads: int, contestants: Sequence[str]) -> str:
    """The line above the lines of `row`."""
    names = "".join(f"{name:>12}" for name in contestants)
    return f"{_count(threads):57}{names}  ratio  of bound"


def row(outcome: Outcome, contestants: Sequence[str]) -> str:
    """One case: the median of every contestant, and the ratios."""
    line = f"{outcome.case.kind:11}{outcome.case!s:46}"
    for name in contestants:
        line += f"{_time(outcome, name):>12}"
    ratio = "-" if outcome.ratio is None else f"{outcome.ratio:.2f}"
    share = "-" if outcome.of_bound is None else f"{outcome.of_bound:.0%}"
    deciding = [name for name in ("gatewise", outcome.best_peer) if name in outcome.spread]
    noisy = any(outcome.spread[name] > NOISY for name in deciding)
    remark = "  disturbed" if outcome.disturbed else "  noisy" if noisy else ""
    return f"{line}{ratio:>7}{share:>10}{remark}"


def _count(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def _time(outcome: Outcome, name: str) -> str:
    if name in outcome.failures:
        return "wrong" if outcome.failures[name].startswith("wrong") else "failed"
    if name not in outcome.seconds:
        return "-"
    seconds = outcome.seconds[name]
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:.4g} {unit}"
    return f"{seconds:.4g} s"


def summary(outcomes: Sequence[Outcome], memory: Sequence[Memory]) -> list[str]:
    """Geometric means by kind, what was wrong, and every goal with the cases below it."""
    lines = ["", f"{'geometric means of the ratios':46}{'cases':>6}{'mean':>7}{'least':>8}"]
    threads = sorted({outcome.threads for outcome in outcomes})
    kinds = list(dict.fromkeys(outcome.case.kind for outcome in outcomes))
    for count in threads:
        for kind in kinds:
            own = [o for o in outcomes if o.threads == count and o.case.kind == kind]
            ratios = [o for o in own if o.ratio is not None]
            if ratios:
                lines.append(_mean_line(f"{_count(count)}, {kind}", ratios))
    for goal in GOALS:
        for count in threads:
            lines += _against(goal, [o for o in outcomes if o.threads == count], count)
    lines += _memory_lines(memory)
    for outcome in outcomes:
        for name, reason in outcome.failures.items():
            where = f"{outcome.case.kind} {outcome.case}, {_count(outcome.threads)}"
            lines.append(f"not timed: {name} at {where}: {reason}")
    return lines


def _mean_line(name: str, outcomes: Sequence[Outcome]) -> str:
    ratios = {str(o.case): o.ratio for o in outcomes if o.ratio is not None}
    least = min(ratios, key=ratios.__getitem__)
    mean = geometric_mean(ratios.values())
    return f"{name:46}{len(ratios):>6}{mean:>7.2f}{ratios[least]:>8.2f}  at {least}"


def _against(goal: Goal, outcomes: Sequence[Outcome], threads: int) -> list[str]:
    own = [o for o in outcomes if goal.applies(o.case)]
    if not own:
        return []
    lines = []
    name = f"goal, {_count(threads)}: {goal.name}"
    if goal.mean is not None:
        ratios = [o.ratio for o in own if o.ratio is not None]
        if ratios:
            mean = geometric_mean(ratios)
            met = "met" if mean >= goal.mean else "MISSED"
            lines.append(f"{name}, mean at least {goal.mean}: {mean:.2f}, {met}")
    if goal.each is not None:
        short = _short(own, goal.each, lambda o: o.ratio)
        lines.append(f"{name}, each at least {goal.each}: {short}")
    if goal.of_bound is not None:
        short = _short(own, goal.of_bound, lambda o: o.of_bound)
        lines.append(f"{name}, at least {goal.of_bound:.0%} of the bound: {short}")
    return lines


def _short(
    outcomes: Sequence[Outcome], least: float, figure: Callable[[Outcome], float | None]
) -> str:
    """The cases that fall short; one that has no figure does, unless no peer is there."""
    figures = [(o, figure(o)) for o in outcomes]
    short = [
        f"\n    {o.case.kind} {o.case}: {'no figure' if value is None else f'{value:.2f}'}"
        for o, value in figures
        if value is None or value < least
    ]
    return (
        "".join([f"MISSED by {len(short)} of {len(figures)}", *short]) if short else "met"
    )


def _memory_lines(memory: Sequence[Memory]) -> list[str]:
    lines = []
    for entry in memory:
        parts = [
            f"{name} {peak / 2**20:.1f} MB"
            f" ({(peak - entry.ready[name]) / 2**20:.1f} beyond weights and data)"
            for name, peak in entry.peak.items()
        ]
        lines.append(f"peak memory, training {entry.case}: {', '.join(parts)}")
        if entry.ratio is not None:
            met = "met" if entry.ratio <= MEMORY_GOAL else "MISSED"
            lines.append(
                f"goal: at most {MEMORY_GOAL:.0%} of torch's: {entry.ratio:.0%}, {met}"
            )
    return ["", *lines] if lines else []


def as_json(
    about: dict[str, Any], outcomes: Sequence[Outcome], memory: Sequence[Memory]
) -> dict[str, Any]:
    """Everything that was measured, for `json.dump`."""
    cases = [
        {
            **asdict(outcome),
            "label": str(outcome.case),
            "disturbed": outcome.disturbed,
            "best_peer": outcome.best_peer,
            "ratio": outcome.ratio,
            "of_bound": outcome.of_bound,
        }
        for outcome in outcomes
    ]
    weighed = [
        {**asdict(entry), "label": str(entry.case), "ratio": entry.ratio}
        for entry in memory
    ]
    return {"about": about, "cases": cases, "memory": weighed}


def from_json(
    report: Mapping[str, Any],
) -> tuple[dict[str, Any], list[Outcome], list[Memory]]:
    """What `as_json` was made of; what is computed from it is computed again."""
    return (
        report["about"],
        [_from_dict(Outcome, entry) for entry in report["cases"]],
        [_from_dict(Memory, entry) for entry in report["memory"]],
    )


def _from_dict(kind: type[T], entry: Mapping[str, Any]) -> T:
    values = {field.name: entry[field.name] for field in fields(kind)}
    return kind(**{**values, "case": Case(**entry["case"])})
