"""The comparison with other packages: what it covers, and that it trusts nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not among these files", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from comparison import match  # noqa: E402
from comparison.bench import Bench  # noqa: E402
from comparison.bounds import bound_seconds, bytes_read  # noqa: E402
from comparison.contestant import RTNEURAL, missing  # noqa: E402
from comparison.entries import BY_NAME, PEERS, TOLERANCES, entries_of  # noqa: E402
from comparison.grid import CELLS, KINDS, Case, grid, quick_grid  # noqa: E402
from comparison.outcome import Outcome  # noqa: E402
from comparison.report import geometric_mean, summary  # noqa: E402
from comparison.rows import all_times, row  # noqa: E402
from comparison.storage import Measured, as_json, from_json  # noqa: E402
from comparison.work import difference, make_work  # noqa: E402
from comparison.worker import WorkerError  # noqa: E402

import gatewise  # noqa: E402

STEP = Case("inference", "lstm", 1, 1, 8, 8)
CASES = [
    Case("inference", "lstm", 1, 1, 3, 5, layers=2),
    Case("inference", "lstm", 1, 1, 5, 6),
    Case("inference", "lstm", 1, 4, 5, 6),
    Case("inference", "lstm", 3, 4, 5, 6, layers=2, directions=2),
    Case("training", "lstm", 3, 4, 5, 6, layers=2, directions=2, training=True),
    Case("ragged", "lstm", 3, 9, 5, 6, training=True, ragged=True),
    Case("float64", "lstm", 3, 4, 5, 6, dtype="float64"),
]


def test_grid_has_every_kind_for_every_cell() -> None:
    cases = grid()
    assert len(set(cases)) == len(cases)
    for kind in KINDS[:-1]:
        assert {case.cell for case in cases if case.kind == kind} == set(CELLS)
    for cell in CELLS:
        steps = {
            c.hidden_size
            for c in cases
            if c.cell == cell and c.kind == "inference" and c.streaming
        }
        assert steps == {32, 64, 128, 256, 512, 1024}
    assert len([case for case in cases if case.kind == "real"]) == 6
    quick = quick_grid()
    assert {case.kind for case in quick} == set(KINDS)
    assert set(quick) < set(cases)


def test_difference_sees_what_deviates() -> None:
    wanted = {"y": np.array([1.0, -200.0]), "dx": np.array([0.5])}
    assert difference(wanted, wanted) == 0
    assert difference({**wanted, "y": np.array([1.0, -198.0])}, wanted) == pytest.approx(
        0.01
    )
    assert difference({**wanted, "dx": np.array([0.4])}, wanted) == pytest.approx(0.1)
    assert difference({**wanted, "dx": np.array([np.nan])}, wanted) == np.inf
    with pytest.raises(ValueError, match=r"results should be \['dx', 'y'\], got \['y'\]"):
        difference({"y": wanted["y"]}, wanted)
    with pytest.raises(ValueError, match=r"dx should have shape \(1,\), got \(2,\)"):
        difference({**wanted, "dx": np.zeros(2)}, wanted)


OFFSETS = {"jax": 1e-3, "torch int8": 1e-3, "onnxruntime int8": 0.1}
SECONDS = {"gatewise": 4e-3, "gatewise int8-8": 1e-3, "torch": 5e-3, "torch int8": 2e-3}


class FakeWorker:
    """A package whose results and speed are known."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.version, self.pid = name, name, 0

    def greet(self) -> None:
        if self.name == "numba":
            raise WorkerError("it does not start")

    def ask(self, method: str, *arguments: Any) -> Any:
        if method == "rates":
            return 1e9, 1e9
        if method == "prepare":
            name = f"{self.name} {arguments[1]}".rstrip()
            return {"y": np.full((1, 1, 8), 0.5 + OFFSETS.get(name, 0.0))}
        if method == "drop":
            return None
        if self.name == "openvino" and method == "time":
            raise WorkerError("it crashed")
        seconds = SECONDS.get(f"{self.name} {arguments[0]}".rstrip(), 1.0)
        return (10, 10 * seconds) if method == "calibrate" else seconds

    def close(self) -> None:
        pass


