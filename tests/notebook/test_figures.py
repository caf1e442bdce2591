"""The published figures, to every printed digit, and the shape of everything returned."""

from __future__ import annotations

import numpy as np
import pytest

import gatewise
from tests.notebook_cases import (
    CELLS,
    LSTM,
    RNN,
    Array,
    Notebook,
    draw,
    draw_parameters,
    run_cell,
)

pytestmark = pytest.mark.usefixtures("backend")


def assert_prints(values: Array, published: str) -> None:
    """Assert that `values`, rounded as the figures were, print as they do."""
    figures = published.split()
    assert len(figures) == values.size
    for value, figure in zip(values, figures, strict=True):
        decimals = len(figure.partition(".")[2])
        # A printed array drops zeros at the end, so a figure may have fewer digits than 8.
        assert f"{value:.{max(decimals, 8)}f}".rstrip("0") == figure.rstrip("0")


def randn(*shapes: tuple[int, ...]) -> list[Array]:
    np.random.seed(1)
    return [np.random.randn(*shape) for shape in shapes]


def rnn_parameters(drawn: list[Array]) -> dict[str, Array]:
    return dict(zip(("Waa", "Wax", "Wya", "ba", "by"), drawn, strict=True))


RNN_SHAPES = [(5, 5), (5, 3), (2, 5), (5, 1), (2, 1)]
LSTM_NAMES = ("Wf", "bf", "Wi", "bi", "Wo", "bo", "Wc", "bc", "Wy", "by")
LSTM_SHAPES = [(5, 8), (5, 1)] * 4 + [(2, 5), (2, 1)]


def test_rnn_cell() -> None:
    xt, a_prev, *drawn = randn((3, 10), (5, 10), *RNN_SHAPES)
    a_next, yt_pred, cache = gatewise.rnn_cell_forward(xt, a_prev, rnn_parameters(drawn))
    assert_prints(
        a_next[4],
        "0.59584544 0.18141802 0.61311866 0.99808218 0.85016201 "
        "0.99980978 -0.18887155 0.99815551 0.6531151 0.82872037",
    )
    assert_prints(
        yt_pred[1],
        "0.9888161 0.01682021 0.21140899 0.36817467 0.98988387 "
        "0.88945212 0.36920224 0.9966312 0.9982559 0.17746526",
    )
    assert (a_next.shape, yt_pred.shape, len(cache)) == ((5, 10), (2, 10), 4)


def test_rnn_sequence() -> None:
    x, a0, *drawn = randn((3, 10, 4), (5, 10), *RNN_SHAPES)
    a, y_pred, caches = gatewise.rnn_forward(x, a0, rnn_parameters(drawn))
    assert_prints(a[4][1], "-0.99999375 0.77911235 -0.99861469 -0.99833267")
    assert_prints(y_pred[1][3], "0.79560373 0.86224861 0.11118257 0.81515947")
    assert_prints(caches[1][1][3], "-1.1425182 -0.34934272 -0.20889423 0.58662319")
    assert (a.shape, y_pred.shape) == ((5, 10, 4), (2, 10, 4))
    assert type(caches) is tuple
    assert len(caches) == 2
    assert len(caches[0]) == 4


def test_lstm_cell() -> None:
    xt, a_prev, c_prev, *drawn = randn((3, 10), (5, 10), (5, 10), *LSTM_SHAPES)
    parameters = dict(zip(LSTM_NAMES, drawn, strict=True))
    a_next, c_next, yt, cache = gatewise.lstm_cell_forward(xt, a_prev, c_prev, parameters)
    assert_prints(
        a_next[4],
        "-0.66408471 0.0036921 0.02088357 0.22834167 -0.85575339 "
        "0.00138482 0.76566531 0.34631421 -0.00215674 0.43827275",
    )
    assert_prints(
        c_next[2],
        "0.63267805 1.00570849 0.35504474 0.20690913 -1.64566718 "
        "0.11832942 0.76449811 -0.0981561 -0.74348425 -0.26810932",
    )
    assert_prints(
        yt[1],
        "0.79913913 0.15986619 0.22412122 0.15606108 0.97057211 "
        "0.31146381 0.00943007 0.12666353 0.39380172 0.07828381",
    )
    assert_prints(
        cache[1][3],
        "-0.16263996 1.03729328 0.72938082 -0.54101719 0.02752074 "
        "-0.30821874 0.07651101 -1.03752894 1.41219977 -0.37647422",
    )
    assert a_next.shape == c_next.shape == (5, 10)
    assert (yt.shape, len(cache)) == ((2, 10), 10)


def test_lstm_sequence() -> None:
    x, a0, *drawn = randn((3, 10, 7), (5, 10), *LSTM_SHAPES)
    parameters = dict(zip(LSTM_NAMES, drawn, strict=True))
    a, y, c, caches = gatewise.lstm_forward(x, a0, parameters)
    assert_prints(a[4][3][6:], "0.172117767533")
    assert_prints(y[1][4][3:4], "0.95087346185")
    assert_prints(c[1][2][1:2], "-0.855544916718")
    assert_prints(
        caches[1][1][1],
        "0.82797464 0.23009474 0.76201118 -0.22232814 -0.20075807 0.18656139 0.41005165",
    )
    assert a.shape == c.shape == (5, 10, 7)
    assert (y.shape, len(caches), len(caches[0])) == ((2, 10, 7), 2, 7)


