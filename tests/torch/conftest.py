"""Everything here runs on the compiled kernels, and on small single steps too."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest


@pytest.fixture(autouse=True)
def kernels(native: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The compiled kernels, which no call is too small for."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from gatewise.torch import conditions

    monkeypatch.setattr(conditions, "_WORTHWHILE", 0)
    monkeypatch.setattr(conditions, "_LEAST_ROWS", 0)
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield native
    torch.set_num_threads(before)