def test_only_right_results_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "Worker", FakeWorker)
    with match.Match(entries_of(["gatewise", *PEERS]), 1) as contest:
        outcome = contest.measure(STEP, 0.1)
    assert contest.failures == {"numba": "it does not start"}
    assert SECONDS.items() <= outcome.seconds.items()
    assert outcome.failures == {
        "jax": "wrong: differs from torch by 1.0e-03",
        "onnxruntime int8": "wrong: differs from torch by 1.0e-01",
        "openvino": "it crashed",
        "openvino default": "it crashed",
    }
    assert not outcome.seconds.keys() & outcome.failures.keys()


def measured_outcome() -> Outcome:
    seconds = {**SECONDS, "gatewise bfloat16": 3e-3, "openvino default": 1.5e-3}
    return Outcome(STEP, 1, seconds=seconds, failures={"jax": "wrong: differs"})


def test_the_best_is_held_against_the_best() -> None:
    outcome = measured_outcome()
    assert outcome.ratio("float32") == pytest.approx(5 / 4)
    assert outcome.ratio("bfloat16") == pytest.approx(1.5 / 3)
    assert outcome.ratio("int8") == pytest.approx(2)
    assert (outcome.best_of_ours(), outcome.best_peer()) == (
        "gatewise int8-8",
        "openvino default",
    )
    assert outcome.ratio() == pytest.approx(1.5)
    text = row(outcome)
    alone = "4 ms 1.25 torch 3 ms 0.50 openvino 1 ms 2.00 torch"
    assert text.split()[5:] == f"{alone} 1.50 int8-8, openvino default -".split()
    text = "\n".join(summary(Measured({}, [outcome])))
    assert "the best of ours to the best of all, each at least 1.0: met" in text
    assert "int8 of 8 bits, each at least 1.0: met" in text
    assert "bfloat16, each at least 1.0: MISSED by 1 of 1\n    lstm B1 T1 H8: 0.50" in text
    assert "not timed: jax at inference lstm B1 T1 H8, 1 thread: wrong" in text
    packages, ways, times = (line.split() for line in all_times([outcome]))
    assert packages == ["gatewise"] * 3 + ["torch"] * 2 + ["openvino", "jax"]
    assert ways == ["bfloat16", "int8-8", "int8", "default"]
    assert times[-3:] == ["1.5", "ms", "wrong"]


def test_a_row_tells_of_disturbance_and_noise() -> None:
    outcome = measured_outcome()
    outcome.spread = dict.fromkeys(outcome.seconds, 0.1)
    assert row(outcome).split()[-1] == "-"
    outcome.spread["torch"] = 0.3
    assert row(outcome).split()[-1] == "-"
    outcome.spread["openvino default"] = 0.3
    assert row(outcome).endswith("noisy")
    outcome.others = 0.5
    assert row(outcome).endswith("disturbed")


def test_a_later_run_replaces_what_it_measured_again() -> None:
    other = replace(STEP, cell="gru")
    about = {"processor": "a", "commit": "1", "minutes": 2.0, "load after": "0"}
    first = Measured({**about, "date": "then"}, [measured_outcome(), Outcome(other, 2)])
    assert first.has(other, 2)
    assert not first.has(other, 1)
    again = Outcome(STEP, 1, seconds={"gatewise": 1.0})
    first.add(Measured({**about, "commit": "2", "date": "now"}, [again]))
    assert first.outcomes == [again, Outcome(other, 2)]
    assert first.about["minutes"] == 4
    assert (first.about["commit"], first.about["date"]) == ("1, 2", "then")
    stored = json.loads(json.dumps(as_json(first)))
    assert from_json(stored) == first
    with pytest.raises(ValueError, match="all runs should be of one machine, a, got b"):
        first.add(Measured({**about, "processor": "b"}))


def test_narrow_entries_take_what_their_packages_can() -> None:
    def takers(case: Case) -> set[str]:
        return {
            entry.name for entry in entries_of(["gatewise", *PEERS]) if entry.takes(case)
        }

    ragged = Case("ragged", "lstm", 3, 9, 5, 6, ragged=True)
    assert takers(ragged) == takers(CASES[-1]) == {"gatewise", "torch"}
    assert takers(Case("inference", "rnn", 8, 9, 5, 6)) == (
        {"gatewise", "gatewise bfloat16", "gatewise int8-15", "gatewise int8-8", "torch"}
        | {"torch bfloat16", "torch autocast", "onnxruntime", "openvino"}
        | {"openvino default", "jax"}
    )
    assert BY_NAME.keys() - takers(STEP) == {"numba", "rtneural", "rtneural xsimd"}
    assert takers(Case("inference", "lstm", 1, 100, 32, 32)) == BY_NAME.keys()


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2)


