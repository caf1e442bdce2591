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
    GOALS,
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


def small_sequence(cell: str) -> tuple[Outcome, Outcome]:
    """One thread and two of the layers that a peer with sizes known beforehand has."""
    one, two = select(lambda c: inference(c) and str(c) == f"{cell} B1 T100 H32")
    assert {one.best_peer(), two.best_peer()} == {"rtneural"}
    return one, two


def missed(goal: str, threads: int) -> tuple[list[Outcome], int]:
    """The cases short of each of a goal, worst first, and how many there are."""
    (found,) = [g for g in GOALS if g.name == goal]
    assert found.each is not None
    figures = [(found.figure(o), o) for o in select(found.applies, threads)]
    have = [(value, o) for value, o in figures if value is not None]
    short = sorted((value, str(o.case), o) for value, o in have if value < found.each)
    return [o for _, _, o in short], len(have)


def how_many_missed(goal: str) -> str:
    counts = [missed(goal, threads) for threads in (1, 2)]
    one, two = (f"{len(short)} of {number}" for short, number in counts)
    return f"{one} on one thread and {two} on two"


def what_is_behind() -> Iterator[str]:
    own = [f"{best(o):.2f}" for c in ("lstm", "gru") for o in small_sequence(c)]
    yield (
        f"an LSTM is at {own[0]} of it and a GRU at {own[2]} ({own[1]} and "
        f"{own[3]} where there are two threads, of which neither makes use)"
    )
    seconds = small_sequence("lstm")[0].seconds
    theirs, ours, narrow = (
        f"{seconds[name] * 1e6:.1f}"
        for name in ("rtneural", "gatewise", "gatewise bfloat16")
    )
    yield (
        f"RTNeural takes {theirs} microseconds for the LSTM, gatewise {ours} in float32 "
        f"and {narrow} in bfloat16"
    )
    for goal, figure in (
        ("inference, float32", full),
        ("inference, bfloat16", bfloat16),
        ("inference, int8 of 15 bits", fifteen_bits),
    ):
        (worst, *_), _ = missed(goal, 1)
        yield f"{how_many_missed(goal)}, least {figure(worst):.2f} ({worst.case})"
    fast = [mean(lambda c: ordinary(c) and not c.training, n, full) for n in (1, 2)]
    trained = [mean(lambda c: ordinary(c) and c.training, n, full) for n in (1, 2)]
    yield f"a mean of 1.8 at inference ({fast[0]} on one thread, {fast[1]} on two)"
    yield f"and of 2.0 in training ({trained[0]} and {trained[1]})"
    steps = how_many_missed("a streaming step up to H256, float32")
    yield f"a step of a stream 4 times as fast up to 256 units ({steps})"
    network = "real", "language model: lstm 400-1152 x3 B16 T70"
    one, two = select(lambda c: (c.kind, str(c)) == network)
    yield (
        f"the language model in float32 is at {full(one):.2f} of PyTorch on one "
        f"thread and {full(two):.2f} on two"
    )
    yield f"with bfloat16 at {best(one):.2f} and {best(two):.2f}"
    assert min(ratios(lambda c: c.ragged)) < 5
    yield "PackedSequence beaten 5 times"


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


KNOWN = (
    "A ratio of 2 means half",
    "1 MB of second-level cache each",
    "mean ratio, 1 thread | 2 threads | least, 1 thread | 2 threads",
    "int8 of 15 bits is held against others' 8",
    "and at batch 1 the rate",
    "**Batch 1 over time**",
    "**Layers of 32 units at batch 1 over 100 steps**",
    "Python's call of a layer takes 6 to 7 of them; from 64 units on",
    "**int8 of 15 bits**",
    "below 0.85 of others' 8 bits are",
    "With 8 bits gatewise is ahead",
    "each case at 1.0, as said",
    "fresh pages, for every call anew, takes 11 % of the time",
)


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
    # What a ratio means, what the processor has, what columns are called, and who is who.
    for known in KNOWN:
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
