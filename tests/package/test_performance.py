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

from comparison.grid import Case  # noqa: E402
from comparison.outcome import Outcome  # noqa: E402
from comparison.page import page  # noqa: E402
from comparison.report import full, geometric_mean  # noqa: E402
from comparison.storage import as_json, from_json  # noqa: E402

REPORT = json.loads(MEASURED.read_text("utf-8"))
MEASURED_THEN = from_json(REPORT)
ABOUT, OUTCOMES = MEASURED_THEN.about, MEASURED_THEN.outcomes
MEMORY = MEASURED_THEN.memory
TEXT = (ROOT / "PERFORMANCE.md").read_text("utf-8")

WORK = {
    "inference": "inference, against the best of four",
    "training": "training, against the better of two",
    "ragged": "unequal lengths, against PackedSequence",
    "float64": "float64, against torch",
    "real": "real networks",
}


def select(
    applies: Callable[[Case], bool], threads: int | None = None
) -> Iterator[Outcome]:
    for outcome in OUTCOMES:
        if applies(outcome.case) and threads in (None, outcome.threads):
            yield outcome


def ratios(applies: Callable[[Case], bool], threads: int | None = None) -> list[float]:
    return [full(o) for o in select(applies, threads) if full(o) is not None]


def span(values: Iterable[float], digits: int = 2) -> str:
    values = list(values)
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def of_bound(applies: Callable[[Case], bool]) -> str:
    """The shares of the bound on one thread, in percent."""
    return span((100 * (o.of_bound or 0) for o in select(applies, 1)), 0) + " %"


def ratio(kind: str, label: str, threads: int, peer: str) -> str:
    """That of one case, whose fastest peer should be the one that is named."""
    (found,) = select(lambda c: (c.kind, str(c)) == (kind, label), threads)
    assert found.best_peer("float32") == peer
    return f"{found.ratio('float32'):.2f}"


def streams(lowest: int, highest: int) -> Callable[[Case], bool]:
    return lambda c: (
        c.kind == "inference" and c.streaming and lowest <= c.hidden_size <= highest
    )


def ordinary(c: Case) -> bool:
    return c.dtype == "float32" and not c.ragged


def inference(c: Case) -> bool:
    return c.kind == "inference"


def mean(applies: Callable[[Case], bool], threads: int) -> str:
    return f"{geometric_mean(ratios(applies, threads)):.2f}"


def the_setting() -> Iterator[str]:
    date, time = ABOUT["date"].split("T")
    assert time.endswith("+00:00")
    commit = ABOUT.get("commit", "d728dd5")
    yield f"Begun on {date} at {time[:5]} UTC, when `{commit}` was the newest commit"
    yield f"on two cores of an {ABOUT['processor']} of the Zen 4 generation"
    versions = ABOUT["versions"]
    peers = [versions[name].split()[1].partition("+")[0] for name in versions]
    _, torch, onnxruntime, openvino, jax, _ = peers
    numpy = versions["bounds"].split()[1].rstrip(",")
    yield (
        f"Python {ABOUT['Python']}, NumPy {numpy}, torch {torch}, "
        f"onnxruntime {onnxruntime}, openvino {openvino} and jax {jax}"
    )


