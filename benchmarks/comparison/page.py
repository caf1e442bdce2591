"""What was measured, as a page of Markdown: the machine, the summary and every case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comparison.report import summary
from comparison.rows import all_times, count, heading, row
from comparison.storage import Measured

_LEGEND = """\
Times are medians over the rounds. A ratio is the time of the fastest peer over that of
gatewise: 2 means half the time. There is one for each precision, float32 to float32 (in the
cases of float64, that), bfloat16 to bfloat16 and int8 to int8, where the time is that of
the faster of gatewise's two ways, with activations of 15 bits or of 8; and "best" is the
best of ours to the best of everybody's, whatever precision each of them has. OpenVINO among
bfloat16 is OpenVINO without a hint, which chooses that on processors that have it. "Of
bound" is the time that the machine allows in float32 as a share of gatewise's; above 100 %
where the rate of the product of matrices that it is held against is beaten. A case is noisy
where the middle half of the rounds of one of the two best is wider than a fifth of the
median, and disturbed where other processes took more than a tenth of the cores' time. The
first lines of `benchmarks/peers.py` say how all of this is measured."""


def page(measured: Measured, file: str) -> str:
    """Return the page for what is stored in `file`."""
    about, outcomes = measured.about, measured.outcomes
    parts = [
        "# Every case of the comparison",
        f"Made of [{file}]({file}) by `benchmarks/peers.py`: change neither by hand.",
        "\n".join(_machine(about)),
        _LEGEND,
    ]
    threads = sorted({outcome.threads for outcome in outcomes})
    for number in threads:
        own = [outcome for outcome in outcomes if outcome.threads == number]
        parts += [
            f"## {count(number)}",
            _block([heading(number), *(row(outcome) for outcome in own)]),
        ]
    parts += ["## In short, and the goals", _block(summary(measured))]
    for number in threads:
        parts.append(f"## Everybody's times, {count(number)}")
        for kind in dict.fromkeys(outcome.case.kind for outcome in outcomes):
            own = [o for o in outcomes if (o.threads, o.case.kind) == (number, kind)]
            if own:
                parts += [f"### {kind}, {count(number)}", _block(all_times(own))]
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
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    return f"```text\n{text}\n```"
