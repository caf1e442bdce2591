"""Changes of parameters and options: in one step, checked, and seen at once."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.layers import parameters
from tests.stress_parameters import check_interrupts, gradients, models, outputs, race

X = np.float32(np.random.default_rng(0).standard_normal((2, 4, 3)))
MODELS = list(models())


def outputs_after_change(model: Any) -> None:
    model.set_parameters(model.state_dict())
    outputs(model)


@pytest.mark.parametrize("name", MODELS)
def test_an_interrupt_anywhere_leaves_the_old_or_the_new(
    name: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What an exception at the wrong instruction leaves behind heals after some seconds.
    monkeypatch.setattr(parameters, "_PATIENCE", 0.01)
    for function, least in (("change", 50), ("_write", 20), ("set_parameters", 5)):
        done, wrong = check_interrupts(models()[name], itertools.count(), function)
        assert done >= least
        assert wrong == 0
        other = threading.Thread(target=outputs_after_change, args=(models()[name],))
        other.start()
        other.join(30)
        assert not other.is_alive()


@pytest.mark.parametrize("run", [outputs, gradients])
@pytest.mark.parametrize("name", MODELS)
def test_a_call_has_the_parameters_of_one_moment(
    name: str, run: Callable[[Any], Any], backend: str
) -> None:
    assert race(models()[name], run, 400, 2) == 0


def test_two_threads_change_different_parameters() -> None:
    layer = gatewise.LSTM(3, 5, seed=0)

    def change(name: str) -> None:
        for number in range(200):
            layer.set_parameters({name: np.full(20, number)})

    names = ("bias_ih_l0", "bias_hh_l0")
    threads = [threading.Thread(target=change, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        assert (layer.parameters()[name] == 199).all()


def test_old_arrays_are_let_go() -> None:
    layer = gatewise.GRU(3, 5, seed=0)
    old = layer._snapshot()
    layer.set_parameters({"bias_ih_l0": np.ones(15)})
    values = layer._holder.values
    assert values.before is values.after is not old
    # What was not changed is the same array.
    arrays = layer._snapshot().arrays
    assert arrays["weight_ih_l0"] is old.arrays["weight_ih_l0"]


OPTIONS: list[tuple[Callable[[], Any], str, tuple[Any, ...], type[Exception]]] = [
    (lambda: gatewise.GRU(3, 5), "dropout", (5, 1.0, -0.1, np.nan), ValueError),
    (lambda: gatewise.GRU(3, 5), "recurrent_dropout", (1, np.inf), ValueError),
    (lambda: gatewise.RNN(3, 5), "zoneout", (1.5, -1), ValueError),
    (lambda: gatewise.LSTM(3, 5), "cell_zoneout", (1.0,), ValueError),
    (lambda: gatewise.Dropout(), "p", (1, 2.0, -1), ValueError),
    (lambda: gatewise.Dropout(), "p", ("x", None), TypeError),
    (lambda: gatewise.LSTM(3, 5), "cell_zoneout", ([0.1],), TypeError),
    (lambda: gatewise.GRU(3, 5), "variational", ("yes", 1), TypeError),
    (lambda: gatewise.GRU(3, 5), "generator", (3, np.random), TypeError),
]


@pytest.mark.parametrize(("make", "name", "values", "error"), OPTIONS)
def test_options_are_checked_when_set(
    make: Callable[[], Any], name: str, values: tuple[Any, ...], error: type[Exception]
) -> None:
    layer = make()
    before = getattr(layer, name)
    for value in values:
        with pytest.raises(error, match=rf"^{name} should be "):
            setattr(layer, name, value)
        assert getattr(layer, name) is before
    setattr(layer, name, before)


def test_a_tape_keeps_the_dropout_that_it_was_made_with(backend: str) -> None:
    for layer in (
        gatewise.Dropout(0.5, seed=0),
        gatewise.GRU(3, 5, 2, dropout=0.5, seed=0),
        gatewise.GRU(3, 5, 2, recurrent_dropout=0.5, zoneout=0.2, seed=0),
        gatewise.Sequential(gatewise.Dropout(0.5, seed=0), gatewise.GRU(3, 5, seed=0)),
    ):
        first = layer.layers[0] if isinstance(layer, gatewise.Sequential) else layer
        y, *_, tape = layer.forward(X)
        expected = layer.backward(tape, np.ones_like(y))
        for name in {"p", "dropout", "recurrent_dropout", "zoneout"} & set(dir(first)):
            setattr(first, name, 0.9)
        found = layer.backward(tape, np.ones_like(y))
        np.testing.assert_array_equal(found[0], expected[0])
        for name, gradient in found[-1].items():
            np.testing.assert_array_equal(gradient, expected[-1][name])


def test_tokens_may_change_after_forward(backend: str) -> None:
    layers: list[Any] = [
        gatewise.Embedding(7, 3, seed=0),
        gatewise.GRU(7, 3, tokens=True, seed=0),
        gatewise.LSTM(7, 3, 2, tokens=True, bidirectional=True, zoneout=0.1, seed=0),
    ]
    for layer in layers:
        for lengths in ({}, {"lengths": [3, 1]}):
            if lengths and isinstance(layer, gatewise.Embedding):
                continue
            tokens = np.array([[1, 2, 6], [0, 3, 5]])
            y, *_, tape = layer.forward(tokens, **lengths)
            expected = layer.backward(tape, np.ones_like(y))[-1]
            for wrong in (10**9, -1, -(2**62)):
                tokens[...] = wrong
                found = layer.backward(tape, np.ones_like(y))[-1]
                for name, gradient in found.items():
                    np.testing.assert_array_equal(gradient, expected[name])


def test_tokens_need_not_be_aligned(backend: str) -> None:
    memory = bytearray(8 * 6 + 1)
    tokens = np.frombuffer(memory, np.int64, count=6, offset=1).reshape(2, 3)
    tokens[...] = [[1, 2, 6], [0, 3, 5]]
    assert not tokens.flags.aligned
    for layer in (
        gatewise.Embedding(7, 3, seed=0),
        gatewise.GRU(7, 3, tokens=True, seed=0),
    ):
        results = []
        for given in (tokens, tokens.copy(), tokens.astype(">i2"), tokens.astype(np.uint8)):
            y, *_, tape = layer.forward(given)
            results.append([y, *layer.backward(tape, np.ones_like(y))[-1].values()])
        for other in results[1:]:
            for array, wanted in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(array, wanted)


def test_the_shape_of_the_input_may_change_after_forward(backend: str) -> None:
    layer = gatewise.Linear(3, 2, seed=0)
    x = np.ones((4, 3), np.float32)
    y, tape = layer.forward(x)
    expected = layer.backward(tape, np.ones_like(y))[1]["weight"]
    x.resize((2, 6), refcheck=False)
    np.testing.assert_array_equal(
        layer.backward(tape, np.ones_like(y))[1]["weight"], expected
    )


def test_integers_are_numbers_unless_tokens_are_asked_for(backend: str) -> None:
    numbers = np.array([[1, 0, 2], [3, 1, 1]])
    for kind in (gatewise.RNN, gatewise.GRU, gatewise.LSTM):
        layer = kind(3, 4, seed=0)
        np.testing.assert_array_equal(layer(numbers)[0], layer(numbers * 1.0)[0])
        with pytest.raises(ValueError, match=r"got \(2, 2\); integers are tokens for a la"):
            layer(numbers[:, :2])
        with pytest.raises(TypeError, match="tokens should be True or False, got 1"):
            kind(3, 4, tokens=1)
        reader = kind(3, 4, tokens=True, seed=0)
        assert "tokens=True" in repr(reader)
        one_hot = np.eye(3, dtype=np.float32)[numbers % 3]
        np.testing.assert_allclose(
            reader(numbers % 3)[0], layer(one_hot)[0], rtol=0, atol=1e-6
        )
        # Rows are rows for it too.
        np.testing.assert_array_equal(reader(one_hot)[0], layer(one_hot)[0])


class Tensor:
    """As much of another library's parameter as matters: NumPy may not read it as it is."""

    def __init__(self, value: np.ndarray, dtype: str, grad: bool) -> None:
        self.value, self.dtype, self.grad = value, dtype, grad

    def detach(self) -> Tensor:
        return Tensor(self.value, self.dtype, False)

    def float(self) -> Tensor:
        return Tensor(self.value, "torch.float32", self.grad)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if self.grad or self.dtype == "torch.bfloat16":
            raise RuntimeError("Can't call numpy() on this")
        return self.value


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
def test_parameters_of_other_libraries_are_taken_as_they_are(dtype: str) -> None:
    layer = gatewise.Linear(3, 2, seed=0)
    values = {name: value + 1 for name, value in layer.state_dict().items()}
    tensors: Any = {name: Tensor(value, dtype, True) for name, value in values.items()}
    for load in (layer.load_state_dict, layer.set_parameters):
        layer.set_parameters({name: np.zeros_like(v) for name, v in values.items()})
        load(tensors)
        for name, value in layer.parameters().items():
            np.testing.assert_array_equal(value, values[name])


