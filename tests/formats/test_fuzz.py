"""A short form of ``python -m tests.formats.fuzz``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.formats.fuzz import in_new_process
from tests.formats.fuzzed import TARGETS

COUNT = 100


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("h5py" if name == "keras" else "onnx" if name == "onnx" else "json")
    found = in_new_process(name, 0, COUNT, tmp_path)
    assert sum(found.values()) == COUNT
    assert not [kind for kind in found if kind.startswith("WRONG")]
    assert any(kind.startswith("read") for kind in found)
    assert any(kind.startswith("refused") for kind in found)
