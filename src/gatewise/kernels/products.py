"""The products outside the time loop, and the one place that chooses how to multiply.

Either the kernels' own products do them, or NumPy's BLAS: whatever does not depend on the
step before, over all rows at once. GATEWISE_PRODUCTS chooses. The compiled kernels' own are
as fast as OpenBLAS and give a sequence the same bits in any batch; Apple's Accelerate runs
on a matrix unit that nothing else can reach, and is many times faster.

What goes to BLAS has as many threads as its user has set, counts denormals as the caller
does, and lets signals wait until it is done.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import chooser
from gatewise.kernels.numpy import convolution
from gatewise.kernels.numpy import products as by_numpy

Array = NDArray[Any]

__all__ = [
    "blas_from",
    "convolve",
    "describe",
    "linear",
    "outer",
    "shares",
    "use",
    "write_back",
]

VARIABLE = "GATEWISE_PRODUCTS"
CHOICES = ("auto", "own", "blas")

# A product with fewer multiplications is over before another processor unit has started.
_LARGE = 1 << 20


_wanted = "auto"

# From how many multiplications on a product goes to BLAS. An attribute, since a function
# would take a tenth of the smallest product.
blas_from = math.inf


def _choose(wanted: str) -> None:
    global _wanted, blas_from
    if wanted not in CHOICES:
        raise ValueError(
            f"{VARIABLE} should be one of {', '.join(CHOICES)}, got {wanted!r}"
        )
    _wanted = wanted
    if wanted == "auto":
        blas_from = _LARGE if "accelerate" in _blas_name().lower() else math.inf
    else:
        blas_from = 0 if wanted == "blas" else math.inf


def _blas_name() -> str:
    # Some distributors' builds say nothing.
    config: Any = np.show_config(mode="dicts")
    dependencies = config.get("Build Dependencies", {}) if isinstance(config, dict) else {}
    return str(dependencies.get("blas", {}).get("name", ""))


_choose(os.environ.get(VARIABLE) or "auto")


@contextmanager
def use(wanted: str) -> Iterator[None]:
    """Multiply as `wanted` says inside a ``with`` block; for tests."""
    before = _wanted
    _choose(wanted)
    try:
        yield
    finally:
        _choose(before)


def describe() -> str:
    """Say how products are multiplied, and why."""
    if chooser.name == "numpy":
        return "blas: the NumPy backend has no others"
    if _wanted != "auto":
        return f"{_wanted}: {VARIABLE}={_wanted} asks for it"
    name = _blas_name() or "unknown"
    if blas_from < math.inf:
        return f"blas where they are large: it is {name}"
    return f"own: NumPy's BLAS, {name}, is not known to be faster"


def shares(x: Array, w_ih: Array, bias: Array, into: Array | None = None) -> Array | None:
    """Return ``x @ w_ih.T + bias`` for rows, or None: the kernels multiply themselves."""
    time, batch, inputs = x.shape
    # Narrow weights are the kernels' own affair.
    if w_ih.dtype != x.dtype or not _go_to_blas(time * batch, inputs, len(w_ih)):
        return None
    if into is None:
        into = chooser.kernels.empty((time, batch, len(w_ih)), x.dtype)
    with np.errstate(all="ignore"):
        return np.add(_times(x, w_ih.T), bias, into)


def write_back(dy: Array, weight: Array, dx: Array) -> bool:
    """Write ``dy @ weight`` for rows, or return False: the kernels multiply themselves."""
    if not _go_to_blas(dy.shape[0] * dy.shape[1], *weight.shape):
        return False
    with np.errstate(all="ignore"):
        dx[...] = _times(dy, weight)
    return True


def outer(
    a: Array,
    b: Array,
    out: Array,
    *,
    second: tuple[Array, Array] | None = None,
    in_bfloat16: bool = False,
    num_threads: int,
) -> None:
    """Add ``a_row outer b_row``, summed over all rows, to `out`: a gradient of weights.

    `second` are another b and its out, for the same a.
    """
    sides = [(b, out)] if second is None else [(b, out), second]
    for b, out in sides:
        kernel = chooser.kernels.outer
        if _go_to_blas(a.shape[0] * a.shape[1], *out.shape):
            kernel = by_numpy.outer
        kernel(a, b, out, in_bfloat16=in_bfloat16, num_threads=num_threads)


def linear(x: Array, weight: Array, bias: Array | None) -> Array | None:
    """Return ``x @ weight.T + bias`` for `x` ``(..., I)``, or None, as `shares` does."""
    rows = x.reshape(-1, x.shape[-1])
    if not _go_to_blas(len(rows), *weight.shape):
        return None
    with np.errstate(all="ignore"):
        y: Array = np.matmul(rows, weight.T)
        if bias is not None:
            y += bias
    return y.reshape(*x.shape[:-1], len(weight))


def convolve(
    packed: Any, x: Array, *, lengths: NDArray[np.int64] | None, num_threads: int
) -> Array | None:
    """Return the convolution of sequences that were checked, as the kernels' `convolve`."""
    kernel = chooser.kernels.convolve
    plain: convolution.PackedConvolution = packed.plain
    rows = math.prod(x.shape[:-2]) * plain.windows.count(x.shape[-2])
    if _go_to_blas(rows, *plain.product.weight.shape):
        kernel, packed = convolution.convolve, plain
    y: Array | None = kernel(packed, x, lengths=lengths, num_threads=num_threads)
    return y


def _go_to_blas(rows: int, inputs: int, outputs: int) -> bool:
    return rows * inputs * outputs >= blas_from


def _times(rows: Array, matrix: Array) -> Array:
    """Multiply all rows at once: one product for each step would be many small ones."""
    is_batch_first = abs(rows.strides[0]) < abs(rows.strides[1])
    ordered = rows.swapaxes(0, 1) if is_batch_first else rows
    flat = ordered.reshape(ordered.shape[0] * ordered.shape[1], ordered.shape[2])
    product: Array = np.matmul(flat, matrix)
    product = product.reshape(*ordered.shape[:2], matrix.shape[1])
    return product.swapaxes(0, 1) if is_batch_first else product
