"""Conv1d: values, gradients, lengths, streams, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise import Conv1d, Linear, ReLU, Sequential
from gatewise.kernels import chooser
from tests.layers import convolution_reference as reference
from tests.layers.test_same_bits import assert_same_bits

Array = np.ndarray[Any, Any]
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}


@cache
def figures() -> dict[str, Array]:
    with np.load(Path(__file__).parents[1] / "data" / reference.FIGURES) as stored:
        return dict(stored)


def results(case: reference.Case, dtype: str) -> dict[str, Array]:
    """The output, and the gradients of half the sum of its squares."""
    layer, x = case.layer(dtype), case.draw()["x"]
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(layer(x), y)
    dx, gradients = layer.backward(tape, y)
    return {"y": y, "dx": dx, **gradients}


def assert_figures(case: reference.Case, dtype: str, wanted: dict[str, Array]) -> None:
    found = results(case, dtype)
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        assert (array.dtype, array.shape) == (dtype, wanted[name].shape)
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", reference.CASES, ids=lambda case: case.name)
def test_pytorchs_stored_figures(case: reference.Case, dtype: str, backend: str) -> None:
    prefix = f"{case.name}: "
    wanted = {
        name.removeprefix(prefix): array
        for name, array in figures().items()
        if name.startswith(prefix)
    }
    assert_figures(case, dtype, wanted)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", reference.CASES, ids=lambda case: case.name)
def test_pytorch_itself(case: reference.Case, backend: str) -> None:
    torch = pytest.importorskip("torch")
    assert_figures(case, "float64", reference.torch_results(case))
    layer = torch.nn.Conv1d(*case.channels, case.kernel_size, **case.options)
    own = case.layer("float32")
    own.load_state_dict(layer.state_dict())
    assert {name: array.shape for name, array in own.parameters().items()} == {
        name: tuple(value.shape) for name, value in layer.named_parameters()
    }


def test_causal_padding_is_before_the_first_step(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 9, 3))
    causal = Conv1d(3, 4, 3, stride=2, padding="causal", dilation=2, dtype="float64")
    plain = Conv1d(3, 4, 3, stride=2, dilation=2, dtype="float64")
    plain.load_state_dict(causal.state_dict())
    padded = np.concatenate([np.zeros((2, 4, 3)), x], axis=1)
    np.testing.assert_allclose(causal(x), plain(padded), rtol=0, atol=1e-14)


def test_first_values_are_within_pytorchs_bound() -> None:
    layer = Conv1d(5, 40, 7, seed=0)
    for array in layer.parameters().values():
        assert 0.8 / np.sqrt(35) < np.abs(array).max() <= np.float32(1 / np.sqrt(35))
    twin, other = Conv1d(5, 40, 7, seed=0), Conv1d(5, 40, 7, seed=1)
    x = np.ones((7, 5))
    assert (layer(x) == twin(x)).all()
    assert not (layer(x) == other(x)).any()


LENGTHS = np.array([14, 5, 0, 13, 3, 7])


def ragged_net(padding: int | str, dtype: str) -> tuple[Sequential, Array]:
    """A net whose layers after the first have other lengths, and sequences for it."""
    stride = 1 if padding == "same" else 2
    own: dict[str, Any] = {"dtype": dtype, "seed": 0}
    model = Sequential(
        Conv1d(3, 4, 3, stride=stride, padding=padding, **own),
        ReLU(),
        Sequential(gatewise.GRU(4, 5, bidirectional=True, **own), Linear(10, 5, **own)),
        Conv1d(5, 2, 2, padding=2, dilation=2, **own),
    )
    x = np.random.default_rng(0).standard_normal((6, 14, 3)).astype(dtype)
    for sequence, length in zip(x, LENGTHS, strict=True):
        sequence[length:] = np.nan
    return model, x


@pytest.mark.parametrize("padding", [0, 1, 3, "same", "causal"])
def test_a_sequence_with_a_length_is_as_alone(padding: int | str, backend: str) -> None:
    model, x = ragged_net(padding, "float64")
    y, _ = model(x, lengths=LENGTHS)
    trained, _, tape = model.forward(x, lengths=LENGTHS)
    np.testing.assert_allclose(trained, y, rtol=0, atol=1e-12)
    dx, _, gradients = model.backward(tape, np.where(trained == 0, np.nan, trained))
    sums = {name: np.zeros_like(array) for name, array in gradients.items()}
    for s, length in enumerate(LENGTHS):
        assert not dx[s, length:].any()
        if length == 0:
            assert not y[s].any()
            continue
        alone, _ = model(x[s : s + 1, :length])
        count = alone.shape[1]
        np.testing.assert_allclose(y[s, :count], alone[0], rtol=0, atol=1e-12)
        assert not y[s, count:].any()
        again, _, own = model.forward(x[s : s + 1, :length])
        dalone, _, found = model.backward(own, again)
        np.testing.assert_allclose(dx[s, :length], dalone[0], rtol=0, atol=1e-11)
        for name, gradient in found.items():
            sums[name] += gradient
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, sums[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients_are_those_of_finite_differences(
    lengths: Array | None, backend: str
) -> None:
    model, x = ragged_net(1, "float64")
    x = np.nan_to_num(x)
    random = np.random.default_rng(1)
    y, _, tape = model.forward(x, lengths=lengths)
    dy = random.standard_normal(y.shape)
    dx, _, gradients = model.backward(tape, dy)

    def loss(values: Array) -> float:
        return float((model(values, lengths=lengths)[0] * dy).sum())

    for _ in range(4):
        direction = random.standard_normal(x.shape)
        difference = loss(x + 1e-5 * direction) - loss(x - 1e-5 * direction)
        assert abs(difference / 2e-5 - (dx * direction).sum()) < 1e-6
    for name, value in model.state_dict().items():
        direction = random.standard_normal(value.shape)
        losses = []
        for sign in (1, -1):
            model.set_parameters({name: value + sign * 1e-5 * direction})
            losses.append(loss(x))
        model.set_parameters({name: value})
        slope = (losses[0] - losses[1]) / 2e-5
        assert abs(slope - (gradients[name] * direction).sum()) < 1e-6, name


def causal(*sizes: int, **options: Any) -> Conv1d:
    return Conv1d(*sizes, padding="causal", seed=0, **options)


NETS = {
    "alone": lambda: causal(3, 5, 3),
    "dilated": lambda: causal(3, 70, 3, dilation=4),
    "with a stride": lambda: causal(3, 5, 4, stride=2, dilation=3),
    "each step alone": lambda: Conv1d(3, 2, 1, seed=0),
    "some steps alone": lambda: Conv1d(3, 2, 1, stride=3, seed=0),
    "net": lambda: Sequential(
        causal(3, 70, 3),
        ReLU(),
        Sequential(causal(70, 20, 2, dilation=7), gatewise.GRU(20, 6, seed=2)),
        causal(6, 5, 5),
        gatewise.Tanh(),
        Linear(5, 2, seed=1),
    ),
    "net with strides": lambda: Sequential(
        causal(3, 140, 3, stride=3),
        gatewise.Dropout(0.5),
        causal(140, 20, 2, stride=2, dilation=7),
        gatewise.LSTM(20, 6, seed=2),
        causal(6, 5, 5),
        gatewise.Softmax(),
    ),
}
# Their streams do not come to the kernels' stepper.
MIXED = {
    "two dtypes": lambda: Sequential(causal(3, 5, 3), causal(5, 4, 2, dtype="float64")),
    "zoneout": lambda: Sequential(
        causal(3, 5, 3, stride=2), gatewise.GRU(5, 4, zoneout=0.1, seed=0)
    ),
}


def called(model: Any, x: Array, **options: Any) -> Array:
    found = model(x, **options)
    y: Array = found[0] if isinstance(found, tuple) else found
    return y


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("name", [*NETS, *MIXED])
def test_streamed_is_as_whole(name: str, batch: int, backend: str) -> None:
    model: Any = (NETS | MIXED)[name]()
    x = np.random.default_rng(0).standard_normal((batch, 24, 3)).astype("float32")
    multiple = model._steps_for_one()
    whole = called(model, x)
    for chunk in (multiple, 2 * multiple, 24):
        stream = model.stream(batch)
        parts = [stream(x[:, first : first + chunk]) for first in range(0, 24, chunk)]
        found = np.concatenate(parts, axis=1)
        np.testing.assert_allclose(found, whole, rtol=0, atol=2e-6)
        if backend == "native" and name in NETS:
            assert_same_bits([found], [whole], f"{chunk} steps at once")
    # In the order of time, as a step after another comes from a recorder.
    stream = model.stream(batch)
    rows = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    np.testing.assert_allclose(stream(rows), whole, rtol=0, atol=2e-6)
    if multiple > 1:
        return
    stream = model.stream(batch)
    found = np.stack([stream(x[:, t]).copy() for t in range(24)], axis=1)
    np.testing.assert_allclose(found, whole, rtol=0, atol=2e-6)
    if backend == "native" and name in NETS:
        assert_same_bits([found], [whole], "step by step")


@pytest.mark.usefixtures("own_products")
@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("padding", [0, 2, "same", "causal"])
def test_the_same_bits_in_any_company(padding: Any, dtype: str, backend: str) -> None:
    random = np.random.default_rng(0)
    for features, outputs, kernel, dilation in (
        (3, 2, 5, 1),
        (70, 140, 3, 2),
        (9, 33, 2, 1),
    ):
        own: dict[str, Any] = {"dtype": dtype, "seed": 0}
        layer = Conv1d(features, outputs, kernel, 1, padding, dilation, **own)
        x = random.standard_normal((9, 30, features)).astype(dtype)
        alone = [layer(sequence, num_threads=1) for sequence in x]
        chained = Sequential(layer, gatewise.Dropout())
        lengths = random.integers(0, 31, 9)
        for threads in (1, 2, 3):
            for batch in (1, 2, 9):
                wanted = np.stack(alone[:batch])
                found = layer(x[:batch], num_threads=threads)
                assert_same_bits([found], [wanted], f"{batch} on {threads} threads")
                found = chained(x[:batch], num_threads=threads)[0]
                assert_same_bits([found], [wanted], f"{batch} in a net")
            y, _ = layer.forward(x, num_threads=threads)
            assert_same_bits([y], [np.stack(alone)], "in training")
            least = layer._windows.span - layer._windows.before - layer._windows.after
            ragged = Sequential(layer)(x, lengths=lengths, num_threads=threads)[0]
            for y, sequence, length in zip(ragged, x, lengths, strict=True):
                if length >= max(least, 1):
                    wanted = layer(sequence[:length], num_threads=1)
                    assert_same_bits([y[: len(wanted)]], [wanted], f"{length} steps")


def test_the_state_of_a_stream_is_its_history(backend: str) -> None:
    layer = causal(2, 3, 3, dilation=2)
    x = np.random.default_rng(0).standard_normal((2, 9, 2)).astype("float32")
    stream = layer.stream(2)
    assert stream.state.shape == (2, 4, 2)
    assert not stream.state.any()
    first = stream(x[:, 0]).copy()
    stream(x[:, 1:7])
    state = stream.state
    np.testing.assert_array_equal(state, x[:, 3:7])
    twins = [stream.copy(), copy.copy(stream), pickle.loads(pickle.dumps(stream))]
    after = stream(x[:, 7]).copy()
    for twin in twins:
        np.testing.assert_array_equal(twin(x[:, 7]), after)
    np.testing.assert_array_equal(stream.state, x[:, 4:8])
    stream.reset(state)
    np.testing.assert_array_equal(stream(x[:, 7]), after)
    stream.reset()
    np.testing.assert_array_equal(stream(x[:, 0]), first)
    alone = layer.stream()
    alone.reset(state[0])
    np.testing.assert_allclose(alone(x[0, 7]), after[0], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"^state should have shape \(2, 4, 2\), got "):
        stream.reset(state[:, 1:])


def test_a_net_has_histories_in_streams_alone(backend: str) -> None:
    model = Sequential(causal(2, 3, 3), gatewise.GRU(3, 4, seed=0))
    x = np.random.default_rng(0).standard_normal((2, 6, 2)).astype("float32")
    _, state = model(x)
    assert state[0] is None
    stream = model.stream(2)
    stream(x)
    np.testing.assert_array_equal(stream.state[0], x[:, 4:])
    np.testing.assert_allclose(stream.state[1], state[1], rtol=0, atol=1e-6)
    stream.reset(state)
    assert not stream.state[0].any()
    for call in (model, model.forward):
        with pytest.raises(
            ValueError, match=r"^state\[0\] should be None, since a call of "
        ):
            call(x, stream.state)


def test_what_cannot_stream_says_why(backend: str) -> None:
    reason = "^a Conv1d cannot stream unless its padding is 'causal', or its kernel_size 1 "
    for layer in (Conv1d(2, 2, 3), Conv1d(2, 2, 3, padding=1), Conv1d(2, 2, 1, padding=1)):
        with pytest.raises(ValueError, match=reason):
            layer.stream()
    with pytest.raises(
        ValueError, match=reason + r".*; got layers\[1\], Conv1d\(2, 2, 2\)"
    ):
        Sequential(Linear(2, 2), Conv1d(2, 2, 2)).stream()
    for model in (Conv1d(2, 2, 1, stride=3), Sequential(causal(2, 2, 2, stride=3), ReLU())):
        stream = model.stream()
        stream(np.ones((1, 3, 2), np.float32))
        state = stream.state
        for x in (
            np.ones(2),
            np.ones((1, 2)),
            np.ones((1, 4, 2)),
            np.ones((1, 2, 2), "f4"),
        ):
            with pytest.raises(
                ValueError, match=r"^x should have a multiple of 3 steps, as"
            ):
                stream(x)
        found, before = (
            each if type(each) is tuple else (each,) for each in (stream.state, state)
        )
        np.testing.assert_array_equal(found[0], before[0])
        assert stream(np.ones((1, 0, 2), np.float32)).shape == (1, 0, 2)


@pytest.mark.parametrize("chunk", [1, 6])
def test_a_stream_goes_back_if_a_later_layer_fails(
    chunk: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "native":
        pytest.skip("nothing of Python's comes between the layers")
    model = Sequential(causal(2, 3, 3), ReLU(), Linear(3, 2, seed=0))
    x = np.random.default_rng(0).standard_normal((1, 12, 2)).astype("float32")
    stream = model.stream()
    stream(x[:, :3])
    before, twin = stream.state[0], stream.copy()
    with monkeypatch.context() as patch:

        def fail(*arguments: Any, **options: Any) -> None:
            raise MemoryError

        # The package has a function of this name.
        patch.setattr(sys.modules["gatewise.kernels.numpy.stepper"], "linear", fail)
        with pytest.raises(MemoryError):
            stream(x[:, 3 : 3 + chunk])
    np.testing.assert_array_equal(stream.state[0], before)
    np.testing.assert_array_equal(stream(x[:, 3:9]), twin(x[:, 3:9]))


def test_inputs_of_other_kinds_are_converted(backend: str) -> None:
    layer = Conv1d(2, 3, 2, stride=2, seed=0)
    x = np.random.default_rng(0).integers(-9, 9, (2, 6, 2))
    y = layer(x.astype("float32"))
    for given in (x, x.tolist(), x.astype(">f8"), np.repeat(x, 2, axis=2)[:, :, ::2]):
        np.testing.assert_array_equal(layer(given), y)
    y64 = Sequential(layer, Linear(3, 2, dtype="float64", seed=0))(x)[0]
    assert y64.dtype == "float64"


def test_a_batch_of_none_and_no_steps(backend: str) -> None:
    layer = Conv1d(2, 3, 2)
    assert layer(np.ones((0, 5, 2))).shape == (0, 4, 3)
    y, tape = layer.forward(np.ones((0, 5, 2)))
    dx, gradients = layer.backward(tape, y)
    assert dx.shape == (0, 5, 2)
    assert not gradients["weight"].any()
    for padding, count in (("causal", 0), (1, 0)):
        assert Conv1d(2, 3, 2, padding=padding)(np.ones((4, 0, 2))).shape == (4, count, 3)


def test_it_is_what_it_was_made_as(backend: str) -> None:
    layer = Conv1d(2, 3, 4, stride=2, padding="causal", dilation=3, bias=False)
    shown = "Conv1d(2, 3, 4, stride=2, padding='causal', dilation=3, bias=False)"
    assert repr(layer) == f"{shown} with 24 parameters"
    assert repr(Conv1d(2, 3, 1, dtype="float64")).startswith("Conv1d(2, 3, 1, dtype=")
    x = np.ones((2, 8, 2))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin(x), layer(x))
    with pytest.raises(AttributeError, match=r"^stride is fixed once a Conv1d is made"):
        layer.stride = 1
    net = Sequential(causal(2, 3, 2), gatewise.GRU(3, 2, seed=0)).quantize("int8")
    assert net(x)[0].shape == (2, 8, 2)
    with pytest.raises(
        ValueError, match=r"^layers\[1\], Conv1d\(3, 2, 1\), should take the 4 "
    ):
        Sequential(Conv1d(2, 4, 1), Conv1d(3, 2, 1))


def test_changed_parameters_take_effect(backend: str) -> None:
    layer = causal(2, 3, 2)
    x = np.ones((1, 4, 2), np.float32)
    model, stream = Sequential(layer, ReLU()), layer.stream()
    _, tape = layer.forward(x)
    for value in (1, 2):
        layer.set_parameters({"weight": np.zeros((3, 2, 2)), "bias": np.full(3, value)})
        assert (layer(x) == value).all()
        assert (model(x)[0] == value).all()
        assert (stream(x[:, 0]) == value).all()
    with pytest.raises(
        RuntimeError, match=r"^tape should be used before parameters change"
    ):
        layer.backward(tape, np.ones((1, 4, 3)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 1, 1), ValueError, "in_channels should be at least 1, got 0"),
        ((1, 0, 1), ValueError, "out_channels should be at least 1, got 0"),
        ((1, 1, 1.5), TypeError, "kernel_size should be an integer, got 1.5 of type float"),
        ((1, 1, 1, 0), ValueError, "stride should be at least 1, got 0"),
        ((1, 1, 1, 1, -1), ValueError, "padding should be at least 0, got -1"),
        (
            (1, 1, 1, 1, "valid"),
            ValueError,
            "padding should be an integer, 'same' or 'causal', got 'valid'",
        ),
        (
            (1, 1, 3, 2, "same"),
            ValueError,
            "padding should be an integer or 'causal' for a stride of more than 1, "
            "got 'same' for a stride of 2",
        ),
        ((1, 1, 1, 1, 0, 0), ValueError, "dilation should be at least 1, got 0"),
        (
            (1, 1, 3, 1, 0, 2**30),
            ValueError,
            "dilation * (kernel_size - 1) should be at most 2147483647, got 2147483648",
        ),
    ],
)
def test_what_no_layer_has(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        Conv1d(*arguments)
    assert str(caught.value) == message


def test_what_a_call_refuses(backend: str) -> None:
    layer = Conv1d(3, 2, 4, padding=1)
    for wrong in (np.ones(3), np.ones((2, 4)), np.ones((1, 2, 9, 3)), np.float32(1)):
        with pytest.raises(
            ValueError, match=r"^x should have shape \(batch, time, 3\) or "
        ):
            layer(wrong)
    message = r"^x should have at least 2 steps for a window of 4, got 1$"
    for few in (np.ones((5, 1, 3)), np.ones((1, 3), np.float32)):
        with pytest.raises(ValueError, match=message):
            layer(few)
        with pytest.raises(ValueError, match=message):
            Sequential(layer, ReLU())(few)
    with pytest.raises(TypeError, match=r"^x should hold real numbers"):
        layer(np.ones((4, 3), complex))
    with pytest.raises(ValueError, match=r"^num_threads should be at least 1, got 0$"):
        layer(np.ones((4, 3)), num_threads=0)
    y, tape = layer.forward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match=r"^dy should have shape \(2, 4, 2\), got "):
        layer.backward(tape, y[:, 1:])
    with pytest.raises(TypeError, match=r"^tape should be what Conv1d\.forward returned"):
        layer.backward(None, y)  # type: ignore[arg-type]
    net = Sequential(layer)
    with pytest.raises(
        ValueError, match=r"^lengths should be None for an x without a batch"
    ):
        net(np.ones((5, 3)), lengths=[5])
    with pytest.raises(ValueError, match=r"^lengths should be from 0 to 5, the time steps"):
        net(np.ones((1, 5, 3)), lengths=[6])


@pytest.mark.usefixtures("both_backends")
def test_both_backends_compute_alike() -> None:
    x = np.random.default_rng(0).standard_normal((3, 40, 20)).astype("float32")
    layer = Conv1d(20, 50, 5, 2, 3, 2, seed=0)
    found = []
    for name in ("numpy", "native"):
        with chooser.use(name):
            y, tape = layer.forward(x)
            found.append([y, *layer.backward(tape, y)[1].values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(one).max())