def test_real_parameters_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = torch.nn.LSTM(3, 5).bfloat16()
    layer = gatewise.LSTM(3, 5)
    layer.load_state_dict(dict(theirs.named_parameters()))
    for name, value in theirs.float().state_dict().items():
        np.testing.assert_array_equal(layer.parameters()[name], value.numpy())


def test_what_a_state_dict_did_not_have_is_returned() -> None:
    layer = gatewise.GRU(3, 5, seed=0)
    keys = layer.load_state_dict({"bias_ih_l0": np.ones(15), "w": 1}, strict=False)
    assert keys.missing_keys == ["weight_ih_l0", "weight_hh_l0", "bias_hh_l0"]
    assert keys.unexpected_keys == ["w"]
    assert layer.load_state_dict(layer.state_dict()) == ([], [])
    assert gatewise.Dropout().load_state_dict({}, strict=False) == ([], [])


def test_a_state_dict_of_which_nothing_fits_is_an_error() -> None:
    layer = gatewise.GRU(3, 5, seed=0)
    before = layer.state_dict()
    prefixed = {f"rnn.{name}": np.zeros_like(value) for name, value in before.items()}
    prefixed["head.weight"] = np.zeros((2, 5))
    with pytest.raises(
        ValueError, match=r"prefix='rnn\.' would find all of them$"
    ) as raised:
        layer.load_state_dict(prefixed, strict=False)
    assert str(raised.value) == (
        "state_dict should have parameters of this GRU, such as weight_ih_l0, got "
        "rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, ...; prefix='rnn.' would find "
        "all of them"
    )
    with pytest.raises(
        ValueError, match=r"missing weight_ih_l0, .*; prefix='rnn\.' would fi"
    ):
        layer.load_state_dict(prefixed)
    with pytest.raises(ValueError, match=r"such as weight_ih_l0, got none$"):
        layer.load_state_dict({}, strict=False)
    with pytest.raises(ValueError, match=r"missing weight_ih_l0, .*, bias_hh_l0$"):
        layer.load_state_dict(prefixed, prefix="other.")
    with pytest.raises(TypeError, match="prefix should be a string, got int"):
        layer.load_state_dict(prefixed, prefix=3)  # type: ignore[arg-type]
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert layer.load_state_dict(prefixed, prefix="rnn.") == ([], [])
    assert not any(value.any() for value in layer.parameters().values())


