"""The benchmarks of small calls: that what they compare computes the same."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not among these files", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

# The benchmark sets the number of threads of everything that is loaded after it.
_before = dict(os.environ)
import convolution  # noqa: E402
import growth  # noqa: E402
import resets  # noqa: E402
import small  # noqa: E402

os.environ.clear()
os.environ.update(_before)


def test_both_sides_of_every_row_compute_the_same(backend: str) -> None:
    every = list(small.rows())
    assert len({row.name for row in every}) == len(every) > 60
    for row in every:
        small.assert_alike(row)


def test_both_sides_of_every_convolution_compute_the_same(backend: str) -> None:
    rows = [checked for _, checked in convolution.rows()]
    assert len({(row.name, row.beside) for row in rows}) == len(rows) > 40
    for row in rows:
        small.assert_alike(row)


def test_one_call_with_resets_computes_what_loops_do(backend: str) -> None:
    found = [checked for _, checked in itertools.islice(resets.rows(), 4)]
    assert len({(row.name, row.beside) for row in found}) == 4
    for row in found:
        small.assert_alike(row)


def test_growth_has_rows_that_grow_and_measures_their_points() -> None:
    every = list(growth.rows(quick=False))
    assert len({row.name for row in every}) == len(every) == 30
    for row in every:
        assert [point.work for point in row.points] == sorted(p.work for p in row.points)
    for training in (False, True):
        found = growth.measure(growth.Point("GRU", training, 2, 3, 4), 1, 1)
        assert found["seconds"] > 0
        assert found["bytes"] >= 0


def test_rows_are_measured() -> None:
    (row,) = [row for row in small.tokens() if "RNN" in row.name and "0-d" in row.name]
    assert all(seconds > 0 for seconds in small.measure(row, 0))
