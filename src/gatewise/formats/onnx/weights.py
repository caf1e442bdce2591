"""A node's W, R, B and P as the weights of its directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.direction import Weights
from gatewise.formats.onnx.plan import Plan
from gatewise.gates import reordered, reordered_peepholes
from gatewise.layers import inputs

Array = NDArray[Any]

__all__ = ["Matrices", "as_floats", "check_shape", "matrices_of"]

_FLOATS = ("float16", "bfloat16", "float32", "float64")


class Matrices(NamedTuple):
    """The weights of every direction, gates in gatewise's order, and what they come from.

    `bias_ih` and `bias_hh` are the two halves of B, or zeros; `dtype` is that of all.
    """

    w_ih: list[Array]
    w_hh: list[Array]
    bias_ih: list[Array]
    bias_hh: list[Array]
    peepholes: list[Array] | None
    dtype: np.dtype[Any]

    @property
    def input_size(self) -> int:
        """How many features a step has."""
        return int(self.w_ih[0].shape[1])

    @property
    def hidden_size(self) -> int:
        """How many units there are."""
        return int(self.w_hh[0].shape[1])

    def weights(self, plan: Plan, way: int) -> Weights:
        """Return what the kernels take for one direction.

        Arithmetic in half precision is done in single.
        """
        dtype = np.dtype(np.float64 if self.dtype == np.float64 else np.float32)
        ih, hh = (
            bias[way].astype(dtype, copy=False) for bias in (self.bias_ih, self.bias_hh)
        )
        with np.errstate(all="ignore"):
            bias = ih + hh
        bias_hn = None
        if plan.cell == "gru":
            # The reset gate acts on the hidden bias of n, which so stays apart.
            n = slice(2 * self.hidden_size, None)
            bias_hn = hh[n].copy()
            bias[n] = ih[n]
        return Weights(
            plan.cell,
            plan.ways[way].activations,
            dtype.name,
            self.w_ih[way].astype(dtype, copy=False),
            self.w_hh[way].astype(dtype, copy=False),
            bias,
            bias_hn=bias_hn,
            peepholes=None
            if self.peepholes is None
            else self.peepholes[way].astype(dtype, copy=False),
        )


def matrices_of(plan: Plan, given: Mapping[str, ArrayLike | None]) -> Matrices:
    """Return the weights of a node.

    Parameters
    ----------
    plan
    given
        W, R and, where there are any, B and P, by these names.

    Raises
    ------
    ValueError
        If one is missing, or its shape or dtype does not fit; the error names it.
    """
    ways, gates = len(plan.ways), plan.gates
    w, r = (as_floats(name, _required(name, given)) for name in ("W", "R"))
    hidden = plan.hidden_size
    if hidden is None:
        hidden = r.shape[2] if r.ndim == 3 else 0
    if not hidden or w.ndim != 3 or not w.shape[2]:
        what = "R" if not hidden else "W"
        raise ValueError(
            f"{what} should have shape (directions, {gates} * hidden_size, "
            f"{'hidden_size' if not hidden else 'input_size'}) with no 0, "
            f"got {(r if not hidden else w).shape}"
        )
    check_shape("W", w, (ways, gates * hidden, w.shape[2]))
    check_shape("R", r, (ways, gates * hidden, hidden), w.dtype)
    none = np.zeros(gates * hidden, w.dtype)
    ih, hh = [none] * ways, [none] * ways
    if given.get("B") is not None:
        b = as_floats("B", given["B"])
        check_shape("B", b, (ways, 2 * gates * hidden), w.dtype)
        halves = [np.split(each, 2) for each in b]
        ih = [reordered(half, plan.cell, "onnx") for half, _ in halves]
        hh = [reordered(half, plan.cell, "onnx") for _, half in halves]
    peepholes = None
    if given.get("P") is not None:
        p = as_floats("P", given["P"])
        check_shape("P", p, (ways, 3 * hidden), w.dtype)
        peepholes = [reordered_peepholes(each, "onnx").reshape(3, hidden) for each in p]
    return Matrices(
        [reordered(each, plan.cell, "onnx") for each in w],
        [reordered(each, plan.cell, "onnx") for each in r],
        ih,
        hh,
        peepholes,
        w.dtype,
    )


def as_floats(name: str, value: Any) -> Array:
    """Return an array of floats, of whatever precision.

    Raises
    ------
    ValueError
        If it is none.
    """
    array = inputs.as_array(name, value)
    if array.dtype.name not in _FLOATS:
        raise ValueError(
            f"{name} should hold one of {', '.join(_FLOATS)}, got dtype {array.dtype}"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_shape(
    name: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None
) -> None:
    """Refuse an array of another shape or dtype.

    Raises
    ------
    ValueError
        If it is.
    """
    if array.shape != shape:
        raise ValueError(f"{name} should have shape {shape}, got {array.shape}")
    if dtype is not None and array.dtype != dtype:
        raise ValueError(
            f"{name} should have dtype {dtype} as the others do, got {array.dtype}"
        )


def _required(name: str, given: Mapping[str, ArrayLike | None]) -> ArrayLike:
    value = given.get(name)
    if value is None:
        raise ValueError(f"{name} should be an array, got none")
    return value
