"""Hostile arguments and processes, in short: the scripts that they come from try more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gatewise
from tests import hostile_calls

TESTS = Path(__file__).parent.parent


@pytest.mark.usefixtures("both_backends")
@pytest.mark.parametrize("kind", hostile_calls.KINDS)
def test_both_backends_refuse_alike(kind: str) -> None:
    tried, refused = hostile_calls.explore(kind, 100)
    assert 0 < refused < tried


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads do not survive fork")
@pytest.mark.usefixtures("native")
def test_processes() -> None:
    command = [sys.executable, str(TESTS / "stress_processes.py"), "--forks", "3"]
    paths = os.pathsep.join([*sys.path, str(TESTS.parent)])
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("0 failed\n")


@pytest.mark.parametrize("size", [2**31, 2**40, 2**62, 2**70])
def test_sizes_whose_products_overflow(size: int, backend: str) -> None:
    makers = [
        lambda: gatewise.LSTM(size, 3),
        lambda: gatewise.LSTM(3, size),
        lambda: gatewise.Linear(3, size),
        lambda: gatewise.Embedding(size, size),
        lambda: gatewise.Conv1d(3, 3, size),
    ]
    for make in makers:
        with pytest.raises((ValueError, MemoryError)):
            make()


@pytest.mark.parametrize("axis", range(3))
def test_what_needs_more_memory_than_there_is(axis: int, backend: str) -> None:
    shape = [2, 5, 4]
    shape[axis] = 2**45
    x = np.broadcast_to(np.float32(1), shape)
    with pytest.raises(MemoryError):
        gatewise.GRU(4, 3, seed=0)(x)