def test_a_layer_that_does_not_fit_the_one_before_is_named() -> None:
    embedding, gru = gatewise.Embedding(9, 4), gatewise.GRU(4, 8, bidirectional=True)
    with pytest.raises(ValueError, match="features that") as raised:
        gatewise.Sequential(embedding, gru, gatewise.Dropout(), gatewise.Linear(8, 3))
    assert str(raised.value) == (
        "layers[3], Linear(8, 3), should take the 16 features that layers[1], GRU(4, 8, "
        "bidirectional=True), gives, got one that takes 8"
    )
    with pytest.raises(
        ValueError, match=r"layers\[1\], Embedding.* got one that takes tok"
    ):
        gatewise.Sequential(gatewise.Linear(3, 4), embedding)
    inner = gatewise.Sequential(gatewise.Dropout(), gru)
    with pytest.raises(ValueError, match=r"layers\[1\], Sequential\(.*takes 4$"):
        gatewise.Sequential(gatewise.Linear(4, 3), inner)
    with pytest.raises(ValueError, match=r"layers\[1\], Linear.*the 16 features.*takes 8$"):
        gatewise.Sequential(inner, gatewise.Linear(8, 1))
    gatewise.Sequential(embedding, inner, gatewise.Linear(16, 1))


def test_the_dtype_of_a_stack_is_that_of_its_outputs() -> None:
    double = gatewise.Linear(3, 4, dtype="float64")
    single = gatewise.Linear(4, 4)
    models = [
        (double, gatewise.Dropout()),
        (double, gatewise.Sequential(gatewise.Dropout(), gatewise.Dropout())),
        (gatewise.Sequential(double, gatewise.Dropout()), gatewise.Dropout()),
        (double, single, gatewise.Dropout()),
        (single,),
    ]
    for layers in models:
        model = gatewise.Sequential(*layers)
        x = np.zeros((2, 4 if layers == (single,) else 3), model.dtype)
        assert model.dtype == model(x)[0].dtype


