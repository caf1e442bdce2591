"""The kernels around the recurrent ones: products of rows, sums by token, single steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gatewise import _backend

Array = NDArray[Any]
RNG = np.random.default_rng(0)
SIZES = [(1, 1, 1, 1), (1, 3, 17, 5), (2, 2, 64, 130), (5, 1, 33, 70), (7, 9, 130, 66)]


def close(found: Array, expected: Array) -> None:
    """Equal but for rounding: the terms of a sum may come in another order."""
    scale = np.abs(expected).max(initial=1e-30)
    limit = 1e-6 if found.dtype == np.float32 else 1e-14
    assert np.abs(found - expected).max(initial=0) <= limit * scale


def random(*shape: int, dtype: str) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("time", "batch", "inputs", "units"), SIZES)
def test_multiply(
    time: int,
    batch: int,
    inputs: int,
    units: int,
    threads: int,
    transposed: bool,
    dtype: str,
    backend: str,
) -> None:
    # Rows with gaps between them, and the batch outermost in memory.
    x = random(batch, time, inputs + 3, dtype=dtype)[..., :inputs].swapaxes(0, 1)
    w = random(inputs, units, dtype=dtype).T if transposed else None
    w = random(units, inputs, dtype=dtype) if w is None else w
    out = np.full((time, batch, units + 2), 7, dtype)
    _backend.kernels.multiply(x, w, out[..., :units], num_threads=threads)
    close(out[..., :units], (x.astype("float64") @ w.T.astype("float64")).astype(dtype))
    assert (out[..., units:] == 7).all()


@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_multiply_gives_a_row_the_same_bits_in_any_company(backend: str) -> None:
    x, w = random(1, 40, 50, dtype="float32"), random(70, 50, dtype="float32")
    whole, part = np.empty((2, 1, 40, 70), np.float32)
    _backend.kernels.multiply(x, w, whole)
    for count in (4, 7, 39):
        _backend.kernels.multiply(x[:, :count], w, part[:, :count])
        np.testing.assert_array_equal(part[:, :count], whole[:, :count])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("time", "batch", "features", "tokens"), SIZES)
def test_add_by_token(
    time: int, batch: int, features: int, tokens: int, dtype: str, backend: str
) -> None:
    rows = random(batch, time, features, dtype=dtype).swapaxes(0, 1)
    named = RNG.integers(0, tokens, time * batch)
    out = random(tokens, features, dtype=dtype)
    one_hot = np.eye(tokens)[named]
    expected = out + one_hot.T @ rows.reshape(-1, features)
    _backend.kernels.add_by_token(named, rows, out)
    close(out, expected.astype(dtype))


def test_no_rows_at_all(backend: str) -> None:
    nothing, w = np.empty((0, 3, 5), np.float32), random(4, 5, dtype="float32")
    _backend.kernels.multiply(nothing, w, np.empty((0, 3, 4), np.float32))
    out = np.ones((4, 5), np.float32)
    _backend.kernels.add_by_token(np.empty(0, np.int64), nothing, out)
    assert (out == 1).all()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_step_takes_what_fits_and_leaves_the_rest(batch: int, backend: str) -> None:
    kernels = _backend.kernels
    packed = kernels.pack(
        "rnn_tanh",
        random(5, 4, dtype="float32"),
        random(5, 5, dtype="float32"),
        random(5, dtype="float32"),
    )
    h, y = np.zeros((batch, 5), np.float32), np.zeros((batch, 5), np.float32)
    step = kernels.stepper([packed], [(h,)], [y])
    wide = random(batch, 8, dtype="float32")
    unfit: list[Array] = [
        wide[:, :3],
        wide[:, ::2],
        wide[None, :, :4],
        np.zeros((batch + 1, 4), np.float32),
        np.float32(1) * np.ones(()),
        y[:, :4],
        np.zeros(batch, [("byte", "i1"), ("row", "f4", 4)])["row"],
    ]
    if batch == 1:
        unfit += [wide[0, :3], wide[0, ::2]]
    else:
        unfit += [wide[0, :4]]
    for x in unfit:
        assert step(x) is None
        assert not h.any()
    assert step(wide[:, :4]) is y
    np.testing.assert_array_equal(h, y)
    assert y.any()
    if batch == 1:
        assert np.shares_memory(step(wide[0, :4]), y)


def test_halves_of_all_kinds_are_read_as_they_are(backend: str) -> None:
    # Many, and all about the smallest and the largest exponents: what is not finite, too.
    edges = [
        np.arange(around - 32, around + 32) for around in (0x20, 0x400, 0x7C00, 0xFC00)
    ]
    bits = np.concatenate([np.arange(0, 1 << 16, 61), *edges])
    kernels, size, one = _backend.kernels, 64, np.ones((1, 1, 1), np.float32)
    for first in range(0, len(bits), size):
        halves = bits[first : first + size].astype(np.uint16).view(np.float16)[:, None]
        count = len(halves)
        zeros = np.zeros((count, count), np.float16)
        packed = kernels.pack("rnn_relu", halves, zeros, np.zeros(count, np.float32))
        for sign in (1, -1):
            y = np.empty((1, 1, count), np.float32)
            h = np.zeros((1, count), np.float32)
            kernels.infer(packed, sign * one, (h,), y)
            with np.errstate(invalid="ignore"):  # of a NaN that signals
                expected = np.maximum(sign * halves[:, 0].astype(np.float32), 0)
            np.testing.assert_array_equal(y[0, 0], expected)