def reference_step(
    cell: Notebook, xt: Array, before: tuple[Array, ...], p: dict[str, Array]
) -> dict[str, Array]:
    """One step written down from its definition, with everything its cache should hold."""

    def sigmoid(z: Array) -> Array:
        return 1 / (1 + np.exp(-z))

    a_prev = before[0]
    values = {
        "xt": xt,
        **{f"{s}_prev": v for s, v in zip(cell.states, before, strict=True)},
    }
    stack = np.concatenate([a_prev, xt])
    if cell is RNN:
        values["a_next"] = np.tanh(p["Waa"] @ a_prev + p["Wax"] @ xt + p["ba"])
        head = p["Wya"]
    elif cell is LSTM:
        values["ft"] = sigmoid(p["Wf"] @ stack + p["bf"])
        values["it"] = sigmoid(p["Wi"] @ stack + p["bi"])
        values["cct"] = np.tanh(p["Wc"] @ stack + p["bc"])
        values["ot"] = sigmoid(p["Wo"] @ stack + p["bo"])
        values["c_next"] = values["ft"] * before[1] + values["it"] * values["cct"]
        values["a_next"] = values["ot"] * np.tanh(values["c_next"])
        head = p["Wy"]
    else:
        values["u"] = u = sigmoid(p["Wu"] @ stack + p["bu"])
        values["r"] = r = sigmoid(p["Wr"] @ stack + p["br"])
        values["cct"] = np.tanh(p["Wc"] @ np.concatenate([r * a_prev, xt]) + p["bc"])
        values["a_next"] = u * values["cct"] + (1 - u) * a_prev
        head = p["Wy"]
    scores = np.exp(head @ values["a_next"] + p["by"])
    return {**values, "yt": scores / scores.sum(axis=0)}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_cell_is_its_definition(cell: Notebook) -> None:
    parameters = draw_parameters(cell)
    xt, before = draw(3, 10), tuple(draw(5, 10, seed=k) for k, _ in enumerate(cell.states))
    run = run_cell(cell, xt, before, parameters)
    wanted = reference_step(cell, xt, before, parameters)
    np.testing.assert_allclose(run["yt"], wanted["yt"], rtol=0, atol=1e-14)
    cache = run["cache"]
    assert type(cache) is tuple
    assert len(cache) == len(cell.cache_fields)
    for field, value in zip(cell.cache_fields[:-1], cache[:-1], strict=True):
        np.testing.assert_allclose(value, wanted[field], rtol=0, atol=1e-14)
    assert cache[-1] is parameters
    assert cache[-2] is xt
    for state, value in zip(cell.states, before, strict=True):
        assert cache[cell.cache_fields.index(f"{state}_prev")] is value
        after = cache[cell.cache_fields.index(f"{state}_next")]
        np.testing.assert_array_equal(run[f"{state}_next"], after)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_sequence_is_its_cells_in_turn(cell: Notebook) -> None:
    parameters, x, a0 = draw_parameters(cell), draw(3, 10, 6), draw(5, 10)
    returned = cell.function("forward")(x, a0, parameters)
    *arrays, (steps, caller_x) = returned
    assert caller_x is x
    state = (a0, np.zeros_like(a0))[: len(cell.states)]
    for t in range(6):
        run = run_cell(cell, x[:, :, t], state, parameters)
        state = tuple(run[f"{name}_next"] for name in cell.states)
        # The sequence functions return a, the predictions, and then the LSTM's c.
        wanted = [
            run["a_next"],
            run["yt"],
            *(run[f"{name}_next"] for name in cell.states[1:]),
        ]
        for array, value in zip(arrays, wanted, strict=True):
            np.testing.assert_allclose(array[:, :, t], value, rtol=0, atol=1e-13)
        for got, value in zip(steps[t][:-1], run["cache"][:-1], strict=True):
            np.testing.assert_allclose(got, value, rtol=0, atol=1e-13)
        assert steps[t][-1] is parameters


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_gradients_are_named_as_documented(cell: Notebook) -> None:
    parameters, x, a0 = draw_parameters(cell), draw(3, 10, 6), draw(5, 10)
    *_, caches = cell.function("forward")(x, a0, parameters)
    gradients = cell.function("backward")(draw(5, 10, 6), caches)
    assert list(gradients) == cell.gradient_keys("dx", "da0")
    given = {"x": x, "a0": a0, **parameters}
    assert {name: g.shape for name, g in gradients.items()} == {
        name: given[name[1:]].shape for name in gradients
    }
    das = [draw(5, 10) for _ in cell.states]
    gradients = cell.function("cell_backward")(*das, caches[0][2])
    states = [f"d{state}_prev" for state in cell.states]
    assert list(gradients) == cell.gradient_keys("dxt", *states)
    given |= {"xt": x[:, :, 0], "a_prev": a0, "c_prev": a0}
    assert {name: g.shape for name, g in gradients.items()} == {
        name: given[name[1:]].shape for name in gradients
    }
