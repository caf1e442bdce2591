"""The kernels' stepper: any stages, steps and chunks, rows and tokens, on both backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gatewise.kernels import cells, chooser
from gatewise.kernels.activations import STANDARD, Activation
from gatewise.kernels.resets import Resets
from gatewise.kernels.windows import Windows

Array = NDArray[Any]
RELU = STANDARD._replace(candidate=Activation("relu"))
CELLS = (*cells.CELLS, "rnn_relu")
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
# As many tokens as features: a table has a row for each.
INPUTS = 5


class Net:
    """Stages of random weights, and what they compute, one after another."""

    def __init__(self, kinds: str, dtype: str, batch: int) -> None:
        self.random = np.random.default_rng(len(kinds))
        self.dtype, self.batch = np.dtype(dtype), batch
        self.features, self.table = INPUTS, None
        self.kernels = chooser.kernels
        self.stages: list[tuple[Any, ...]] = []
        for kind in kinds.split():
            self.stages.append(self.stage(*kind.split(":")))
        self.step = self.kernels.stepper(
            self.stages, batch, INPUTS, self.dtype, num_threads=2
        )

    def draw(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(self.dtype)

    def stage(self, kind: str, tokens: str = "") -> tuple[Any, ...]:
        if kind == "table":
            self.table = self.draw(INPUTS, INPUTS)
            return ("table", self.table)
        if kind == "linear":
            w, b = self.draw(7, self.features), self.draw(7)
            self.features = 7
            return ("linear", self.kernels.pack_linear(w, b))
        if kind == "convolution":
            windows = Windows(3, 1, int(tokens or 1), 2 * int(tokens or 1), 0)
            w, b = self.draw(9, 3 * self.features), self.draw(9)
            history = self.draw(self.batch, windows.before, self.features)
            self.features = 9
            return (kind, self.kernels.pack_convolution(w, b, windows), history)
        if kind not in CELLS:
            return (kind,)
        activations = RELU if kind == "rnn_relu" else STANDARD
        kind = kind.removesuffix("_relu")
        hidden, inputs = 11, self.features
        rows = cells.look_up(kind).gates * hidden
        w_ih, w_hh, bias = self.draw(rows, inputs), self.draw(rows, hidden), self.draw(rows)
        w_hh /= 4
        bias_hn = self.draw(hidden) if kind == "gru" else None
        packed = self.kernels.pack(
            kind,
            w_ih,
            w_hh,
            bias,
            bias_hn=bias_hn,
            activations=activations,
            weight_format=self.dtype.name,
        )
        state = tuple(self.draw(self.batch, hidden) for _ in range(1 + (kind == "lstm")))
        self.features = hidden
        start = tuple(self.draw(hidden) for _ in state)
        stage = ("recurrent", packed, state, start)
        if not tokens:
            return stage
        self.table = w_ih.T + bias
        self.w_ih = w_ih
        return (*stage, np.ascontiguousarray(self.table))

    def states(self) -> list[Array]:
        states: list[Array] = []
        for kind, *what in self.stages:
            states += what[1] if kind == "recurrent" else []
            states += what[1:] if kind == "convolution" else []
        return states

    def expected(self, x: Array, anew: Array | None = None) -> Array:
        """The output for rows ``(time, batch, features)`` or tokens; advances states.

        `anew` says which of them start so, ``(time, batch)``.
        """
        kernels = self.kernels
        for kind, *what in self.stages:
            if kind == "table":
                x = what[0][x]
            elif kind == "recurrent":
                y = np.empty((*x.shape[:2], what[1][0].shape[1]), self.dtype)
                resets = None if anew is None else Resets(anew, what[2])
                if x.ndim == 2:
                    kernels.infer_shares(what[0], what[3][x], what[1], y, resets=resets)
                else:
                    kernels.infer(what[0], x, what[1], y, resets=resets)
                x = y
            elif kind == "linear":
                x = kernels.linear(what[0], x)
            elif kind == "convolution":
                steps = np.ascontiguousarray(x.swapaxes(0, 1))
                x = kernels.convolve(what[0], steps, history=what[1]).swapaxes(0, 1)
                longer = np.concatenate([what[1], steps], axis=1)
                what[1][...] = longer[:, steps.shape[1] :]
            else:
                x = np.ascontiguousarray(x)
                flat = x.reshape(-1, x.shape[-1]) if kind == "softmax" else x.reshape(-1)
                out = np.empty_like(flat)
                getattr(kernels, kind)(flat, out)
                x = out.reshape(x.shape)
        return x


NETS = [
    *CELLS,
    *(f"{cell}:tokens" for cell in CELLS),
    "table",
    "linear",
    "relu",
    "softmax",
    "tanh linear sigmoid",
    "table gru lstm linear softmax",
    "lstm gru_reset_before linear relu linear tanh",
    "gru_reset_before:tokens linear softmax sigmoid",
    "convolution",
    "convolution:7 relu",
    "table convolution:3 gru convolution tanh linear convolution:2 softmax",
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kinds", NETS)
def test_steps_and_chunks(kinds: str, batch: int, dtype: str, backend: str) -> None:
    net, twin = Net(kinds, dtype, batch), Net(kinds, dtype, batch)
    # More steps than go through all stages at once.
    for time in (1, 4, 5000 if batch == 1 else 1500):
        inputs: list[Array] = [net.draw(batch, time, INPUTS)]
        if net.table is not None:
            inputs.append(net.random.integers(0, INPUTS, (batch, time)))
        for x in inputs[-1:] if net.stages[0][0] == "table" else inputs:
            wanted = twin.expected(x.swapaxes(0, 1)).swapaxes(0, 1)
            got = net.step(x)
            assert (got.dtype, got.shape) == (dtype, wanted.shape)
            assert got.flags.c_contiguous
            np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE[dtype])
            first = None
            for t in range(min(time, 4)):
                wanted = twin.expected(x[None, :, t])[0]
                y = net.step(x[:, t])
                first = y if first is None else first
                assert y is first
                np.testing.assert_allclose(y, wanted, rtol=0, atol=TOLERANCE[dtype])
                if batch == 1:
                    wanted = twin.expected(x[None, :, t])[0, 0]
                    y = net.step(x[0, t])
                    assert np.shares_memory(y, first)
                    np.testing.assert_allclose(y, wanted, rtol=0, atol=TOLERANCE[dtype])
            for own, other in zip(net.states(), twin.states(), strict=True):
                np.testing.assert_allclose(own, other, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kinds", [n for n in NETS if "convolution" not in n])
def test_sequences_that_start_anew(
    kinds: str, batch: int, dtype: str, backend: str
) -> None:
    net, twin = Net(kinds, dtype, batch), Net(kinds, dtype, batch)
    # More steps than go through all stages at once.
    for time, share in ((0, 0.0), (1, 1.0), (4, 0.0), (4, 0.2), (4500 // batch, 0.2)):
        anew = net.random.random((time, batch)) < share
        x = net.draw(batch, time, INPUTS)
        if net.table is not None:
            x = net.random.integers(0, INPUTS, (batch, time))
        wanted = twin.expected(x.swapaxes(0, 1), anew).swapaxes(0, 1)
        # Of any strides.
        got = net.step(x, anew.T)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE[dtype])
        for t in range(min(time, 4)):
            wanted = twin.expected(x[None, :, t], anew[None, t])[0]
            y = net.step(x[:, t], anew[t])
            np.testing.assert_allclose(y, wanted, rtol=0, atol=TOLERANCE[dtype])
            if batch == 1:
                wanted = twin.expected(x[None, :, t], anew[None, t])[0, 0]
                y = net.step(x[0, t], bool(anew[t]))
                np.testing.assert_allclose(y, wanted, rtol=0, atol=TOLERANCE[dtype])
        for own, other in zip(net.states(), twin.states(), strict=True):
            np.testing.assert_allclose(own, other, rtol=0, atol=TOLERANCE[dtype])


def test_resets_that_do_not_fit_are_left(backend: str) -> None:
    net = Net("lstm linear", "float32", 3)
    before = [state.copy() for state in net.states()]
    step, chunk = net.draw(3, INPUTS), net.draw(3, 2, INPUTS)
    for flags in (
        True,
        np.zeros((), bool),
        np.zeros(2, bool),
        np.zeros((3, 1), bool),
        np.zeros((3, 3), bool),
        np.zeros((1, 3, 2), bool),
        np.zeros((3, 2)),
        np.zeros(3, np.uint8),
        np.zeros(3, object),
        [False] * 3,
        "no",
    ):
        assert net.step(step, flags) is None
        assert net.step(chunk, flags) is None
    assert net.step(step, np.zeros((3, 2), bool)) is None
    assert net.step(chunk, np.zeros(3, bool)) is None
    assert net.step(step.tolist(), np.zeros(3, bool)) is None
    for state, old in zip(net.states(), before, strict=True):
        np.testing.assert_array_equal(state, old)


NETS_OF_ROWS = ["lstm linear", "tanh softmax", "linear", "convolution:2 relu"]


@pytest.mark.parametrize("kinds", NETS_OF_ROWS)
def test_chunks_of_any_strides(kinds: str, backend: str) -> None:
    wide = np.random.default_rng(0).standard_normal((9, 6, 2 * INPUTS)).astype(np.float32)
    rows = wide[:, :, 1 : INPUTS + 1]
    for x in (rows[:3], rows[::-3, ::2], rows[:, 2:5].swapaxes(0, 1), rows[:3, :1]):
        net, twin = Net(kinds, "float32", 3), Net(kinds, "float32", 3)
        np.testing.assert_array_equal(net.step(x), twin.step(x.copy()))


INTEGERS = "bhilqBHILQ"


@pytest.mark.parametrize("kinds", ["table linear", "gru:tokens"])
def test_integers_of_every_kind_are_tokens(kinds: str, backend: str) -> None:
    plain = [3, 0, 4]
    wanted = Net(kinds, "float32", 3).step(np.array(plain)).copy()
    for letter in INTEGERS:
        tokens = np.array(plain, letter)
        for given in (tokens, np.repeat(tokens, 2)[::2], tokens[::-1].copy()[::-1]):
            net = Net(kinds, "float32", 3)
            np.testing.assert_array_equal(net.step(given), wanted)
            chunk = Net(kinds, "float32", 3).step(given[:, None])
            np.testing.assert_array_equal(chunk[:, 0], wanted)
        alone: list[Any] = [3, np.dtype(letter).type(3), np.array(3, letter)]
        outputs = [Net(kinds, "float32", 1).step(token).copy() for token in alone]
        for output in outputs:
            assert output.ndim == 1
            np.testing.assert_array_equal(output, outputs[0])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kinds", ["rnn", "lstm:tokens", "table gru", "convolution"])
def test_it_takes_what_fits_and_leaves_the_rest(
    kinds: str, batch: int, backend: str
) -> None:
    net = Net(kinds, "float32", batch)
    wide, tokens = net.draw(batch, 2 * INPUTS), np.zeros(batch, int)
    own = net.step(wide[:, :INPUTS] if net.table is None else tokens)
    before = [state.copy() for state in net.states()]
    unfit: list[Any] = [
        wide[:, : INPUTS - 1],
        wide[:, ::2],
        wide[:, :0],
        wide[None, None, :, :INPUTS],
        np.zeros((batch + 1, INPUTS), np.float32),
        np.zeros((batch + 1, 2, INPUTS), np.float32),
        np.ones((), np.float32),
        np.zeros(batch, [("byte", "i1"), ("row", "f4", INPUTS)])["row"],
        wide[:, :INPUTS].astype("float64"),
        wide[:, :INPUTS].astype(wide.dtype.newbyteorder()),
        np.zeros((batch, 2, INPUTS), int),
        np.zeros((batch + 1, INPUTS), int),
        np.zeros(batch, bool),
        np.zeros((batch, INPUTS), object),
        np.zeros(batch, "datetime64[s]"),
        wide[:, :INPUTS].tolist(),
        own[:, :INPUTS],
        True,
        1.0,
        None,
    ]
    unfit += [wide[0, : INPUTS - 1], wide[0, ::2]] if batch == 1 else [wide[0, :INPUTS], 3]
    for wrong in (-1, INPUTS, 2**63 - 1, -(2**63)):
        unfit += [wrong, np.int64(wrong), np.array(wrong), np.full(batch, wrong)]
        unfit += [np.array([[0, 0, wrong]] * batch)]
    unfit += [2**64, -(2**64), np.full(batch, 2**64 - 1, np.uint64)]
    unfit += [np.zeros(batch, [("byte", "i1"), ("token", "i4")])["token"]]
    if net.table is None:
        unfit += [3, np.array(3), tokens, tokens[:, None], np.zeros((batch, INPUTS), int)]
    if net.stages[0][0] == "table":
        unfit += [wide[:, :INPUTS], wide[0, :INPUTS], wide[:, None, :INPUTS]]
    for x in unfit:
        assert net.step(x) is None, x
    for state, old in zip(net.states(), before, strict=True):
        np.testing.assert_array_equal(state, old)
