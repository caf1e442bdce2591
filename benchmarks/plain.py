"""The notebook's way of computing: one NumPy cell per step, in a loop of Python.

What `notebook.py` measures gatewise against. Plain, as a reader of the notebook writes it
down, and neither slower nor faster than that: a product for each gate, the predictions and
the caches of every step made on the way, gradients added up step by step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def softmax(z: Array) -> Array:
    exponentials = np.exp(z - z.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


# One step forward


def rnn_cell_forward(xt: Array, a_prev: Array, p: Arrays) -> Any:
    a_next = np.tanh(np.dot(p["Waa"], a_prev) + np.dot(p["Wax"], xt) + p["ba"])
    yt = softmax(np.dot(p["Wya"], a_next) + p["by"])
    return a_next, yt, (a_next, a_prev, xt, p)


def lstm_cell_forward(xt: Array, a_prev: Array, c_prev: Array, p: Arrays) -> Any:
    stack = np.concatenate([a_prev, xt])
    ft = sigmoid(np.dot(p["Wf"], stack) + p["bf"])
    it = sigmoid(np.dot(p["Wi"], stack) + p["bi"])
    cct = np.tanh(np.dot(p["Wc"], stack) + p["bc"])
    ot = sigmoid(np.dot(p["Wo"], stack) + p["bo"])
    c_next = ft * c_prev + it * cct
    a_next = ot * np.tanh(c_next)
    yt = softmax(np.dot(p["Wy"], a_next) + p["by"])
    return a_next, c_next, yt, (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, p)


def gru_cell_forward(xt: Array, a_prev: Array, p: Arrays) -> Any:
    stack = np.concatenate([a_prev, xt])
    u = sigmoid(np.dot(p["Wu"], stack) + p["bu"])
    r = sigmoid(np.dot(p["Wr"], stack) + p["br"])
    cct = np.tanh(np.dot(p["Wc"], np.concatenate([r * a_prev, xt])) + p["bc"])
    a_next = u * cct + (1 - u) * a_prev
    yt = softmax(np.dot(p["Wy"], a_next) + p["by"])
    return a_next, yt, (a_next, a_prev, r, u, cct, xt, p)


# A sequence forward


def rnn_forward(x: Array, a0: Array, p: Arrays) -> Any:
    (n_a, m), time = a0.shape, x.shape[2]
    a = np.zeros((n_a, m, time), x.dtype)
    y = np.zeros((len(p["by"]), m, time), x.dtype)
    a_next, caches = a0, []
    for t in range(time):
        a_next, yt, cache = rnn_cell_forward(x[:, :, t], a_next, p)
        a[:, :, t] = a_next
        y[:, :, t] = yt
        caches.append(cache)
    return a, y, (caches, x)


def lstm_forward(x: Array, a0: Array, p: Arrays) -> Any:
    (n_a, m), time = a0.shape, x.shape[2]
    a = np.zeros((n_a, m, time), x.dtype)
    c = np.zeros((n_a, m, time), x.dtype)
    y = np.zeros((len(p["by"]), m, time), x.dtype)
    a_next, c_next, caches = a0, np.zeros_like(a0), []
    for t in range(time):
        a_next, c_next, yt, cache = lstm_cell_forward(x[:, :, t], a_next, c_next, p)
        a[:, :, t] = a_next
        c[:, :, t] = c_next
        y[:, :, t] = yt
        caches.append(cache)
    return a, y, c, (caches, x)


def gru_forward(x: Array, a0: Array, p: Arrays) -> Any:
    (n_a, m), time = a0.shape, x.shape[2]
    a = np.zeros((n_a, m, time), x.dtype)
    y = np.zeros((len(p["by"]), m, time), x.dtype)
    a_next, caches = a0, []
    for t in range(time):
        a_next, yt, cache = gru_cell_forward(x[:, :, t], a_next, p)
        a[:, :, t] = a_next
        y[:, :, t] = yt
        caches.append(cache)
    return a, y, (caches, x)


# One step back


def rnn_cell_backward(da_next: Array, cache: Any) -> Arrays:
    a_next, a_prev, xt, p = cache
    dz = da_next * (1 - a_next**2)
    return {
        "dxt": np.dot(p["Wax"].T, dz),
        "da_prev": np.dot(p["Waa"].T, dz),
        "dWax": np.dot(dz, xt.T),
        "dWaa": np.dot(dz, a_prev.T),
        "dba": dz.sum(axis=1, keepdims=True),
    }


def lstm_cell_backward(da_next: Array, dc_next: Array, cache: Any) -> Arrays:
    _, c_next, a_prev, c_prev, ft, it, cct, ot, xt, p = cache
    n_a = len(a_prev)
    tanh_c = np.tanh(c_next)
    dc = dc_next + da_next * ot * (1 - tanh_c**2)
    dzf = dc * c_prev * ft * (1 - ft)
    dzi = dc * cct * it * (1 - it)
    dzc = dc * it * (1 - cct**2)
    dzo = da_next * tanh_c * ot * (1 - ot)
    stack = np.concatenate([a_prev, xt])
    dstack = np.dot(p["Wf"].T, dzf) + np.dot(p["Wi"].T, dzi)
    dstack += np.dot(p["Wc"].T, dzc) + np.dot(p["Wo"].T, dzo)
    return {
        "dxt": dstack[n_a:],
        "da_prev": dstack[:n_a],
        "dc_prev": dc * ft,
        "dWf": np.dot(dzf, stack.T),
        "dbf": dzf.sum(axis=1, keepdims=True),
        "dWi": np.dot(dzi, stack.T),
        "dbi": dzi.sum(axis=1, keepdims=True),
        "dWc": np.dot(dzc, stack.T),
        "dbc": dzc.sum(axis=1, keepdims=True),
        "dWo": np.dot(dzo, stack.T),
        "dbo": dzo.sum(axis=1, keepdims=True),
    }


def gru_cell_backward(da_next: Array, cache: Any) -> Arrays:
    _, a_prev, r, u, cct, xt, p = cache
    n_a = len(a_prev)
    dzu = da_next * (cct - a_prev) * u * (1 - u)
    dzc = da_next * u * (1 - cct**2)
    dreset = np.dot(p["Wc"].T, dzc)
    dzr = dreset[:n_a] * a_prev * r * (1 - r)
    stack = np.concatenate([a_prev, xt])
    reset = np.concatenate([r * a_prev, xt])
    dstack = np.dot(p["Wu"].T, dzu) + np.dot(p["Wr"].T, dzr)
    return {
        "dxt": dstack[n_a:] + dreset[n_a:],
        "da_prev": dstack[:n_a] + dreset[:n_a] * r + da_next * (1 - u),
        "dWu": np.dot(dzu, stack.T),
        "dbu": dzu.sum(axis=1, keepdims=True),
        "dWr": np.dot(dzr, stack.T),
        "dbr": dzr.sum(axis=1, keepdims=True),
        "dWc": np.dot(dzc, reset.T),
        "dbc": dzc.sum(axis=1, keepdims=True),
    }


# A sequence back


def rnn_backward(da: Array, caches: Any) -> Arrays:
    steps, x = caches
    dx = np.zeros_like(x)
    da_next = np.zeros_like(da[:, :, 0])
    sums: Arrays = {}
    for t in reversed(range(da.shape[2])):
        step = rnn_cell_backward(da[:, :, t] + da_next, steps[t])
        dx[:, :, t], da_next = step.pop("dxt"), step.pop("da_prev")
        _add(sums, step)
    return {"dx": dx, "da0": da_next, **sums}


def lstm_backward(da: Array, caches: Any) -> Arrays:
    steps, x = caches
    dx = np.zeros_like(x)
    da_next, dc_next = np.zeros_like(da[:, :, 0]), np.zeros_like(da[:, :, 0])
    sums: Arrays = {}
    for t in reversed(range(da.shape[2])):
        step = lstm_cell_backward(da[:, :, t] + da_next, dc_next, steps[t])
        dx[:, :, t], da_next = step.pop("dxt"), step.pop("da_prev")
        dc_next = step.pop("dc_prev")
        _add(sums, step)
    return {"dx": dx, "da0": da_next, **sums}


def gru_backward(da: Array, caches: Any) -> Arrays:
    steps, x = caches
    dx = np.zeros_like(x)
    da_next = np.zeros_like(da[:, :, 0])
    sums: Arrays = {}
    for t in reversed(range(da.shape[2])):
        step = gru_cell_backward(da[:, :, t] + da_next, steps[t])
        dx[:, :, t], da_next = step.pop("dxt"), step.pop("da_prev")
        _add(sums, step)
    return {"dx": dx, "da0": da_next, **sums}


def _add(sums: Arrays, step: Arrays) -> None:
    for name, gradient in step.items():
        if name in sums:
            sums[name] += gradient
        else:
            sums[name] = gradient
