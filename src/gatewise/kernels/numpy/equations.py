"""One step of every cell in plain NumPy, forward and back: the equations themselves.

``rows`` says what the arrays are and runs these over time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["BACKWARD", "FORWARD", "GATES", "Packed", "to_sigmoid", "widened"]


class Packed(NamedTuple):
    """One direction of one layer's weights in the form its backend runs on."""

    cell: str
    w_ih: Array
    w_hh: Array
    bias: Array
    bias_hn: Array | None
    w_hr: Array | None
    peepholes: Array | None
    # Copies: BLAS takes up to twice as long to multiply few rows by a transpose.
    w_ih_transposed: Array
    w_hh_transposed: Array


def widened(matrix: Any, scale: Array | None, dtype: np.dtype[Any]) -> Any:
    """A narrow matrix, with a scale for each of its rows, in `dtype`."""
    if matrix is None or matrix.dtype == dtype:
        return matrix
    wide = matrix.astype(dtype)
    return wide if scale is None else wide * scale[:, None]


# In the steps, gates come in without the recurrent product. `np.dot` costs half as much as
# `@` where arrays are small, and most of what is written in place saves a temporary array.


def _parts(gates: Array, count: int) -> list[Array]:
    size = gates.shape[1] // count
    return [gates[:, k * size : (k + 1) * size] for k in range(count)]


def to_sigmoid(z: Array) -> None:
    """Overwrite z with 1 / (1 + exp(-z))."""
    # Where exp overflows to infinity, the result is 0, as it should be.
    np.exp(-z, out=z)
    z += 1
    np.reciprocal(z, out=z)


def _rnn_tanh(packed: Packed, gates: Array, state: Any, y: Array, extra: None) -> None:
    (h,) = state
    gates += np.dot(h, packed.w_hh_transposed)
    h[...] = np.tanh(gates, out=gates)
    y[...] = h


def _rnn_relu(packed: Packed, gates: Array, state: Any, y: Array, extra: None) -> None:
    (h,) = state
    gates += np.dot(h, packed.w_hh_transposed)
    h[...] = np.maximum(gates, 0, out=gates)
    y[...] = h


def _lstm(packed: Packed, gates: Array, state: Any, y: Array, extra: Array) -> None:
    h, c = state
    gates += np.dot(h, packed.w_hh_transposed)
    i, f, g, o = _parts(gates, 4)
    if packed.peepholes is not None:
        p_i, p_f, p_o = packed.peepholes
        i += p_i * c
        f += p_f * c
    # i and f stand side by side.
    to_sigmoid(gates[:, : 2 * c.shape[1]])
    np.tanh(g, out=g)
    c *= f
    c += i * g
    if packed.peepholes is not None:
        o += p_o * c
    to_sigmoid(o)
    hidden = np.tanh(c)
    hidden *= o
    h[...] = hidden if packed.w_hr is None else np.dot(hidden, packed.w_hr.T)
    y[...] = h
    extra[...] = c


def _gru(packed: Packed, gates: Array, state: Any, y: Array, extra: Array) -> None:
    (h,) = state
    both = 2 * h.shape[1]
    recurrent = np.dot(h, packed.w_hh_transposed)
    rz = gates[:, :both]
    rz += recurrent[:, :both]
    to_sigmoid(rz)
    extra[...] = recurrent[:, both:]
    extra += packed.bias_hn
    r, z, n = _parts(gates, 3)
    n += r * extra
    np.tanh(n, out=n)
    h *= z
    h += (1 - z) * n
    y[...] = h


def _gru_reset_before(
    packed: Packed, gates: Array, state: Any, y: Array, extra: Array
) -> None:
    (h,) = state
    size = h.shape[1]
    rz = gates[:, : 2 * size] + np.dot(h, packed.w_hh_transposed[:, : 2 * size])
    to_sigmoid(rz)
    r, z = rz[:, :size], rz[:, size:]
    np.multiply(r, h, out=extra)
    n = gates[:, 2 * size :] + np.dot(extra, packed.w_hh_transposed[:, 2 * size :])
    np.tanh(n, out=n)
    gates[:, : 2 * size], gates[:, 2 * size :] = rz, n
    h *= z
    h += (1 - z) * n
    y[...] = h


