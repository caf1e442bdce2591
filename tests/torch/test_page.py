"""What docs/pytorch.md shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "pytorch.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="the documents are not there")
def test_the_page() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    # The recipe, on the layer that was made last.
    x, starts = torch.randn(8 * 20, 16), (torch.rand(8 * 20) < 0.1).float()
    state = torch.ones(1, 8, 32), torch.ones(1, 8, 32)
    y, final = names["process_sequence"](x, state, starts, names["layer"])
    assert y.shape == (8 * 20, 32)
    assert final[0].shape == (1, 8, 32)