def the_speed() -> Iterator[str]:
    for kind, name in WORK.items():
        own = [list(select(lambda c, kind=kind: c.kind == kind, n)) for n in (1, 2)]
        means = [
            f"{geometric_mean(o.ratio('float32') or 0 for o in side):.2f}" for side in own
        ]
        least = [min(side, key=lambda o: full(o) or 0) for side in own]
        where = [f"{o.ratio('float32'):.2f} {o.case}" for o in least]
        yield f"| {' | '.join([name, str(len(own[0])), *means, *where])} |"
    behind = [sum(r < 0.995 for r in ratios(lambda c: True, n)) for n in (1, 2)]
    yield (
        f"Of the {len(OUTCOMES) // 2} cases gatewise is ahead of the fastest peer or level "
        f"with it in all but {behind[0]} on one thread and all but {behind[1]} on two"
    )
    low, middle, high, above = (
        span(ratios(streams(*sizes)), 1)
        for sizes in [(1, 64), (128, 128), (256, 256), (512, 1024)]
    )
    yield (
        f"is {low} times as fast up to 64 units, {middle} times at 128, {high} times at "
        f"256 and {above} times above"
    )
    one, two = (span(ratios(lambda c: inference(c) and c.batch >= 32, n)) for n in (1, 2))
    yield (
        "**Inference in batches of 32 and more**, where everybody runs at the speed of the "
        f"multipliers, is {one} times as fast on one thread and {two} times on two"
    )
    one, two = (span(ratios(lambda c: c.kind == "training", n)) for n in (1, 2))
    yield (
        f"is {one} times as fast as the better of PyTorch and JAX on one thread and {two} "
        "times on two"
    )
    one, two = (span(ratios(lambda c: c.ragged and not c.training, n), 1) for n in (1, 2))
    yield (
        f"run {one} times as fast as PackedSequence on one thread and {two} times on two, "
        f"their training {span(ratios(lambda c: c.ragged and c.training), 1)} times"
    )


def what_is_behind() -> Iterator[str]:
    sequence = ratio("inference", "lstm B1 T100 H128", 1, "onnxruntime")
    amplifier = "guitar amplifier: lstm 1-40 B1 T512"
    one, two = (ratio("real", amplifier, n, "onnxruntime") for n in (1, 2))
    batch = ratio("inference", "lstm B128 T50 H256", 1, "openvino")
    share = of_bound(lambda c: inference(c) and str(c) == "lstm B128 T50 H256")
    yield (
        f"**An LSTM of 128 units at batch 1 over 100 steps** is at {sequence} of ONNX "
        "Runtime on one thread, **the guitar amplifier's LSTM of 40 units** at "
        f"{one} and {two}, since 40 units fill two and a half vectors, and **an LSTM of "
        f"256 units in a batch of 128** at {batch} of OpenVINO on one thread, with "
        f"{share.partition(' ')[0]} % of the bound"
    )
    fast = [mean(lambda c: ordinary(c) and not c.training, n) for n in (1, 2)]
    trained = [mean(lambda c: ordinary(c) and c.training, n) for n in (1, 2)]
    yield (
        f"a mean of 1.8 at inference ({fast[0]} on one thread, {fast[1]} on two) and of "
        f"2.0 in training ({trained[0]} and {trained[1]})"
    )
    assert max(ratios(streams(128, 256))) < 4
    small = [o for o in select(streams(1, 64)) if (full(o) or 0) < 4]
    assert [(str(o.case), o.threads) for o in small] == [("lstm B1 T1 H64", 2)]
    yield (
        "a step of a stream 4 times as fast up to 256 units (missed from 128 on, and with "
        f"{full(small[0]):.2f} by an LSTM of 64 units on two threads)"
    )
    slow = [o for o in select(lambda c: ordinary(c) and c.training) if (full(o) or 0) < 1.1]
    assert [(str(o.case), o.threads) for o in slow] == [
        ("lstm B32 T100 H128", 1),
        ("lstm B128 T50 H512", 1),
    ]
    yield (
        f"every training 1.1 times as fast ({full(slow[0]):.2f} and {full(slow[1]):.2f} "
        "for an LSTM with B32 H128 and with B128 H512 on one thread)"
    )
    assert min(ratios(lambda c: c.ragged)) < 5
    yield "PackedSequence beaten 5 times"
    gru = Case("training", "gru", 32, 100, 64, 64, training=True)
    (hit,) = ratios(lambda c: c == gru, 2)
    yield f"training a GRU of 64 units with B32 on two threads ({hit:.2f})"


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