# In the steps back, dh and dc come in as the gradients of what the step left and leave as
# those of what it started from. dgates may be gates, so it is written last.


def _rnn_tanh_back(
    packed: Packed,
    gates: Any,
    extra: Any,
    y: Array,
    h: Array,
    dstate: Any,
    dgates: Array,
    _: Any,
) -> None:
    (dh,) = dstate
    dgates[...] = dh * (1 - y * y)
    dh[...] = np.dot(dgates, packed.w_hh)


def _rnn_relu_back(
    packed: Packed,
    gates: Any,
    extra: Any,
    y: Array,
    h: Array,
    dstate: Any,
    dgates: Array,
    _: Any,
) -> None:
    (dh,) = dstate
    # 0 at the kink, as PyTorch has it.
    dgates[...] = dh * (y > 0)
    dh[...] = np.dot(dgates, packed.w_hh)


def _lstm_back(
    packed: Packed,
    gates: Array,
    extra: Array,
    y: Array,
    c: Array,
    dstate: Any,
    dgates: Array,
    dextra: Any,
) -> None:
    dh, dc = dstate
    i, f, g, o = _parts(gates, 4)
    dhidden = dh
    if packed.w_hr is not None:
        dextra[...] = dh
        dhidden = np.dot(dh, packed.w_hr)
    tanh_c = np.tanh(extra)
    do = dhidden * tanh_c * o * (1 - o)
    dc += dhidden * o * (1 - tanh_c * tanh_c)
    if packed.peepholes is not None:
        p_i, p_f, p_o = packed.peepholes
        dc += do * p_o
    di = dc * g * i * (1 - i)
    df = dc * c * f * (1 - f)
    dg = dc * i * (1 - g * g)
    dc *= f
    if packed.peepholes is not None:
        dc += di * p_i + df * p_f
    np.concatenate([di, df, dg, do], axis=1, out=dgates)
    dh[...] = np.dot(dgates, packed.w_hh)


def _gru_back(
    packed: Packed,
    gates: Array,
    extra: Array,
    y: Array,
    h: Array,
    dstate: Any,
    dgates: Array,
    dextra: Array,
) -> None:
    (dh,) = dstate
    r, z, n = _parts(gates, 3)
    both = 2 * h.shape[1]
    dz = dh * (h - n) * z * (1 - z)
    dn = dh * (1 - z) * (1 - n * n)
    dr = dn * extra * r * (1 - r)
    np.multiply(dn, r, out=dextra)
    dh *= z
    np.concatenate([dr, dz, dn], axis=1, out=dgates)
    dh += np.dot(dgates[:, :both], packed.w_hh[:both])
    dh += np.dot(dextra, packed.w_hh[both:])


def _gru_reset_before_back(
    packed: Packed,
    gates: Array,
    extra: Array,
    y: Array,
    h: Array,
    dstate: Any,
    dgates: Array,
    _: Any,
) -> None:
    (dh,) = dstate
    r, z, n = _parts(gates, 3)
    both = 2 * h.shape[1]
    dz = dh * (h - n) * z * (1 - z)
    dn = dh * (1 - z) * (1 - n * n)
    dreset_h = np.dot(dn, packed.w_hh[both:])
    dr = dreset_h * h * r * (1 - r)
    dh *= z
    dh += dreset_h * r
    np.concatenate([dr, dz, dn], axis=1, out=dgates)
    dh += np.dot(dgates[:, :both], packed.w_hh[:both])


GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}

FORWARD: dict[str, Any] = {
    "rnn_tanh": _rnn_tanh,
    "rnn_relu": _rnn_relu,
    "lstm": _lstm,
    "gru": _gru,
    "gru_reset_before": _gru_reset_before,
}

BACKWARD: dict[str, Any] = {
    "rnn_tanh": _rnn_tanh_back,
    "rnn_relu": _rnn_relu_back,
    "lstm": _lstm_back,
    "gru": _gru_back,
    "gru_reset_before": _gru_reset_before_back,
}
