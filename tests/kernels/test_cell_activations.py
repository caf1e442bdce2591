"""Every activation in every cell, forward and back, against arithmetic written out here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gatewise import direction
from gatewise.direction import Prepared, Weights
from gatewise.kernels import cells, chooser
from gatewise.kernels.activations import (
    ACTIVATIONS,
    STANDARD,
    Activation,
    Activations,
    Spelling,
    activation,
)

Array = NDArray[Any]

SPELLINGS: list[Spelling] = [
    *ACTIVATIONS,
    ("hard_sigmoid", 0.2),
    ("elu", 0.3),
    ("leaky_relu", 0.25),
    ("thresholded_relu", 0.125),
    ("scaled_tanh", 1.7159, 2 / 3),
    ("scaled_tanh", -0.5, 2.0),
    ("affine", -0.75, 0.25),
]
every_activation = pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}


def limits(spelling: Spelling) -> tuple[float, float]:
    """Where the activation goes to on both sides."""
    name, alpha, beta = activation("spelling", spelling)
    one, far = math.copysign(alpha, alpha * beta), math.copysign(math.inf, alpha)
    return {
        "sigmoid": (0.0, 1.0),
        "tanh": (-1.0, 1.0),
        "relu": (0.0, math.inf),
        "linear": (-math.inf, math.inf),
        "hard_sigmoid": (0.0, 1.0),
        "softsign": (-1.0, 1.0),
        "softplus": (0.0, math.inf),
        "exponential": (0.0, math.inf),
        "elu": (-alpha, math.inf),
        "selu": (-1.0507009873554805 * 1.6732632423543772, math.inf),
        "leaky_relu": (-math.inf, math.inf),
        "thresholded_relu": (0.0, math.inf),
        "scaled_tanh": (-one, one),
        "affine": (-far, far),
    }[name]


def formula(spelling: Spelling) -> Callable[[float], float]:
    """The activation as a textbook has it, for a finite number."""
    name, alpha, beta = activation("spelling", spelling)
    scale, selu_alpha = 1.0507009873554805, 1.6732632423543772

    def compute(z: float) -> float:
        match name:
            case "sigmoid":
                return 1 / (1 + math.exp(-z))
            case "tanh":
                return math.tanh(z)
            case "relu":
                return max(z, 0.0)
            case "linear":
                return z
            case "hard_sigmoid":
                return min(max(alpha * z + beta, 0.0), 1.0)
            case "softsign":
                return z / (1 + abs(z))
            case "softplus":
                return math.log1p(math.exp(z))
            case "exponential":
                return math.exp(z)
            case "elu":
                return z if z > 0 else alpha * math.expm1(z)
            case "selu":
                return scale * (z if z > 0 else selu_alpha * math.expm1(z))
            case "leaky_relu":
                return z if z > 0 else alpha * z
            case "thresholded_relu":
                return z if z > alpha else 0.0
            case "scaled_tanh":
                return alpha * math.tanh(beta * z)
            case "affine":
                return alpha * z + beta
        raise AssertionError(f"no formula of {name}")

    return compute


def elementwise(spelling: Spelling) -> Callable[[Array], Array]:
    return np.vectorize(formula(spelling), otypes=[np.float64])


def prepared_rnn(spelling: Spelling, units: int, dtype: str) -> Prepared:
    """A cell whose output is the activation of its bias."""
    activations = STANDARD._replace(candidate=activation("spelling", spelling))
    zeros = np.zeros((units, units), dtype)
    return Prepared(Weights("rnn", activations, dtype, zeros, zeros, zeros[0].copy()))


def outputs_and_slopes(spelling: Spelling, z: Array) -> tuple[Array, Array]:
    """What the kernels make of the sums z, and its derivatives as they have them."""
    kernels, units = chooser.kernels, len(z)
    packed = prepared_rnn(spelling, units, z.dtype.name).packed
    gates, h = z.reshape(1, 1, units).copy(), np.zeros((1, units), z.dtype)
    kernels.forward(packed, gates, (h,), gates, None)
    dgates, dh = np.empty_like(gates), np.ones_like(h)
    dy = np.zeros_like(gates)
    kernels.backward(
        packed, gates, None, gates, (np.zeros_like(h),), dy, (dh,), dgates, None
    )
    np.testing.assert_array_equal(gates[0], h)
    return gates.reshape(-1), dgates.reshape(-1)


@every_activation
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_slopes(spelling: Spelling, dtype: str, backend: str) -> None:
    # No kink is so near to one of these that the differences would step over it.
    z = np.concatenate([np.linspace(-7.03, 7.08, 40), [-20.3, -1e-5, 1e-5, 20.6]])
    z = z.astype(dtype)
    got, slopes = outputs_and_slopes(spelling, z)
    function, exact = elementwise(spelling), z.astype("float64")
    scale = np.maximum(1, np.abs(function(exact)))
    np.testing.assert_allclose(got / scale, function(exact) / scale, 0, TOLERANCE[dtype])
    step = 1e-6
    expected = (function(exact + step) - function(exact - step)) / (2 * step)
    atol = max(TOLERANCE[dtype], 1e-8)
    np.testing.assert_allclose(slopes / scale, expected / scale, 0, atol)


@every_activation
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite(spelling: Spelling, dtype: str, backend: str) -> None:
    given = [-math.inf, math.inf, math.nan, 0.25, -1e30, 1e30]
    got, _ = outputs_and_slopes(spelling, np.array(given, dtype))
    expected = [*limits(spelling), math.nan, formula(spelling)(0.25)]
    np.testing.assert_allclose(got[:4], expected, rtol=1e-6)
    for value, limit in zip(got[4:], limits(spelling), strict=True):
        if math.isfinite(limit):
            np.testing.assert_allclose(value, limit, rtol=1e-6)


class Net:
    """A direction in float64, and its outputs by sums and products written out."""

    def __init__(self, cell: str, activations: Activations, reverse: bool) -> None:
        self.random = np.random.default_rng(len(cell))
        self.cell, self.reverse = cell, reverse
        # An exponential of exponentials soon is too large.
        self.scale = 0.05 if activations.gate.name == "exponential" else 0.4
        self.functions = [elementwise((a.name, *numbers_of(a))) for a in activations]
        table, hidden, inputs, outputs = cells.look_up(cell), 3, 2, 3
        if cell == "lstm":
            outputs = 2
        rows, draw = table.gates * hidden, self.draw
        self.weights = Weights(
            cell,
            activations,
            "float64",
            draw(rows, inputs),
            draw(rows, outputs),
            draw(rows),
            bias_hn=draw(hidden) if cell == "gru" else None,
            w_hr=draw(outputs, hidden) if cell == "lstm" else None,
            peepholes=draw(3, hidden) if cell == "lstm" else None,
        )
        self.x = 2 * draw(4, 2, inputs)
        self.state = [2 * draw(2, outputs)]
        if cell == "lstm":
            self.state.append(2 * draw(2, hidden))

    def draw(self, *shape: int) -> Array:
        return self.scale * self.random.standard_normal(shape)

    def arrays(self) -> list[Array]:
        """All that the outputs depend on."""
        arrays = [self.x, *self.state, *self.weights.arrays]
        return [array for array in arrays if array is not None]

    def expected(self, arrays: list[Array]) -> tuple[Array, list[Array]]:
        """The outputs and the final state, of these arrays in place of its own."""
        given = iter(arrays)
        x = next(given)
        state = [next(given) for _ in self.state]
        weights = self.weights.of(
            [None if array is None else next(given) for array in self.weights.arrays]
        )
        y = np.empty((*x.shape[:2], state[0].shape[1]))
        for t in range(len(x))[:: -1 if self.reverse else 1]:
            state = self.step(weights, x[t], state)
            y[t] = state[0]
        return y, state

    def step(self, weights: Weights, x: Array, state: list[Array]) -> list[Array]:
        gate, candidate, output = self.functions
        hidden = len(weights.w_ih) // cells.look_up(self.cell).gates
        h, *cs = state
        given = x @ weights.w_ih.T + weights.bias
        recurrent = h @ weights.w_hh.T
        inputs = [given[:, k : k + hidden] for k in range(0, given.shape[1], hidden)]
        sums = [recurrent[:, k : k + hidden] for k in range(0, given.shape[1], hidden)]
        match self.cell:
            case "rnn":
                return [candidate(inputs[0] + sums[0])]
            case "lstm":
                assert weights.peepholes is not None
                assert weights.w_hr is not None
                p_i, p_f, p_o = weights.peepholes
                i = gate(inputs[0] + sums[0] + p_i * cs[0])
                f = gate(inputs[1] + sums[1] + p_f * cs[0])
                c = f * cs[0] + i * candidate(inputs[2] + sums[2])
                o = gate(inputs[3] + sums[3] + p_o * c)
                return [(o * output(c)) @ weights.w_hr.T, c]
            case "gru":
                r, z = gate(inputs[0] + sums[0]), gate(inputs[1] + sums[1])
                n = candidate(inputs[2] + r * (sums[2] + weights.bias_hn))
            case "gru_reset_before":
                r, z = gate(inputs[0] + sums[0]), gate(inputs[1] + sums[1])
                n = candidate(inputs[2] + (r * h) @ weights.w_hh[2 * hidden :].T)
        return [(1 - z) * n + z * h]


def numbers_of(found: Activation) -> tuple[float, ...]:
    return found[1 : 1 + len(ACTIVATIONS[found.name])]


@every_activation
@pytest.mark.parametrize("cell", cells.CELLS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_cells(spelling: Spelling, cell: str, reverse: bool, backend: str) -> None:
    found = activation("spelling", spelling)
    net = Net(cell, Activations(found, found, found), reverse)
    wanted, final = net.expected(net.arrays())
    prepared = Prepared(net.weights)
    y, state = np.empty_like(wanted), tuple(array.copy() for array in net.state)
    direction.infer(prepared, net.x, state, y, reverse=reverse, num_threads=1)
    np.testing.assert_allclose(y, wanted, rtol=1e-11, atol=1e-12)
    state = tuple(array.copy() for array in net.state)
    tape = direction.forward(prepared, net.x, state, reverse=reverse)
    np.testing.assert_allclose(tape.y, wanted, rtol=1e-11, atol=1e-12)
    for part, other in zip(state, final, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-11, atol=1e-12)
    dy, dstate = net.draw(*y.shape), tuple(net.draw(*array.shape) for array in state)
    dfinal = [array.copy() for array in dstate]

    def loss(arrays: list[Array]) -> float:
        outputs, after = net.expected(arrays)
        products = [dy * outputs, *(d * a for d, a in zip(dfinal, after, strict=True))]
        return float(sum(product.sum() for product in products))

    dx, gradients = direction.backward(tape, dy, dstate)
    assert dx is not None
    every = [a for a in (dx, *dstate, *gradients.arrays) if a is not None]
    for place, gradient in enumerate(every):
        arrays = net.arrays()
        way = net.random.standard_normal(gradient.shape)
        step = 1e-6

        def moved(
            by: float, arrays: list[Array] = arrays, place: int = place, way: Array = way
        ) -> float:
            return loss([*arrays[:place], arrays[place] + by * way, *arrays[place + 1 :]])

        slope = (moved(step) - moved(-step)) / (2 * step)
        size = 1 + np.abs(gradient * way).sum()
        assert abs((gradient * way).sum() - slope) <= 1e-7 * size, place


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cell": "rnn_tanh"}, "cell should be one of rnn, lstm, gru, "),
        ({"weight_format": "half"}, "format should be one of float32, float64, "),
        ({"weight_format": "float64"}, "weight_format should go with sums in float32, "),
        (
            {"activations": STANDARD._replace(gate=Activation("swish"))},
            "activation should be one of sigmoid, tanh, ",
        ),
    ],
)
def test_what_is_in_no_table(changed: dict[str, Any], message: str, backend: str) -> None:
    weights = Net("lstm", STANDARD, False).weights.astype(np.dtype("float32"))
    with pytest.raises(ValueError, match=message):
        Prepared(weights._replace(**changed))
