"""The kernels' convolutions, and layers without a state in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gatewise.kernels import chooser
from gatewise.kernels.windows import Windows
from tests.kernels.test_products import close, random

Array = NDArray[Any]

# One window or several tiles of them, dense or not, with padding that reaches in from
# either side, and more of it than there are steps.
WINDOWS = [
    Windows(1, 1, 1, 0, 0),
    Windows(1, 3, 1, 0, 0),
    Windows(1, 1, 1, 2, 1),
    Windows(3, 1, 1, 1, 1),
    Windows(3, 2, 1, 2, 0),
    Windows(2, 1, 5, 5, 0),
    Windows(4, 3, 2, 9, 4),
    Windows(7, 1, 1, 6, 30),
]
# Features and outputs: of vectors that are not full, of one panel, and of several.
SIZES = [(1, 1), (5, 3), (3, 17), (18, 70), (2, 130), (7, 258)]


def reference(
    x: Array, weight: Array, bias: Array | None, windows: Windows, history: Array | None
) -> Array:
    """The convolution of ``(batch, time, features)``, sum by sum."""
    batch, time, features = x.shape
    y = np.zeros((batch, windows.count(time), len(weight)))
    taps = weight.reshape(len(weight), windows.taps, features)
    for t in range(y.shape[1]):
        for tap in range(windows.taps):
            step = t * windows.stride + tap * windows.dilation - windows.before
            if 0 <= step < time:
                y[:, t] += x[:, step].astype("float64") @ taps[:, tap].T
            elif step < 0 and history is not None:
                y[:, t] += history[:, step].astype("float64") @ taps[:, tap].T
    return y if bias is None else y + bias


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_convolve(windows: Windows, threads: int, dtype: str, backend: str) -> None:
    kernels = chooser.kernels
    for features, outputs in SIZES:
        w = random(outputs, windows.taps * features, dtype=dtype)
        b = random(outputs, dtype=dtype) if outputs != 17 else None
        packed = kernels.pack_convolution(w, b, windows)
        wide = random(4, 60, features + 2, dtype=dtype)[..., 1 : features + 1]
        for x in (
            wide[:, : windows.span],
            wide[:1, :9].copy(),
            wide[:3, ::2],
            wide[:, ::-1],
            wide[:, :20].swapaxes(0, 1).copy().swapaxes(0, 1),
            wide[:1, :1],
            wide[:0],
        ):
            y = kernels.convolve(packed, x, num_threads=threads)
            expected = reference(x, w, b, windows, None).astype(dtype)
            assert (y.dtype, y.shape) == (dtype, expected.shape)
            close(y, expected)
            for alone, sequence in zip(y, x, strict=True):
                one = kernels.convolve(packed, sequence, num_threads=threads)
                close(one, alone)
            if windows.before:
                shape = (len(x), windows.before, features)
                history = random(*shape, dtype=dtype)
                expected = reference(x, w, b, windows, history).astype(dtype)
                close(kernels.convolve(packed, x, history=history), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_what_is_past_a_length_is_not_read(
    windows: Windows, threads: int, backend: str
) -> None:
    lengths = np.array([30, 4, 0, 29, 1, 17])
    w = random(70, 4 * windows.taps, dtype="float32")
    packed = chooser.kernels.pack_convolution(w, None, windows)
    x = random(6, 30, 4, dtype="float32")
    for sequence, length in zip(x, lengths, strict=True):
        sequence[length:] = np.nan
    together = chooser.kernels.convolve(packed, x, lengths=lengths, num_threads=threads)
    for y, sequence, length in zip(together, x, lengths, strict=True):
        count = windows.count(length)
        alone = chooser.kernels.convolve(packed, sequence[:length])
        close(y[:count], alone)
        if backend == "native":
            np.testing.assert_array_equal(y[:count], alone)
        assert not y[count:].any()


def test_what_is_no_sequence_is_left(backend: str) -> None:
    kernels = chooser.kernels
    for windows in (Windows(3, 1, 1, 1, 1), Windows(1, 1, 1, 0, 0)):
        w = random(6, 4 * windows.taps, dtype="float32")
        packed = kernels.pack_convolution(w, None, windows)
        chain = kernels.chain([("convolution", packed)], 4, np.dtype(np.float32))
        x = random(2, 9, 8, dtype="float32")
        byte_by_byte = np.zeros((2, 9), [("byte", "i1"), ("row", "f4", 4)])["row"]
        for wrong in (
            x,
            x[..., ::2],
            x[..., :4].astype("float64"),
            x[..., :4].astype(x.dtype.newbyteorder()),
            x[..., :4].tolist(),
            byte_by_byte,
            x[0, 0, :4],
            x[None, ..., :4],
            np.float32(1),
            None,
        ):
            assert kernels.convolve(packed, wrong) is None
            assert chain(wrong) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [None, 1, 5])
def test_a_chain_does_what_its_stages_do(
    batch: int | None, dtype: str, backend: str
) -> None:
    kernels = chooser.kernels
    first, second, third = (
        kernels.pack_convolution(
            random(outputs, windows.taps * features, dtype=dtype), None, windows
        )
        for features, outputs, windows in (
            (6, 70, Windows(3, 1, 1, 1, 1)),
            (70, 20, Windows(4, 2, 3, 0, 2)),
            (20, 3, Windows(1, 1, 1, 0, 0)),
        )
    )
    linear = kernels.pack_linear(random(11, 3, dtype=dtype), None)
    stages: list[tuple[Any, ...]] = [
        ("convolution", first),
        ("relu",),
        ("tanh",),
        ("convolution", second),
        ("convolution", third),
        ("linear", linear),
        ("softmax",),
    ]
    wide = random(7, 80, 6, dtype=dtype)
    x = wide[0, ::2] if batch is None else wide[:batch, :40]
    y = x
    for count, (kind, *what) in enumerate(stages, 1):
        if kind == "convolution":
            y = kernels.convolve(*what, y)
        elif kind == "linear":
            y = kernels.linear(*what, y)
        else:
            out = np.empty_like(y)
            shape = (-1, y.shape[-1]) if kind == "softmax" else -1
            getattr(kernels, kind)(y.reshape(shape), out.reshape(shape))
            y = out
        chain = kernels.chain(stages[:count], 6, np.dtype(dtype))
        for threads in (1, 2):
            found = chain(x, num_threads=threads)
            assert found.dtype == dtype
            close(found, y)
    # As many steps as make no output.
    assert kernels.chain(stages, 6, np.dtype(dtype))(x[..., :4, :]) is None
