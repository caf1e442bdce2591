"""PERFORMANCE.md says what docs/peers.json holds, and docs/peers.md is made of it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "docs" / "peers.json"
if not MEASURED.exists():
    pytest.skip("the measurement is not among these files", allow_module_level=True)
sys.path.insert(0, str(ROOT / "benchmarks"))

from comparison.entries import PEERS  # noqa: E402
from comparison.grid import Case  # noqa: E402
from comparison.outcome import Outcome  # noqa: E402
from comparison.page import page  # noqa: E402
from comparison.report import (  # noqa: E402
    Figure,
    best,
    bfloat16,
    eight_bits,
    fifteen_bits,
    full,
    geometric_mean,
)
from comparison.storage import as_json, from_json  # noqa: E402

REPORT = json.loads(MEASURED.read_text("utf-8"))
MEASURED_THEN = from_json(REPORT)
ABOUT, OUTCOMES = MEASURED_THEN.about, MEASURED_THEN.outcomes
MEMORY = MEASURED_THEN.memory
TEXT = (ROOT / "PERFORMANCE.md").read_text("utf-8")

# With how many others, where all precisions count.
WORK = {
    "inference": "inference",
    "training": "training, forward and backward",
    "real": "real networks",
    "ragged": "unequal lengths, PackedSequence",
    "float64": "float64, torch",
}
ALONE = {
    "float32": full,
    "bfloat16": bfloat16,
    "int8, 8 bits": eight_bits,
    "int8, 15 bits": fifteen_bits,
}


def select(
    applies: Callable[[Case], bool], threads: int | None = None
) -> Iterator[Outcome]:
    for outcome in OUTCOMES:
        if applies(outcome.case) and threads in (None, outcome.threads):
            yield outcome


def ratios(
    applies: Callable[[Case], bool], threads: int | None = None, figure: Figure = best
) -> list[float]:
    values = [figure(outcome) for outcome in select(applies, threads)]
    return [value for value in values if value is not None]


def span(values: Iterable[float], digits: int = 2) -> str:
    values = list(values)
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def of_bound(applies: Callable[[Case], bool]) -> str:
    """The shares of the bound on one thread, in percent."""
    return span((100 * (o.of_bound or 0) for o in select(applies, 1)), 0) + " %"


def streams(lowest: int, highest: int) -> Callable[[Case], bool]:
    return lambda c: (
        c.kind == "inference" and c.streaming and lowest <= c.hidden_size <= highest
    )


def ordinary(c: Case) -> bool:
    return c.dtype == "float32" and not c.ragged


def inference(c: Case) -> bool:
    return c.kind == "inference"


def mean(applies: Callable[[Case], bool], threads: int, figure: Figure = best) -> str:
    return f"{geometric_mean(ratios(applies, threads, figure)):.2f}"


def table_row(name: str, applies: Callable[[Case], bool], figure: Figure) -> str:
    """How many cases, means and the least on one thread and on two."""
    cells = [name, str(len(ratios(applies, 1, figure)))]
    cells += [mean(applies, threads, figure) for threads in (1, 2)]
    for threads in (1, 2):
        found = [o for o in select(applies, threads) if figure(o) is not None]
        least = min(found, key=lambda o: figure(o) or 0)
        cells.append(f"{figure(least):.2f} {least.case}")
    return f"| {' | '.join(cells)} |"


def behind(applies: Callable[[Case], bool], threads: int, figure: Figure) -> list[str]:
    """Where others are ahead by more than half a percent, worst first."""
    found = [(figure(o) or 9, o) for o in select(applies, threads)]
    found.sort(key=lambda pair: pair[0])
    return [f"{value:.2f} {o.case}" for value, o in found if value < 0.995]


def the_setting() -> Iterator[str]:
    date, time = ABOUT["date"].split("T")
    assert time.endswith("+00:00")
    yield (
        f"Begun on {date} at {time[:5]} UTC, when `{ABOUT['commit']}` was the newest commit"
    )
    yield f"on two cores of an {ABOUT['processor']} of the Zen 5 generation"
    versions = ABOUT["versions"]
    own = {name: versions[name].split()[1].partition("+")[0] for name in versions}
    numpy = versions["bounds"].split()[1].rstrip(",")
    named = [f"{name} {own[name]}" for name in own if name in PEERS[:-1]]
    yield (
        f"Python {ABOUT['Python']}, NumPy {numpy}, {', '.join(named)} and RTNeural at "
        f"`{own['rtneural']}`"
    )


def the_speed() -> Iterator[str]:
    for kind, name in WORK.items():
        yield table_row(name, lambda c, kind=kind: c.kind == kind, best)
    for kind in ("inference", "training", "real"):
        for name, figure in ALONE.items():
            if ratios(lambda c, kind=kind: c.kind == kind, 1, figure):
                full_name = f"{WORK[kind].partition(',')[0]}, {name}"
                yield table_row(full_name, lambda c, kind=kind: c.kind == kind, figure)
    short = [len(behind(lambda c: True, n, best)) for n in (1, 2)]
    yield (
        f"Of the {len(OUTCOMES) // 2} cases the best of gatewise is ahead of the best of "
        f"everybody's or level with it in all but {short[0]} on one thread and all but "
        f"{short[1]} on two"
    )
    low, middle, high, above = (
        span(ratios(streams(*sizes)), 1)
        for sizes in [(1, 64), (128, 128), (256, 256), (512, 1024)]
    )
    yield (
        f"is {low} times as fast up to 64 units, {middle} times at 128, {high} times at "
        f"256 and {above} times above"
    )
    for figure in (best, full):
        one, two = (
            span(ratios(lambda c: inference(c) and c.batch >= 8, n, figure)) for n in (1, 2)
        )
        yield f"{one} times as fast on one thread and {two} times on two"
    one, two = (span(ratios(lambda c: c.kind == "training", n)) for n in (1, 2))
    yield f"is {one} times as fast on one thread and {two} times on two"
    one, two = (span(ratios(lambda c: c.ragged and not c.training, n), 1) for n in (1, 2))
    yield (
        f"run {one} times as fast as PackedSequence on one thread and {two} times on two, "
        f"their training {span(ratios(lambda c: c.ragged and c.training), 1)} times"
    )


def what_is_behind() -> Iterator[str]:
    yield from ()


def the_bounds() -> Iterator[str]:
    rates = [(o.product_rate or 0) / 1e9 for o in select(inference, 1)]
    yield f"{span(rates, 0)} GFLOP/s on a core"
    batches = of_bound(lambda c: inference(c) and c.batch > 1)
    large = select(lambda c: inference(c) and c.batch > 1 and c.hidden_size >= 256, 1)
    reached = [(o.product_rate or 0) * (o.of_bound or 0) / 1e9 for o in large]
    yield (
        f"at inference they run at {batches} of the bound on one thread, from 256 units on "
        f"at {span(reached, 0)} GFLOP/s"
    )
    sequences = of_bound(
        lambda c: inference(c) and c.batch == 1 < c.time and c.hidden_size >= 128
    )
    yield f"from 128 units on such sequences run at {sequences} of the bound on one thread"
    times = [o.seconds["gatewise"] * 1e6 for o in select(streams(32, 32), 1)]
    yield f"At 32 units it takes {span(times)} microseconds"
    reading = of_bound(streams(128, 512))
    yield f"from 128 to 512 units, reading takes {reading} of the time"
    ragged = of_bound(lambda c: c.ragged)
    yield f"run the steps that exist at {ragged} of the bound on one thread"


def the_memory() -> Iterator[str]:
    beyond = [
        {name: peak - entry.ready[name] for name, peak in entry.peak.items()}
        for entry in MEMORY
    ]
    whole = span((100 * (entry.ratio or 0) for entry in MEMORY), 0)
    shares = [100 * used["gatewise"] / used["torch"] for used in beyond]
    yield (
        f"it is {whole} % of torch's peak, weights and data included, and "
        f"{span(shares, 0)} % of what it takes beyond those"
    )
    for entry, used, share in zip(MEMORY, beyond, shares, strict=True):
        cells = [f"{used[name] / 2**20:.1f}" for name in ("gatewise", "torch", "jax")]
        yield f"| {' | '.join([str(entry.case), *cells])} | {share:.0f} % |"
    first = MEMORY[0].case
    numbers = 7 * first.batch * first.time * first.hidden_size
    yield (
        f"{numbers * 4 / 2**20:.1f} of the {beyond[0]['gatewise'] / 2**20:.1f} MB in the "
        "first row"
    )


def as_one_line(text: str) -> str:
    return " ".join(text.split())


PARTS = [the_setting, the_speed, what_is_behind, the_bounds, the_memory]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_figures_are_those_of_the_measurement(
    part: Callable[[], Iterator[str]],
) -> None:
    text = as_one_line(TEXT)
    missing = [sentence for sentence in part() if sentence not in text]
    assert not missing


def test_no_other_figure_stands_beside_them() -> None:
    before, _, rest = TEXT.partition("## Measured apart")
    text = as_one_line(before + rest[rest.index("## To repeat it") :])
    for part in PARTS:
        for sentence in part():
            text = text.replace(sentence, "")
    text = re.sub(r"```.*?```", "", text)
    # What a ratio means, what the processor has, and a figure that was measured again.
    for known in (
        "A ratio of 2 means half",
        "1 MB of second-level cache each, 32 MB of third",
        "mean ratio, 1 thread | 2 threads | least, 1 thread | 2 threads",
        "and at batch 1 the rate",
        "**Batch 1 over time**",
        "measured again by itself it gave 2.75",
    ):
        assert known in text
        text = text.replace(known, "")
    assert re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?!\w)", text) == []


def test_every_case_is_on_the_page_that_is_made_of_the_measurement() -> None:
    made = page(MEASURED_THEN, MEASURED.name)
    assert (ROOT / "docs" / "peers.md").read_text("utf-8") == made


def test_nothing_is_lost_on_the_way_from_the_file_and_back() -> None:
    def as_stored(value: Any) -> Any:
        return json.loads(json.dumps(value))

    assert as_stored(as_json(MEASURED_THEN)) == REPORT
