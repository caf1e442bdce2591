"""Figures that the documents give are those that were measured, or can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewise.kernels import chooser

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    os.environ.get("GATEWISE_DEBUG") == "1", reason="what is built for debugging is larger"
)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_the_compiled_module_has_less_than_two_megabytes(backend: str) -> None:
    words = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert "a compiled module of less than two megabytes" in words
    assert Path(str(chooser.kernels.__file__)).stat().st_size < 2e6
