"""A case as a line: who is ahead in each precision, and in all; and every time of it."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.entries import ENTRIES, PRECISIONS
from comparison.outcome import Outcome

# A case is called noisy where the middle half of the rounds is wider than this share.
NOISY = 0.2


def count(threads: int) -> str:
    """So many threads, in words."""
    return f"{threads} thread{'s' * (threads > 1)}"


def heading(threads: int) -> str:
    """The line above the lines of `row`."""
    line = f"{count(threads):57}"
    for precision in PRECISIONS:
        line += f"{precision:>9}{'ratio':>7} {'to':12}"
    return f"{line}{'best':>6} {'of ours, of everybody':30} of bound"


def row(outcome: Outcome) -> str:
    """In each precision gatewise's time and ratio to the fastest peer, then in all."""
    line = f"{outcome.case.kind:11}{outcome.case!s:46}"
    for precision in PRECISIONS:
        ours = outcome.best_of_ours(precision)
        time = "-" if ours is None else duration(outcome.seconds[ours])
        peer = _package(outcome.best_peer(precision))
        line += f"{time:>9}{number(outcome.ratio(precision)):>7} {peer:12}"
    ours, peer = outcome.best_of_ours(), outcome.best_peer()
    names = ", ".join(short(name) for name in (ours, peer) if name)
    share = "-" if outcome.of_bound is None else f"{outcome.of_bound:.0%}"
    return f"{line}{number(outcome.ratio()):>6} {names:30} {share:>8}{_remark(outcome)}"


def short(name: str) -> str:
    """What gatewise is called beside others: its way of computing alone."""
    package, _, way = name.partition(" ")
    return name if package != "gatewise" else way or "full"


def _package(name: str | None) -> str:
    return "-" if name is None else name.partition(" ")[0]


def _remark(outcome: Outcome) -> str:
    deciding = (outcome.best_of_ours(), outcome.best_peer())
    noisy = any(outcome.spread.get(name or "", 0) > NOISY for name in deciding)
    return "  disturbed" if outcome.disturbed else "  noisy" if noisy else ""


def number(value: float | None) -> str:
    """A ratio, or a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def duration(seconds: float) -> str:
    """So many seconds in a unit that is easy to read."""
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:.4g} {unit}"
    return f"{seconds:.4g} s"


def all_times(outcomes: Sequence[Outcome]) -> list[str]:
    """A heading and a line a case with the times of everybody who takes part in one."""
    names = [
        entry.name
        for entry in ENTRIES
        if any(entry.name in {**o.seconds, **o.failures} for o in outcomes)
    ]
    lines = [f"{'':46}" + "".join(f"{_stacked(name):>11}" for name in names)]
    lines.append(f"{'':46}" + "".join(f"{name.partition(' ')[2]:>11}" for name in names))
    for outcome in outcomes:
        times = "".join(f"{_time(outcome, name):>11}" for name in names)
        lines.append(f"{outcome.case!s:46}{times}")
    return lines


def _stacked(name: str) -> str:
    package = name.partition(" ")[0]
    return "onnxrt" if package == "onnxruntime" else package


def _time(outcome: Outcome, name: str) -> str:
    if name in outcome.failures:
        return "wrong" if outcome.failures[name].startswith("wrong") else "failed"
    if name not in outcome.seconds:
        return "-"
    return duration(outcome.seconds[name])
