"""The benchmark of the notebook's functions: that what it compares computes the same."""

from __future__ import annotations

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
import notebook  # noqa: E402

os.environ.clear()
os.environ.update(_before)


@pytest.mark.parametrize("case", notebook.CASES[:12], ids=lambda case: str(case).split()[0])
def test_all_ways_compute_the_same(case: notebook.Case) -> None:
    notebook.assert_alike(case, notebook.calls(case))
    assert set(notebook.measure(case, 0)) == {"plain", *notebook.backends()}


def test_every_function_has_a_row_at_the_notebooks_sizes() -> None:
    rows = {(case.cell, case.kind) for case in notebook.CASES if case.n_a == 5}
    kinds = ("forward", "backward", "cell_forward", "cell_backward")
    assert rows == {(cell, kind) for cell in ("rnn", "lstm", "gru") for kind in kinds}