def test_bounds_count_products_and_bytes() -> None:
    # Four gates, each of 8 units over 8 inputs and 8 units.
    assert bytes_read(STEP) == 4 * 8 * 16 * 4
    assert bound_seconds(STEP, 1.0, 1.0) == bytes_read(STEP)
    batch = Case("training", "lstm", 2, 3, 8, 8, training=True)
    assert bound_seconds(batch, 1.0, 1.0) == 3 * (2 * 3) * 2 * 4 * 8 * 16
    sequence = Case("inference", "lstm", 1, 3, 8, 8)
    assert bound_seconds(sequence, 1.0, 1.0) == 3 * (2 * 4 * 8 * 8 + 4 * 8 * 8 * 4)


@pytest.mark.parametrize("package", ["gatewise", *PEERS])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_contestants_agree(package: str, cell: str) -> None:
    if package != "gatewise" and (reason := missing(package)):
        pytest.skip(reason)
    # As many threads as there are, so that no later test runs with fewer.
    bench, ours = (
        Bench(name, gatewise.get_num_threads()) for name in (package, "gatewise")
    )
    for case in (replace(case, cell=cell) for case in CASES):
        for entry in (e for e in entries_of([package]) if e.takes(case)):
            got, wanted = bench.prepare(case, entry.way), ours.prepare(case)
            outputs = case.directions * case.hidden_size
            assert got["y"].shape == (case.batch, case.time, outputs)
            if case.training:
                assert got.keys() == {"y", "dx", *make_work(case).weights}
            apart = difference(got, wanted)
            assert apart < (1e-5 if entry.precision == "float32" else TOLERANCES["int8"])
            if entry.precision == "int8":
                assert apart > 0


def test_calls_are_timed() -> None:
    bench = Bench("gatewise", gatewise.get_num_threads())
    bench.prepare(STEP, "int8-8")
    assert bench.time("int8-8", 2) > 0
    calls, seconds = bench.calibrate("int8-8", 1e-4)
    assert calls > 1
    assert seconds > 1e-4
    bench.drop()
    with pytest.raises(KeyError):
        bench.time("int8-8", 2)


def test_a_peer_that_is_not_there_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(RTNEURAL, str(tmp_path))
    assert missing("rtneural") == "RTNEURAL names no checkout of it"
    monkeypatch.setattr("comparison.contestant.find_spec", lambda name: None)
    assert missing("openvino") == "openvino and onnx not installed"


def test_command_measures_and_writes(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "peers.py"), "--peers", "--threads", "1"]
    command += ["--only", "lstm", "--kind", "inference", "--match", "B1 T1 H32"]
    command += ["--seconds", "0.01", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "lstm B1 T1 H32" in done.stdout
    report = json.loads((tmp_path / "peers.json").read_text())
    (case,) = report["cases"]
    assert case["failures"] == {}
    assert case["seconds"]["gatewise"] > 0
    assert case["ratios"] == {"float32": None, "bfloat16": None, "int8": None}
    assert {"gatewise", "gatewise bfloat16", "gatewise int8-8"} <= case["seconds"].keys()
    assert report["about"]["sgemm"]["1"] > 0

    again = [*command, "--missing", "--match", "B1 T1 H32", "rnn B1 T1 H64"]
    again += ["--only", "lstm", "rnn"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "rnn B1 T1 H32" in done.stdout
    assert "lstm B1 T1 H32" not in done.stdout
    labels = [
        c["label"] for c in json.loads((tmp_path / "peers.json").read_text())["cases"]
    ]
    assert labels == ["lstm B1 T1 H32", "rnn B1 T1 H32", "rnn B1 T1 H64"]

    page = tmp_path / "peers.md"
    written = page.read_text("utf-8")
    page.unlink()
    assert "rnn B1 T1 H64" in written
    command = [*command[:2], "--report", str(tmp_path / "peers.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert page.read_text("utf-8") == written
