"""Activations of cells: what is asked of the compiled kernels alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gatewise.kernels.activations import ACTIVATIONS, SIGMOID, STANDARD, TANH, activation

Array = np.ndarray[Any, Any]

FUNCTIONS: dict[str, Callable[..., Array]] = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.where(z > 0, z, 0 * np.minimum(z, 0)),
    "linear": lambda z: z,
    "hard_sigmoid": lambda z, slope, offset: np.clip(slope * z + offset, 0, 1),
    "softsign": lambda z: np.where(np.isinf(z), np.sign(z), z / (1 + np.abs(z))),
    "softplus": lambda z: np.logaddexp(0, z),
    "exponential": np.exp,
    "elu": lambda z, alpha: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
    "selu": lambda z: (
        1.0507009873554805
        * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0)))
    ),
    "leaky_relu": lambda z, slope: np.where(z > 0, z, slope * z),
    "thresholded_relu": lambda z, threshold: np.where(z > threshold, z, z - z),
    "scaled_tanh": lambda z, alpha, beta: alpha * np.tanh(beta * z),
    "affine": lambda z, slope, offset: slope * z + offset,
}
NUMBERS = {
    "hard_sigmoid": (0.2, 0.5),
    "elu": (0.7,),
    "leaky_relu": (0.1,),
    "thresholded_relu": (0.375,),
    "scaled_tanh": (1.7, 0.6),
    "affine": (0.8, 0.1),
}
CELLS = ("rnn", "lstm", "lstm peepholes", "lstm projected", "gru", "gru_reset_before")
GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}
ROLES = {
    "rnn": ("candidate",),
    "lstm": ("gate", "candidate", "output"),
    "gru": ("gate", "candidate"),
    "gru_reset_before": ("gate", "candidate"),
}
TIME, BATCH, INPUTS, HIDDEN = 4, 3, 2, 11

every_activation = pytest.mark.parametrize("name", ACTIVATIONS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def spelt(name: str) -> Any:
    return activation("activation", (name, *NUMBERS.get(name, ())))


@np.errstate(all="ignore")
def value(name: str, z: Array) -> Array:
    found = FUNCTIONS[name](z, *NUMBERS.get(name, ()))
    return np.asarray(np.where(np.isnan(z), z, found))


def test_the_functions_here_are_those_of_the_table() -> None:
    assert list(FUNCTIONS) == list(ACTIVATIONS)


class Net:
    """A cell, its weights and inputs, and what it computes in float64."""

    def __init__(self, cell: str, role: str, name: str) -> None:
        self.random = np.random.default_rng(len(cell))
        self.cell, _, variant = cell.partition(" ")
        self.names = {"gate": "sigmoid", "candidate": "tanh", "output": "tanh"}
        self.names[role] = name
        self.activations = STANDARD._replace(**{role: spelt(name)})
        rows, self.outputs = GATES[self.cell] * HIDDEN, HIDDEN
        if variant == "projected":
            self.outputs = 5
        self.w_ih, self.bias = self.draw(rows, INPUTS), self.draw(rows)
        self.w_hh = self.draw(rows, self.outputs)
        self.options = {
            "bias_hn": self.draw(HIDDEN) if self.cell == "gru" else None,
            "w_hr": self.draw(5, HIDDEN) if variant == "projected" else None,
            "peepholes": self.draw(3, HIDDEN) if variant == "peepholes" else None,
        }
        self.x = self.draw(TIME, BATCH, INPUTS)
        self.state = [self.draw(BATCH, self.outputs)]
        if self.cell == "lstm":
            self.state.append(self.draw(BATCH, HIDDEN))
        self.dy = self.draw(TIME, BATCH, self.outputs)
        self.dstate = [self.draw(*array.shape) for array in self.state]

    def draw(self, *shape: int) -> Array:
        # Numbers that are the same ones in float32.
        return (0.2 * self.random.standard_normal(shape)).astype("f4").astype("f8")

    def act(self, role: str, z: Array) -> Array:
        return value(self.names[role], z)

    def expected(self, bias: Array, state: list[Array]) -> tuple[Array, list[Array]]:
        """The outputs and the final state."""
        outputs, (h, *rest) = [], state
        for x in self.x:
            shares = np.split(x @ self.w_ih.T + bias, GATES[self.cell], axis=1)
            sums = [s + h @ w.T for s, w in zip(shares, self.blocks(), strict=True)]
            if self.cell == "rnn":
                h = self.act("candidate", sums[0])
            elif self.cell == "lstm":
                h, rest = self.lstm(sums, rest[0])
            else:
                h = self.gru(shares, sums, h)
            outputs.append(h)
        return np.array(outputs), [h, *rest]

    def blocks(self) -> list[Array]:
        return np.split(self.w_hh, GATES[self.cell])

    def lstm(self, sums: list[Array], c: Array) -> tuple[Array, list[Array]]:
        peepholes, w_hr = self.options["peepholes"], self.options["w_hr"]
        p_i, p_f, p_o = np.zeros((3, HIDDEN)) if peepholes is None else peepholes
        i = self.act("gate", sums[0] + p_i * c)
        f = self.act("gate", sums[1] + p_f * c)
        c = f * c + i * self.act("candidate", sums[2])
        h = self.act("gate", sums[3] + p_o * c) * self.act("output", c)
        return h if w_hr is None else h @ w_hr.T, [c]

    def gru(self, shares: list[Array], sums: list[Array], h: Array) -> Array:
        r, z = self.act("gate", sums[0]), self.act("gate", sums[1])
        if self.cell == "gru":
            hidden = r * (h @ self.blocks()[2].T + self.options["bias_hn"])
        else:
            hidden = (r * h) @ self.blocks()[2].T
        return (1 - z) * self.act("candidate", shares[2] + hidden) + z * h

    def pack(self, kernels: Any, dtype: str) -> Any:
        options = {k: v if v is None else v.astype(dtype) for k, v in self.options.items()}
        return kernels.pack(
            self.cell,
            *[array.astype(dtype) for array in (self.w_ih, self.w_hh, self.bias)],
            **options,
            activations=self.activations,
            weight_format=dtype,
        )

    def train(self, kernels: Any, dtype: str) -> tuple[Array, list[Array], list[Array]]:
        """The outputs, the final state, and the gradients of the bias and the state."""
        packed, state = self.pack(kernels, dtype), self.copies(self.state, dtype)
        y = np.empty((TIME, BATCH, self.outputs), dtype)
        gates, extra = y, None
        if self.cell != "rnn":
            gates = np.empty((TIME, BATCH, GATES[self.cell] * HIDDEN), dtype)
            extra = np.empty((TIME, BATCH, HIDDEN), dtype)
        kernels.forward(packed, gates, state, y, extra, x=self.x.astype(dtype))
        dgates, dextra = np.empty_like(gates), None
        if self.cell == "gru" or self.options["w_hr"] is not None:
            dextra = np.empty_like(y)
        dstate = self.copies(self.dstate, dtype)
        initial, dy = self.copies(self.state, dtype), self.dy.astype(dtype)
        kernels.backward(packed, gates, extra, y, initial, dy, dstate, dgates, dextra)
        return y, list(state), [dgates.sum(axis=(0, 1)), *dstate]

    @staticmethod
    def copies(arrays: list[Array], dtype: str) -> tuple[Array, ...]:
        return tuple(array.astype(dtype) for array in arrays)


@pytest.mark.parametrize("cell", CELLS)
@every_activation
def test_inference_and_training_agree(native: Any, cell: str, name: str) -> None:
    for role in ROLES[cell.split()[0]]:
        net = Net(cell, role, name)
        y, state, _ = net.train(native, "float32")
        inferred, now = np.empty_like(y), net.copies(net.state, "float32")
        native.infer(net.pack(native, "float32"), net.x.astype("f4"), now, inferred)
        for found, expected in zip([inferred, *now], [y, *state], strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("weight_format", ["float16", "int8"])
@every_activation
def test_narrow_weights(native: Any, name: str, weight_format: str) -> None:
    for cell in CELLS:
        net = Net(cell, "candidate", name)
        matrices = [net.w_ih, net.w_hh, net.options["w_hr"]]
        scales: list[Any] = [None, None, None]
        for k, matrix in enumerate(matrices):
            if matrix is None:
                continue
            if weight_format == "int8":
                scales[k] = np.full(len(matrix), 2.0**-6, "f4")
                matrices[k] = np.round(matrix * 2**6).clip(-127, 127).astype("i1")
                wide = matrices[k] * 2.0**-6
            else:
                matrices[k] = matrix.astype("f2")
                wide = matrices[k].astype("f8")
            if k == 2:
                net.options["w_hr"] = wide
            else:
                setattr(net, ("w_ih", "w_hh")[k], wide)
        options = {k: v if v is None else v.astype("f4") for k, v in net.options.items()}
        packed = native.pack(
            net.cell,
            matrices[0],
            matrices[1],
            net.bias.astype("f4"),
            **options | {"w_hr": matrices[2]},
            activations=net.activations,
            weight_format=weight_format,
            scales=tuple(scales),
        )
        y, state = np.empty(net.dy.shape, "f4"), net.copies(net.state, "f4")
        native.infer(packed, net.x.astype("f4"), state, y)
        wanted, _ = net.expected(net.bias, net.state)
        scale = max(1, np.abs(wanted).max())
        # What int8 multiplies is rounded as well, to 15 bits.
        limit = 4e-6 if weight_format == "float16" else 5e-4
        np.testing.assert_allclose(y, wanted, rtol=0, atol=limit * scale)


def at(kernels: Any, name: str, z: Array) -> tuple[Array, Array]:
    """The values and the slopes at z, by an RNN whose sums are its bias."""
    count, dtype = len(z), z.dtype
    packed = kernels.pack(
        "rnn",
        np.zeros((count, 0), dtype),
        np.zeros((count, count), dtype),
        z,
        activations=STANDARD._replace(candidate=spelt(name)),
        weight_format=dtype.name,
    )
    y, h = np.empty((1, 1, count), dtype), np.zeros((1, count), dtype)
    x = np.empty((1, 1, 0), dtype)
    kernels.forward(packed, y, (h.copy(),), y, None, x=x)
    dgates, one = np.empty_like(y), np.ones_like(y)
    zero = np.zeros_like(h)
    kernels.backward(packed, y, None, y, (h,), one, (zero,), dgates, None)
    return y[0, 0], dgates[0, 0]


@every_dtype
def test_exponentials_up_to_the_largest_number(native: Any, dtype: str) -> None:
    info = np.finfo(dtype)
    last, first = float(np.log(info.max)), float(np.log(info.tiny))
    z = np.concatenate(
        [np.linspace(last - 2, last - 1e-4, 50), np.linspace(first + 1e-4, first + 2, 50)]
    )
    found, _ = at(native, "exponential", z.astype(dtype))
    wanted = np.exp(z.astype(dtype).astype("f8"))
    np.testing.assert_allclose(found, wanted, rtol=4 * info.eps)
    beyond = np.array([last + 0.1, last + 1e3, first - 0.1, first - 1e3], dtype)
    np.testing.assert_array_equal(
        at(native, "exponential", beyond)[0], [np.inf] * 2 + [0] * 2
    )


def pack(kernels: Any, cell: str = "rnn", **options: Any) -> Any:
    zeros = np.zeros((12, 3), "f4")
    given = {"activations": STANDARD, "weight_format": "float32"} | options
    return kernels.pack(cell, zeros, zeros, zeros[:, 0].copy(), **given)


def test_unknown_names_are_refused(native: Any) -> None:
    expected = "cell should be one of rnn, lstm, gru, gru_reset_before, got 'rnn_tanh'"
    with pytest.raises(ValueError, match=f"^{expected}$"):
        pack(native, "rnn_tanh")
    expected = (
        "format should be one of float32, float64, float16, bfloat16, to_bfloat16, int8, "
        "int8_8, got 'float8'"
    )
    with pytest.raises(ValueError, match=f"^{expected}$"):
        pack(native, weight_format="float8")
    unknown = SIGMOID._replace(name="swish")
    for role in STANDARD._fields:
        names = ", ".join(ACTIVATIONS)
        expected = f"activation should be one of {names}, got 'swish'"
        with pytest.raises(ValueError, match=f"^{expected}$"):
            pack(native, activations=STANDARD._replace(**{role: unknown}))
    with pytest.raises(ValueError, match="should go with sums in float32, got 'float64'"):
        pack(native, weight_format="float64")
    weights = [np.zeros((12, 3), "f4")] * 3
    with pytest.raises(TypeError, match="activations"):
        native.pack("rnn", *weights, weight_format="float32")
    with pytest.raises(TypeError, match="weight_format"):
        native.pack("rnn", *weights, activations=STANDARD)


def test_the_fast_ones_give_the_same_bits_as_the_others(native: Any) -> None:
    # scaled_tanh with 1 and 1 computes what tanh does, by the other instance of the source.
    slow = TANH._replace(name="scaled_tanh", alpha=1.0, beta=1.0)
    for cell in CELLS:
        net = Net(cell, "candidate", "tanh")
        fast, other = [], []
        for results, candidate in ((fast, TANH), (other, slow)):
            net.activations = STANDARD._replace(candidate=candidate)
            y, state, _ = net.train(native, "float32")
            results += [y, *state]
        for array, same in zip(fast, other, strict=True):
            np.testing.assert_array_equal(array, same)