def test_a_layer_in_two_places_learns_from_both(backend: str) -> None:
    layer = gatewise.Linear(3, 3, seed=0, dtype="float64")
    model = gatewise.Sequential(layer, gatewise.Sequential(layer, gatewise.Dropout(0.0)))
    assert list(model.parameters()) == ["0.weight", "0.bias"]
    assert model.parameter_count == 12
    x = X.astype(np.float64)
    y, _, tape = model.forward(x)
    _, _, found = model.backward(tape, y)
    assert list(found) == ["0.weight", "0.bias"]

    def loss(weight: np.ndarray) -> float:
        model.set_parameters({"0.weight": weight})
        return 0.5 * float((model(x)[0] ** 2).sum())

    weight = model.state_dict()["0.weight"]
    direction = np.random.default_rng(1).standard_normal(weight.shape)
    slope = (loss(weight + 1e-6 * direction) - loss(weight - 1e-6 * direction)) / 2e-6
    assert (found["0.weight"] * direction).sum() == pytest.approx(slope, rel=1e-7)

    # PyTorch's files have both names.
    both = {
        f"{place}.{name}": value
        for name, value in layer.state_dict().items()
        for place in ("0", "1.0")
    }
    assert model.load_state_dict(both) == ([], [])
    both["1.0.bias"] = both["1.0.bias"] + 1
    with pytest.raises(ValueError, match=r"1\.0\.bias should be equal to 0\.bias"):
        model.load_state_dict(both)
    for twin in (copy.copy(model), pickle.loads(pickle.dumps(model))):
        twin.set_parameters({"0.weight": np.zeros((3, 3))})
        assert twin.layers[0] is twin.layers[1].layers[0]
        assert not np.array_equal(twin(x)[0], model(x)[0])


def test_dropout_between_layers_of_which_there_is_one_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"^dropout=0\.5 hides outputs .* num_layers=1"):
        gatewise.LSTM(3, 4, dropout=0.5)
    gatewise.LSTM(3, 4, 2, dropout=0.5)


@pytest.mark.parametrize("size", [2**31, 2**63, 2**70, 10**30])
def test_sizes_that_no_machine_has(size: int) -> None:
    for make in (
        lambda: gatewise.GRU(3, size),
        lambda: gatewise.LSTM(size, 3),
        lambda: gatewise.RNN(3, 3, size),
        lambda: gatewise.Linear(size, 1),
        lambda: gatewise.Embedding(3, size),
        lambda: gatewise.GRU(3, 3).stream(size),
    ):
        with pytest.raises(ValueError, match=rf"should be at most 2147483647, got {size}$"):
            make()


def test_parameters_that_are_not_finite_give_no_warnings(backend: str) -> None:
    layer = gatewise.GRU(3, 4, tokens=True, seed=0)
    layer.set_parameters(
        {
            "bias_ih_l0": np.full(12, np.inf),
            "bias_hh_l0": np.full(12, -np.inf),
            "weight_ih_l0": np.full((12, 3), np.inf),
        }
    )
    for x in (X, np.array([[0, 2]])):
        assert np.isnan(layer(x)[0]).all()
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
    stream = layer.stream()
    assert np.isnan(stream(X[0, 0])).all()


def test_a_copy_has_the_parameters_of_one_moment() -> None:
    model = gatewise.Sequential(*[gatewise.GRU(16, 16, seed=0) for _ in range(6)])
    ones, twos = (
        {name: np.full_like(value, number) for name, value in model.state_dict().items()}
        for number in (1, 2)
    )
    model.set_parameters(ones)
    stop = threading.Event()

    def alternate() -> None:
        while not stop.is_set():
            model.set_parameters(twos)
            model.set_parameters(ones)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        for _ in range(100):
            copied = copy.deepcopy(model).state_dict()
            assert len({value.flat[0] for value in copied.values()}) == 1
    finally:
        stop.set()
        thread.join()
