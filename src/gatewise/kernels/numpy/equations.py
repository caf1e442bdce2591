"""Every cell's equations in plain NumPy: the page to read for the maths.

The first half is what a cell computes elementwise, over arrays of any layout: the steps
of ``columns`` call it too. The second half are the steps on rows, forward and back, as
``rows`` runs them over time: a cell's products, and the equations between them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels.numpy.activations import Functions
from gatewise.kernels.numpy.narrow import NARROW, Narrow, add_product, product

Array = NDArray[Any]

__all__ = [
    "BACKWARD",
    "FORWARD",
    "Packed",
    "blend",
    "blend_back",
    "gated_back",
    "lstm",
    "lstm_back",
    "rnn",
    "rnn_back",
]

# Sums come in and leave as the values, in place: a temporary array takes as long as a small
# step's arithmetic.


def rnn(h: Array, functions: Functions) -> None:
    """H = candidate(h)."""
    functions.candidate.value(h, h)


def rnn_back(dh: Array, h: Array, functions: Functions) -> Array:
    """Return the gradient of the sum, given that of h."""
    gradient: Array = dh * functions.candidate.slope(h)
    return gradient


def lstm(
    i: Array,
    f: Array,
    g: Array,
    o: Array,
    c: Array,
    functions: Functions,
    peepholes: Array | None = None,
    *,
    i_and_f: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, Array]:
    """Return c' = f c + i g and o output(c') for the gates i, f, o and the candidate g.

    With peepholes i and f see c, and o sees c'. `i_and_f` are the two where they stand side
    by side, since one call takes less time than two. c' is written to `out`.
    """
    gate, candidate, output = functions
    if peepholes is not None:
        i += peepholes[0] * c
        f += peepholes[1] * c
    if i_and_f is None:
        gate.value(i, i)
        gate.value(f, f)
    else:
        gate.value(i_and_f, i_and_f)
    candidate.value(g, g)
    c_next = np.multiply(f, c, out)
    c_next += i * g
    if peepholes is not None:
        o += peepholes[2] * c_next
    gate.value(o, o)
    hidden = output.value(c_next)
    hidden *= o
    return c_next, hidden


def lstm_back(
    dhidden: Array,
    dc: Array,
    i: Array,
    f: Array,
    g: Array,
    o: Array,
    c: Array,
    c_next: Array,
    functions: Functions,
    peepholes: Array | None = None,
) -> tuple[Array, Array, Array, Array, Array]:
    """Return the gradients of the four sums, in the order of i f g o, and of c."""
    (_, gate_slope), (_, candidate_slope), (output, output_slope) = functions
    y = output(c_next)
    do = dhidden * y * gate_slope(o)
    dc = dc + dhidden * o * output_slope(y)
    if peepholes is not None:
        dc += do * peepholes[2]
    di = dc * g * gate_slope(i)
    df = dc * c * gate_slope(f)
    dg = dc * i * candidate_slope(g)
    dc *= f
    if peepholes is not None:
        dc += di * peepholes[0] + df * peepholes[1]
    return di, df, dg, do, dc


def blend(a: Array, b: Array, share: Any, rest: Any, out: Array | None = None) -> Array:
    """Return share a + rest b: a GRU's new state.

    It is written to `out`, which may be a, but not b.

    The shares add up to 1, but of the smaller one, 1 - share would lose digits: whoever
    knows which that is gives both.
    """
    blended: Array = np.multiply(a, share, out)
    blended += rest * b
    return blended


def blend_back(
    dblended: Array, a: Array, b: Array, share: Any, rest: Any
) -> tuple[Array, Array, Array]:
    """Return the gradients of a, of b, and of share where rest is 1 - share."""
    return dblended * share, dblended * rest, dblended * (a - b)


def gated_back(
    dproduct: Array, r: Array, value: Array, functions: Functions
) -> tuple[Array, Array]:
    """Return the gradients of the sum of gate r, and of value, given that of r value."""
    return dproduct * value * functions.gate.slope(r), dproduct * r


class Packed(NamedTuple):
    """One direction of one layer's weights in the form its backend runs on."""

    cell: str
    functions: Functions
    w_ih: Array
    w_hh: Array
    bias: Array
    bias_hn: Array | None
    w_hr: Array | None
    peepholes: Array | None
    # Copies: BLAS takes up to twice as long to multiply few rows by a transpose. Narrow
    # weights stay narrow here.
    w_ih_transposed: Array | Narrow
    w_hh_transposed: Array | Narrow
    w_hr_transposed: Array | Narrow | None


