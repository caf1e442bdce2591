"""The arrays that the kernels fill: theirs alone, and made of memory used before."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

from gatewise import _backend

FLOAT = np.dtype(np.float32)


def new(count: int) -> np.ndarray:
    return _backend.kernels.empty((count,), FLOAT)


def test_shapes_and_dtypes(backend: str) -> None:
    for shape in ((0,), (3, 0, 5), (2, 3), (50, 70, 90), ()):
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            array = _backend.kernels.empty(shape, dtype)
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
