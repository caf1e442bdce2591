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
from comparison.contestant import missing_packages  # noqa: E402
from comparison.grid import CELLS, KINDS, PEERS, Case, grid, quick_grid  # noqa: E402
from comparison.report import geometric_mean, row, summary  # noqa: E402
from comparison.work import difference, make_work  # noqa: E402
from comparison.worker import WorkerError  # noqa: E402

import gatewise  # noqa: E402

STEP = Case("inference", "lstm", 1, 1, 8, 8)
CASES = [
    Case("inference", "lstm", 1, 1, 3, 5, layers=2),
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


OFFSETS = {"gatewise": 0.0, "torch": 0.0, "jax": 1e-3, "openvino": 0.0}
SECONDS = {"gatewise": 1e-3, "torch": 5e-3, "jax": 1e-4, "openvino": 3e-3}


class FakeWorker:
    """A contestant whose results and speed are known."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.version, self.pid = name, name, 0

    def greet(self) -> None:
        if self.name == "onnxruntime":
            raise WorkerError("it does not start")

    def ask(self, method: str, *arguments: Any) -> Any:
        self.begin(method, *arguments)
        return self.finish()

    def begin(self, method: str, *arguments: Any) -> None:
        self.method = method

    def finish(self) -> Any:
        if self.method == "rates":
            return 1e9, 1e9
        if self.name == "openvino" and self.method == "time":
            raise WorkerError("it crashed")
        seconds = SECONDS[self.name]
        answers = {"calibrate": (10, 10 * seconds), "time": seconds, "drop": None}
        result = np.full((1, 1, 8), 0.5 + OFFSETS[self.name])
        return {"prepare": {"y": result}, **answers}[self.method]

    def close(self) -> None:
        pass


def test_only_right_results_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "Worker", FakeWorker)
    with match.Match(["gatewise", *PEERS], 1) as contest:
        outcome = contest.measure(STEP, 0.1)
    assert contest.failures == {"onnxruntime": "it does not start"}
    assert outcome.seconds == {"gatewise": 1e-3, "torch": 5e-3}
    assert outcome.best_peer == "torch"
    assert outcome.ratio == pytest.approx(5)
    assert outcome.failures == {
        "jax": "wrong: differs from torch by 1.0e-03",
        "openvino": "it crashed",
    }
    line = row(outcome, ["gatewise", *PEERS])
    assert line.split()[5:] == ["1", "ms", "5", "ms", "-", "failed", "wrong", "5.00", "0%"]
    text = "\n".join(summary([outcome], []))
    assert "each at least 4.0: met" in text
    assert "not timed: jax at inference lstm B1 T1 H8, 1 thread: wrong" in text


def test_a_row_tells_of_disturbance_and_noise() -> None:
    names = ["gatewise", "torch"]
    outcome = match.Outcome(STEP, 1, seconds={"gatewise": 1.0, "torch": 2.0})
    outcome.spread = {"gatewise": 0.1, "torch": 0.1}
    assert row(outcome, names).split()[-2:] == ["2.00", "-"]
    outcome.spread["torch"] = 0.3
    assert row(outcome, names).endswith("noisy")
    outcome.others = 0.5
    assert row(outcome, names).endswith("disturbed")


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


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("cell", CELLS)
def test_contestants_agree(peer: str, cell: str) -> None:
    if missing := missing_packages(peer):
        pytest.skip(f"{' and '.join(missing)} not installed")
    # As many threads as there are, so that no later test runs with fewer.
    benches = [Bench(name, gatewise.get_num_threads()) for name in ("gatewise", peer)]
    for case in (replace(case, cell=cell) for case in CASES):
        if peer in case.peers:
            got, wanted = (bench.prepare(case) for bench in benches)
            outputs = case.directions * case.hidden_size
            assert got["y"].shape == (case.batch, case.time, outputs)
            if case.training:
                assert got.keys() == {"y", "dx", *make_work(case).weights}
            assert difference(got, wanted) < 1e-5


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
    assert case["ratio"] is None
    assert report["about"]["sgemm"]["1"] > 0

    page = tmp_path / "peers.md"
    written = page.read_text("utf-8")
    assert "lstm B1 T1 H32" in written
    page.unlink()
    command = [*command[:2], "--report", str(tmp_path / "peers.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert page.read_text("utf-8") == written
