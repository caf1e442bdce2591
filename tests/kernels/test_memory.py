"""The arrays that the kernels fill: theirs alone, and made of memory used before."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import gatewise
from gatewise.kernels import chooser
from tests.new_process import PATIENCE, run

FLOAT = np.dtype(np.float32)


def new(count: int) -> np.ndarray:
    return chooser.kernels.empty((count,), FLOAT)


def test_shapes_and_dtypes(backend: str) -> None:
    for shape in ((0,), (3, 0, 5), (2, 3), (50, 70, 90), ()):
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            array = chooser.kernels.empty(shape, dtype)
            assert (array.shape, array.dtype) == (shape, dtype)
            assert array.flags.c_contiguous
            assert array.flags.writeable


def fill_and_check(seed: int, wrong: list[int]) -> None:
    """Hold arrays of many sizes for random times, each with its own number in it."""
    rng = np.random.default_rng(seed)
    held: list[tuple[np.ndarray, int]] = []
    for number in range(400):
        array = new(int(rng.integers(1, 200_000)))
        array[...] = number
        # A view keeps the memory as well as the array does.
        held.append((array[::-1], number))
        if len(held) > 12:
            array, filled = held.pop(int(rng.integers(len(held))))
            if not (array == filled).all():
                wrong.append(filled)


def test_no_two_arrays_share_memory(backend: str) -> None:
    wrong: list[int] = []
    threads = [threading.Thread(target=fill_and_check, args=(s, wrong)) for s in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_memory_is_used_again_and_begins_with_a_cache_line(backend: str) -> None:
    array = new(1_000_000)
    address = array.ctypes.data
    assert address % 64 == 0
    del array
    # An array takes what was given back if it needs most of it.
    kept = new(900_000)
    assert kept.ctypes.data == address
    assert new(900_000).ctypes.data != address
    del kept
    assert new(100_000).ctypes.data != address


def test_tracemalloc_sees_it(backend: str) -> None:
    tracemalloc.start()
    try:
        array = new(1_000_000)
        held = tracemalloc.get_traced_memory()[0]
        del array
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 4_000_000 <= held < 4_010_000
    assert left < 10_000


def test_release_gives_back_what_waits(backend: str) -> None:
    gatewise.release_memory()
    array = new(1_000_000)
    array[...] = 7
    assert gatewise.release_memory() == 0
    del array
    waiting = gatewise.release_memory()
    assert 4_000_000 <= waiting < 4_010_000 if backend == "native" else waiting == 0
    assert gatewise.release_memory() == 0


TRAINING = """
import os
from pathlib import Path
import numpy as np
import gatewise

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def train(hidden_size, time):
    layer = gatewise.LSTM(8, hidden_size, 2, seed=0)
    x = np.ones((64, time, 8), np.float32)
    for _ in range(2):
        y, _, tape = layer.forward(x)
        gradients = layer.backward(tape, y)[2]
        layer.set_parameters({n: p - gradients[n] for n, p in layer.parameters().items()})

train(8, 3)
before = resident()
train(32, 800)
left = resident() - before
released = gatewise.release_memory()
print(left, released, resident() - before)
"""


@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.skipif(PATIENCE > 1, reason="a sanitizer holds memory of its own")
def test_release_after_training(backend: str) -> None:
    done = run(TRAINING, GATEWISE_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    left, released, held = map(int, done.stdout.split())
    assert left > 60_000_000
    assert released > 60_000_000
    assert held < 20_000_000


def test_release_while_others_take_memory(backend: str) -> None:
    wrong: list[int] = []
    threads = [threading.Thread(target=fill_and_check, args=(s, wrong)) for s in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gatewise.release_memory()
    assert wrong == []


FORKS = """
import os, threading, time, warnings
import gatewise
from tests.kernels.test_memory import fill_and_check, new

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads around
wrong = []

def keep_taking():
    while True:
        fill_and_check(0, wrong)

threading.Thread(target=keep_taking, daemon=True).start()
for _ in range(20):
    new(1_000_000)[:] = 0
    child = os.fork()
    if child == 0:
        array = new(500_000)
        array[...] = 1
        gatewise.release_memory()
        os._exit(0 if (array == 1).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
assert not wrong
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_release_in_a_child(backend: str) -> None:
    done = run(FORKS, GATEWISE_BACKEND=backend)
    assert done.stdout == "well\n", done.stderr
