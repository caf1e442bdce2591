"""The kernels around the recurrent ones: products of rows, sums by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gatewise.kernels import chooser
from gatewise.kernels.activations import STANDARD, Activation

Array = NDArray[Any]
RNG = np.random.default_rng(0)
SIZES = [(1, 1, 1, 1), (1, 3, 17, 5), (2, 2, 64, 130), (5, 1, 33, 70), (7, 9, 130, 66)]


def close(found: Array, expected: Array) -> None:
    """Equal but for rounding: the terms of a sum may come in another order."""
    scale = np.abs(expected).max(initial=1e-30)
    limit = 4e-6 if found.dtype == np.float32 else 1e-14
    assert np.abs(found - expected).max(initial=0) <= limit * scale


def random(*shape: int, dtype: str) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


# (inputs, outputs) of every arrangement of a Linear's sums, and of what is left over.
LINEAR_SIZES = [
    (1, 1),
    (24, 1),
    (3, 2),
    (70, 3),
    (129, 4),
    (17, 5),
    (50, 31),
    (50, 70),
    (520, 7),
    (1023, 8),
    (515, 16),
    (600, 17),
    (517, 32),
    (512, 33),
    (387, 130),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("inputs", "outputs"), LINEAR_SIZES)
def test_linear(
    inputs: int, outputs: int, threads: int, bias: bool, dtype: str, backend: str
) -> None:
    w = random(outputs, inputs, dtype=dtype)
    b = random(outputs, dtype=dtype) if bias else None
    packed = chooser.kernels.pack_linear(w, b)
    wide = random(2, 40, 9, inputs + 3, dtype=dtype)[..., 1 : inputs + 1]
    arrays = [wide[0, 0, 0], *(wide[0, 0, :n].copy() for n in range(10))]
    # Gaps between the rows, two distances, axes that are not in the order of memory.
    arrays += [
        wide[0, 0],
        wide[0],
        wide[0, :, ::-2],
        wide[0].swapaxes(0, 1),
        wide[:, :, :1],
    ]
    arrays += [np.ascontiguousarray(wide), np.ascontiguousarray(wide[0]).swapaxes(0, 1)]
    for x in arrays:
        y = chooser.kernels.linear(packed, x, num_threads=threads)
        assert (y.dtype, y.shape) == (dtype, (*x.shape[:-1], outputs))
        exact = x.astype("float64") @ w.T.astype("float64") + (0 if b is None else b)
        close(y, exact.astype(dtype))
        dy, dx = (
            y.reshape(1, -1, outputs),
            np.full((1, y.size // outputs, inputs), 7, dtype),
        )
        chooser.kernels.linear_back(packed, dy, dx, num_threads=threads)
        close(dx, (dy.astype("float64") @ w.astype("float64")).astype(dtype))


def test_linear_leaves_what_is_not_rows_of_its_own(backend: str) -> None:
    packed = chooser.kernels.pack_linear(np.ones((3, 4), np.float32), None)
    rows = np.zeros((6, 8), np.float32)
    unfit: list[Any] = [
        rows[:, :3],
        rows[:, ::2],
        rows[:0, :5],
        rows[:, :4].astype("float64"),
        rows[:, :4].astype(rows.dtype.newbyteorder()),
        rows[:, :4].astype(int),
        np.zeros((6, 4), "datetime64[s]"),
        np.zeros((6, 4), object),
        np.zeros(6, [("byte", "i1"), ("row", "f4", 4)])["row"],
        np.ones((), np.float32),
        rows[0, :4].tolist(),
        None,
    ]
    for x in unfit:
        assert chooser.kernels.linear(packed, x) is None
    for shape in ((0, 4), (3, 0, 4), (0, 3, 4), (2, 0, 3, 4)):
        assert chooser.kernels.linear(packed, np.zeros(shape, np.float32)).size == 0


@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("inputs", "outputs"), [*LINEAR_SIZES, (2000, 300)])
def test_linear_gives_a_row_the_same_bits_in_any_company(
    inputs: int, outputs: int, dtype: str, backend: str
) -> None:
    linear = chooser.kernels.linear
    packed = chooser.kernels.pack_linear(
        random(outputs, inputs, dtype=dtype), random(outputs, dtype=dtype)
    )
    # More rows than are done at once.
    x = random(401, inputs, dtype=dtype)
    whole = linear(packed, x)
    alone = np.stack([linear(packed, row) for row in x])
    np.testing.assert_array_equal(alone, whole)
    for count in (2, 3, 4, 5, 7, 11, 64, 193, 400):
        for threads in (1, 2, 5):
            part = linear(packed, x[-count:], num_threads=threads)
            np.testing.assert_array_equal(part, whole[-count:])


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
    chooser.kernels.add_by_token(named, rows, out)
    close(out, expected.astype(dtype))


def test_no_rows_at_all(backend: str) -> None:
    nothing, w = np.empty((0, 3, 5), np.float32), random(4, 5, dtype="float32")
    packed = chooser.kernels.pack_linear(w, None)
    chooser.kernels.linear_back(packed, np.empty((0, 3, 4), np.float32), nothing)
    out = np.ones((4, 5), np.float32)
    chooser.kernels.add_by_token(np.empty(0, np.int64), nothing, out)
    assert (out == 1).all()


def test_halves_of_all_kinds_are_read_as_they_are(backend: str) -> None:
    # Many, and all about the smallest and the largest exponents: what is not finite, too.
    edges = [
        np.arange(around - 32, around + 32) for around in (0x20, 0x400, 0x7C00, 0xFC00)
    ]
    bits = np.concatenate([np.arange(0, 1 << 16, 61), *edges])
    kernels, size, one = chooser.kernels, 64, np.ones((1, 1, 1), np.float32)
    for first in range(0, len(bits), size):
        halves = bits[first : first + size].astype(np.uint16).view(np.float16)[:, None]
        count = len(halves)
        zeros = np.zeros((count, count), np.float16)
        packed = kernels.pack(
            "rnn",
            halves,
            zeros,
            np.zeros(count, np.float32),
            activations=STANDARD._replace(candidate=Activation("relu")),
            weight_format="float16",
        )
        for sign in (1, -1):
            y = np.empty((1, 1, count), np.float32)
            h = np.zeros((1, count), np.float32)
            kernels.infer(packed, sign * one, (h,), y)
            with np.errstate(invalid="ignore"):  # of a NaN that signals
                expected = np.maximum(sign * halves[:, 0].astype(np.float32), 0)
            np.testing.assert_array_equal(y[0, 0], expected)
