"""What was measured, summed up and held against what is aimed at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from comparison.entries import BY_NAME
from comparison.grid import Case
from comparison.outcome import Outcome
from comparison.rows import count
from comparison.storage import Measured, Memory

Figure = Callable[[Outcome], float | None]


def best(outcome: Outcome) -> float | None:
    """The best of ours against the best of everybody's."""
    return outcome.ratio()


def full(outcome: Outcome) -> float | None:
    """float32 to float32, or float64 to float64."""
    return outcome.ratio("float32")


def bfloat16(outcome: Outcome) -> float | None:
    """bfloat16 to bfloat16."""
    return outcome.ratio("bfloat16")


def eight_bits(outcome: Outcome) -> float | None:
    """int8 with activations of 8 bits to int8."""
    return outcome.ratio_of("gatewise int8-8")


def fifteen_bits(outcome: Outcome) -> float | None:
    """int8 with activations of 15 bits to int8, whose activations have 8."""
    return outcome.ratio_of("gatewise int8-15")


FIGURES: dict[str, Figure] = {
    "float32 (float64) alone": full,
    "bfloat16 alone": bfloat16,
    "int8 alone, 8 bits": eight_bits,
    "int8 alone, 15 bits": fifteen_bits,
    "best of ours to best of all": best,
}


class Goal(NamedTuple):
    """The least that some of the figures should be: each of them, or their mean."""

    name: str
    applies: Callable[[Case], bool]
    figure: Figure
    each: float | None = None
    mean: float | None = None


def _ordinary(case: Case) -> bool:
    return case.dtype == "float32" and not case.ragged


def _inference(case: Case) -> bool:
    return _ordinary(case) and not case.training


def _training(case: Case) -> bool:
    return _ordinary(case) and case.training


def _grid(case: Case) -> bool:
    return case.kind == "inference"


GOALS = [
    Goal("inference, the best of ours to the best of all", _grid, best, 1.0, 1.8),
    Goal("inference, float32", _inference, full, 1.0, 1.8),
    Goal("inference, bfloat16", _inference, bfloat16, 1.0, 1.1),
    Goal("inference, int8 of 8 bits", _inference, eight_bits, 1.0, 1.3),
    Goal("inference, int8 of 15 bits", _inference, fifteen_bits, 0.85),
    Goal(
        "single steps, int8 of 15 bits",
        lambda c: _inference(c) and c.streaming,
        fifteen_bits,
        1.0,
    ),
    Goal(
        "a streaming step up to H256, float32",
        lambda c: _grid(c) and c.streaming and c.hidden_size <= 256,
        full,
        4.0,
    ),
    Goal(
        "inference of a batch of 128, of the bound",
        lambda c: _grid(c) and c.batch == 128,
        lambda o: o.of_bound,
        0.85,
    ),
    Goal("training, float32", _training, full, 1.1, 2.0),
    Goal("training, bfloat16", _training, bfloat16, 1.0),
    Goal("ragged", lambda c: c.ragged, full, 5.0),
    Goal("float64", lambda c: c.dtype == "float64", full, mean=2.0),
]
# Of torch's peak memory in training.
MEMORY_GOAL = 0.5


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios."""
    return math.exp(math.fsum(logs := [math.log(v) for v in values]) / len(logs))


def summary(measured: Measured) -> list[str]:
    """Geometric means by kind, what was wrong, and every goal with the cases below it."""
    outcomes = measured.outcomes
    lines = ["", f"{'geometric means of the ratios':52}{'cases':>6}{'mean':>7}{'least':>8}"]
    threads = sorted({outcome.threads for outcome in outcomes})
    kinds = list(dict.fromkeys(outcome.case.kind for outcome in outcomes))
    for number in threads:
        for kind in kinds:
            own = [o for o in outcomes if o.threads == number and o.case.kind == kind]
            for name, figure in FIGURES.items():
                lines += _mean_line(f"{count(number)}, {kind}, {name}", own, figure)
    for goal in GOALS:
        for number in threads:
            own = [o for o in outcomes if o.threads == number and goal.applies(o.case)]
            lines += _against(goal, own, number)
    lines += _memory_lines(measured.memory)
    for outcome in outcomes:
        for name, reason in outcome.failures.items():
            where = f"{outcome.case.kind} {outcome.case}, {count(outcome.threads)}"
            lines.append(f"not timed: {name} at {where}: {reason}")
    return lines


def _mean_line(name: str, outcomes: Sequence[Outcome], figure: Figure) -> list[str]:
    found = [(value, o) for o in outcomes if (value := figure(o)) is not None]
    if not found:
        return []
    least, where = min(found, key=lambda pair: pair[0])
    mean = geometric_mean(value for value, _ in found)
    return [f"{name:52}{len(found):>6}{mean:>7.2f}{least:>8.2f}  at {where.case}"]


def _against(goal: Goal, outcomes: Sequence[Outcome], threads: int) -> list[str]:
    found = [(o, value) for o in outcomes if (value := goal.figure(o)) is not None]
    lost = [o for o in outcomes if goal.figure(o) is None and _our_failures(o)]
    if not found and not lost:
        return []
    lines = []
    name = f"goal, {count(threads)}: {goal.name}"
    if goal.mean is not None and found:
        mean = geometric_mean(value for _, value in found)
        met = "met" if mean >= goal.mean else "MISSED"
        lines.append(f"{name}, mean at least {goal.mean}: {mean:.2f}, {met}")
    if goal.each is not None:
        short = [f"{o.case}: {value:.2f}" for o, value in found if value < goal.each]
        short += [f"{o.case}: no figure" for o in lost]
        text = "met"
        if short:
            text = f"MISSED by {len(short)} of {len(found) + len(lost)}"
        lines += [f"{name}, each at least {goal.each}: {text}"]
        lines += [f"    {line}" for line in short]
    return lines


def _our_failures(outcome: Outcome) -> list[str]:
    return [name for name in outcome.failures if BY_NAME[name].is_ours]


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
