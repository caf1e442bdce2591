"""Figures that the documents give are those that were measured, or can be."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

import gatewise
from gatewise.kernels import chooser

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    os.environ.get("GATEWISE_DEBUG") == "1", reason="what is built for debugging is larger"
)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_a_wheel_has_little_more_than_a_megabyte(backend: str) -> None:
    words = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert "in a wheel of little more than a megabyte" in words
    package = Path(gatewise.__file__).parent
    parts = [*package.rglob("*.py"), Path(str(chooser.kernels.__file__))]
    # Each part is compressed for itself, as in a wheel.
    assert sum(len(zlib.compress(part.read_bytes())) for part in parts) < 1.6e6


def test_a_network_of_ones_own_is_trained_saved_and_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    page = ROOT / "docs" / "networks.md"
    if not page.is_file():
        pytest.skip("the documents are not there")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    [block] = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    exec(compile(block, str(page), "exec"), names)
    assert names["right"] > 0.9
    said = gatewise.load_metadata("voice.safetensors")
    assert said == {"sample_rate": 16000}
    model = gatewise.load("voice.safetensors")
    whole = model(names["x"][:1])[0][0].argmax(axis=-1)
    assert whole.tolist() == names["found"]
