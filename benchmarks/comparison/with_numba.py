"""numba: loops written plainly, compiled with ``fastmath``, one sequence and one thread.

This is what someone writes whose package must not be large: no library of products, no
tricks. Weights come transposed, so that the inner loop goes over what stands side by side
and needs no sum across a vector: faster than rows of weights.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from comparison.contestant import Job
from comparison.grid import Case
from comparison.work import Array, Work

_ONE = np.float32(1)
_compiled: Any = numba.njit(fastmath=True)


class Contestant:
    def __init__(self, threads: int) -> None:
        self.version = f"numba {numba.__version__}"

    def job(self, case: Case, work: Work, way: str) -> Job:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        w_ih, w_hh, b_ih, b_hh = (work.weights[name] for name in names)
        weights = np.ascontiguousarray(w_ih.T), np.ascontiguousarray(w_hh.T)
        biases = (b_ih, b_hh) if case.cell == "gru" else (b_ih + b_hh,)
        layer = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[case.cell]
        x = work.x[0]

        def run() -> Array:
            y: Array = layer(x, *weights, *biases)
            return y

        return Job(run, lambda y: {"y": y[None]})


@_compiled
def _sigmoid(z):  # type: ignore[no-untyped-def]
    return _ONE / (_ONE + math.exp(-z))


@_compiled
def _add_product(sums, weights, row):  # type: ignore[no-untyped-def]
    for k in range(len(row)):
        for j in range(len(sums)):
            sums[j] += weights[k, j] * row[k]


@_compiled
def _lstm(x, w_ih, w_hh, bias):  # type: ignore[no-untyped-def]
    units = len(w_hh)
    y = np.empty((len(x), units), np.float32)
    h, c = np.zeros(units, np.float32), np.zeros(units, np.float32)
    sums = np.empty(4 * units, np.float32)
    for t in range(len(x)):
        sums[:] = bias
        _add_product(sums, w_ih, x[t])
        _add_product(sums, w_hh, h)
        for j in range(units):
            i, f = _sigmoid(sums[j]), _sigmoid(sums[units + j])
            g, o = math.tanh(sums[2 * units + j]), _sigmoid(sums[3 * units + j])
            c[j] = f * c[j] + i * g
            h[j] = o * math.tanh(c[j])
            y[t, j] = h[j]
    return y


@_compiled
def _gru(x, w_ih, w_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
    units = len(w_hh)
    y = np.empty((len(x), units), np.float32)
    h = np.zeros(units, np.float32)
    given, kept = np.empty(3 * units, np.float32), np.empty(3 * units, np.float32)
    for t in range(len(x)):
        given[:] = b_ih
        kept[:] = b_hh
        _add_product(given, w_ih, x[t])
        _add_product(kept, w_hh, h)
        for j in range(units):
            r = _sigmoid(given[j] + kept[j])
            z = _sigmoid(given[units + j] + kept[units + j])
            n = math.tanh(given[2 * units + j] + r * kept[2 * units + j])
            h[j] = n + z * (h[j] - n)
            y[t, j] = h[j]
    return y


@_compiled
def _rnn(x, w_ih, w_hh, bias):  # type: ignore[no-untyped-def]
    units = len(w_hh)
    y = np.empty((len(x), units), np.float32)
    h, sums = np.zeros(units, np.float32), np.empty(units, np.float32)
    for t in range(len(x)):
        sums[:] = bias
        _add_product(sums, w_ih, x[t])
        _add_product(sums, w_hh, h)
        for j in range(units):
            h[j] = math.tanh(sums[j])
            y[t, j] = h[j]
    return y