# In the steps, gates come in without the recurrent product.


def _parts(gates: Array, count: int) -> list[Array]:
    size = gates.shape[1] // count
    return [gates[:, k * size : (k + 1) * size] for k in range(count)]


def _rnn(packed: Packed, gates: Array, state: Any, y: Array, extra: None) -> None:
    (h,) = state
    add_product(h, packed.w_hh_transposed, gates)
    rnn(gates, packed.functions)
    h[...] = gates
    y[...] = h


def _lstm(packed: Packed, gates: Array, state: Any, y: Array, extra: Array) -> None:
    h, c = state
    add_product(h, packed.w_hh_transposed, gates)
    i, f, g, o = _parts(gates, 4)
    i_and_f = gates[:, : 2 * c.shape[1]]
    _, hidden = lstm(
        i, f, g, o, c, packed.functions, packed.peepholes, i_and_f=i_and_f, out=c
    )
    projection = packed.w_hr_transposed
    h[...] = hidden if projection is None else product(hidden, projection)
    y[...] = h
    extra[...] = c


def _gru(packed: Packed, gates: Array, state: Any, y: Array, extra: Array) -> None:
    (h,) = state
    gate, candidate, _ = packed.functions
    assert packed.bias_hn is not None
    both = 2 * h.shape[1]
    recurrent = product(h, packed.w_hh_transposed)
    r_and_z = gates[:, :both]
    r_and_z += recurrent[:, :both]
    gate.value(r_and_z, r_and_z)
    np.add(recurrent[:, both:], packed.bias_hn, extra)
    r, z, n = _parts(gates, 3)
    n += r * extra
    candidate.value(n, n)
    blend(h, n, z, 1 - z, h)
    y[...] = h


def _gru_reset_before(
    packed: Packed, gates: Array, state: Any, y: Array, extra: Array
) -> None:
    (h,) = state
    gate, candidate, _ = packed.functions
    both = 2 * h.shape[1]
    r_and_z = gates[:, :both]
    of_gates, of_candidate = slice(None, both), slice(both, None)
    add_product(h, _outputs(packed.w_hh_transposed, of_gates), r_and_z)
    gate.value(r_and_z, r_and_z)
    r, z, n = _parts(gates, 3)
    np.multiply(r, h, extra)
    add_product(extra, _outputs(packed.w_hh_transposed, of_candidate), n)
    candidate.value(n, n)
    blend(h, n, z, 1 - z, h)
    y[...] = h


def _outputs(weights: Array | Narrow, which: slice) -> Array | Narrow:
    if isinstance(weights, NARROW):
        return weights.outputs(which)
    return weights[:, which]


# In the steps back, dh and dc come in as the gradients of what the step left and leave as
# those of what it started from. dgates may be gates, so it is written last.


def _rnn_back(
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
    dgates[...] = rnn_back(dh, y, packed.functions)
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
    dhidden = dh
    if packed.w_hr is not None:
        dextra[...] = dh
        dhidden = np.dot(dh, packed.w_hr)
    i, f, g, o = _parts(gates, 4)
    *dsums, dc[...] = lstm_back(
        dhidden, dc, i, f, g, o, c, extra, packed.functions, packed.peepholes
    )
    np.concatenate(dsums, axis=1, out=dgates)
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
    gate, candidate, _ = packed.functions
    r, z, n = _parts(gates, 3)
    both = 2 * h.shape[1]
    dh[...], dn, dz = blend_back(dh, h, n, z, 1 - z)
    dz *= gate.slope(z)
    dn *= candidate.slope(n)
    dr, dextra[...] = gated_back(dn, r, extra, packed.functions)
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
    gate, candidate, _ = packed.functions
    r, z, n = _parts(gates, 3)
    both = 2 * h.shape[1]
    dh[...], dn, dz = blend_back(dh, h, n, z, 1 - z)
    dz *= gate.slope(z)
    dn *= candidate.slope(n)
    dr, dreset = gated_back(np.dot(dn, packed.w_hh[both:]), r, h, packed.functions)
    dh += dreset
    np.concatenate([dr, dz, dn], axis=1, out=dgates)
    dh += np.dot(dgates[:, :both], packed.w_hh[:both])


FORWARD: dict[str, Any] = {
    "rnn": _rnn,
    "lstm": _lstm,
    "gru": _gru,
    "gru_reset_before": _gru_reset_before,
}

BACKWARD: dict[str, Any] = {
    "rnn": _rnn_back,
    "lstm": _lstm_back,
    "gru": _gru_back,
    "gru_reset_before": _gru_reset_before_back,
}
