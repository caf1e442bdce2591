"""What was measured, as a page of Markdown: the machine, the summary and every case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comparison.match import Outcome
from comparison.report import Memory, heading, row, summary

_LEGEND = """\
Times are medians over the rounds. The ratio is the time of the fastest peer over that of
gatewise: 2 means half the time. "Of bound" is the time that the machine allows as a share
of gatewise's; above 100 % where the rate of the product of matrices that it is held
against is beaten. A case is noisy where the middle half of its rounds, gatewise's or the
fastest peer's, is wider than a fifth of the median, and disturbed where other processes
took more than a tenth of the cores' time. The first lines of `benchmarks/peers.py` say how
all of this is measured."""


def page(
    about: dict[str, Any],
    outcomes: Sequence[Outcome],
    memory: Sequence[Memory],
    file: str,
) -> str:
    """Return the page for what is stored in `file`."""
    contestants = [name for name in about.get("versions", {}) if name != "bounds"]
    parts = [
        "# Every case of the comparison",
        f"Made of [{file}]({file}) by `benchmarks/peers.py`: change neither by hand.",
        "\n".join(_machine(about)),
        _LEGEND,
    ]
    for threads in sorted({outcome.threads for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.threads == threads]
        rows = [row(outcome, contestants) for outcome in own]
        parts += [
            f"## {threads} thread{'s' * (threads > 1)}",
            _block([heading(threads, contestants), *rows]),
        ]
    parts += ["## In short, and the goals", _block(summary(outcomes, memory))]
    return "\n\n".join(parts) + "\n"


def versions(about: dict[str, Any]) -> list[str]:
    """What took part, with versions."""
    return [text for name, text in about.get("versions", {}).items() if name != "bounds"]


def _machine(about: dict[str, Any]) -> list[str]:
    lines = [
        f"- Begun {about['date']}, {about['minutes']} minutes",
        f"- {about['processor']}, {about['platform']}, Python {about['Python']}",
        f"- {'; '.join(versions(about))}",
    ]
    if "commit" in about:
        lines.insert(1, f"- Commit {about['commit']}")
    for threads, rate in about.get("sgemm", {}).items():
        plain = about["sgemm of NumPy"][threads]
        lines.append(
            f"- Product of matrices, {threads} thread{'s' * (int(threads) > 1)}: "
            f"{rate / 1e9:.0f} GFLOP/s with {about['versions']['bounds']}, "
            f"{plain / 1e9:.0f} with those that it chooses by itself"
        )
    return lines


def _block(lines: Sequence[str]) -> str:
    text = "\n".join(lines).strip("\n")
    return f"```text\n{text}\n```"
