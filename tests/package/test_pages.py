"""The pages about estimators and machines: their code runs, one block after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run(page: str) -> dict[str, Any]:
    path = ROOT / "docs" / page
    if not path.is_file():
        pytest.skip("the documents are not there")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    return names


def test_estimators() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    names = run("estimators.md")
    assert names["search"].best_score_ > 0.8
    errors = np.abs(names["forecast"][0, :, 0] - names["load"][-24:])
    assert names["forecast"].shape == (1, 24, 1)
    assert errors.mean() < 0.15


def test_machines(native: Any, own_products: None) -> None:
    pytest.importorskip("dask", reason="Dask is not installed")
    names = run("machines.md")
    expected = names["gatewise"].predict(names["model"], names["sequences"])
    np.testing.assert_array_equal(np.stack(names["found"]), expected)
