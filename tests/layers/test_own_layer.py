"""Layers of a user's own, and the check that finds what is wrong with one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.layers import Call
from gatewise.testing import check_layer

Array = np.ndarray[Any, Any]
X = np.random.default_rng(0).standard_normal((3, 5, 4))


class Scale(gatewise.Layer):
    """Each feature times a parameter."""

    def __init__(self, features: int, dtype: str = "float32") -> None:
        super().__init__(dtype)
        self.in_features = self.out_features = features
        self.add_parameter("scale", np.linspace(0.5, 2, features))

    def arguments(self) -> dict[str, Any]:
        return {"features": self.in_features}

    def compute(self, x: Array, call: Call) -> Array:
        return x * call.parameters["scale"]

    def gradients(self, dy: Array, call: Call) -> tuple[Array, dict[str, Array]]:
        scale = (dy * call.x).reshape(-1, dy.shape[-1]).sum(axis=0)
        return dy * call.parameters["scale"], {"scale": scale}


class Centred(gatewise.Layer):
    """What is above the mean of a sequence, over the steps that it has."""

    over_time = True

    def compute(self, x: Array, call: Call) -> Array:
        if x.ndim == 2:
            return x - x.mean(axis=0)
        exists = call.exists()[..., None]
        counts = np.maximum(exists.sum(axis=1, keepdims=True), 1).astype(x.dtype)
        call.kept = exists, counts
        own = np.where(exists, x, x.dtype.type(0))
        return np.where(exists, own - own.sum(axis=1, keepdims=True) / counts, 0)

    def gradients(self, dy: Array, call: Call) -> tuple[Array, dict[str, Array]]:
        exists, counts = call.kept
        own = np.where(exists, dy, dy.dtype.type(0))
        return np.where(exists, own - own.sum(axis=1, keepdims=True) / counts, 0), {}


class Noisy(gatewise.Layer):
    """Hides a share of the values in training."""

    def __init__(self, seed: int) -> None:
        super().__init__("float64")
        self.generator = np.random.default_rng(seed)

    def compute(self, x: Array, call: Call) -> Array:
        call.kept = self.generator.random(x.shape) > 0.3 if call.training else 1
        return x * call.kept

    def gradients(self, dy: Array, call: Call) -> tuple[Array, dict[str, Array]]:
        return dy * call.kept, {}


def test_a_layer_that_draws_numbers_passes_and_can_go_on(tmp_path: Path) -> None:
    check_layer(Noisy(0), X)

    def train(epochs: int, **options: Any) -> gatewise.training.History:
        model = gatewise.Sequential(gatewise.GRU(4, 3, dtype="float64", seed=0), Noisy(1))
        batches = [(X, np.zeros((3, 5, 3)))] * 2
        settings: dict[str, Any] = {"epochs": epochs, "progress": False, **options}
        return gatewise.fit(model, batches, gatewise.mse, gatewise.Adam(0.1), **settings)

    path = tmp_path / "fit.safetensors"
    train(2, checkpoint=path)
    assert train(4, checkpoint=path, resume=True) == train(4)
    with pytest.raises(AttributeError, match="generator is fixed once a Noisy is made"):
        Noisy(0).generator = np.random.default_rng(1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_good_layers_pass(dtype: str, backend: str) -> None:
    check_layer(Scale(4, dtype), X)
    check_layer(Centred(dtype), X, lengths=[5, 0, 2])
    model = gatewise.Sequential(
        gatewise.GRU(4, 3, dtype=dtype, seed=0), Centred(dtype), Scale(3, dtype)
    )
    check_layer(model, X, lengths=[5, 0, 2])


@pytest.mark.parametrize(
    "make",
    [
        lambda: gatewise.Linear(4, 2, dtype="float64", seed=0),
        lambda: gatewise.LSTM(4, 2, proj_size=1, dtype="float64", seed=0),
        lambda: gatewise.Conv1d(4, 2, 3, dtype="float64", seed=0),
        lambda: gatewise.Dropout(0.5, seed=0),
        lambda: gatewise.GRU(4, 3, 2, dropout=0.5, zoneout=0.3, dtype="float64", seed=0),
        lambda: gatewise.Softmax(),
    ],
)
def test_own_layers_pass(make: Callable[[], Any], backend: str) -> None:
    check_layer(make(), X)


def test_inputs_of_another_byte_order_pass() -> None:
    check_layer(gatewise.MeanPool(), X.astype(">f8"), lengths=[5, 0, 2])


def test_tokens_pass(backend: str) -> None:
    check_layer(
        gatewise.Embedding(9, 3, dtype="float64", seed=0), np.arange(8).reshape(2, 4)
    )


class WrongSlope(Scale):
    def gradients(self, dy: Array, call: Call) -> tuple[Array, dict[str, Array]]:
        return dy, super().gradients(dy, call)[1]


class WrongParameter(Scale):
    def gradients(self, dy: Array, call: Call) -> tuple[Array, dict[str, Array]]:
        dx, found = super().gradients(dy, call)
        return dx, {"scale": 2 * found["scale"]}


class ReadsPadding(Centred):
    def compute(self, x: Array, call: Call) -> Array:
        y = super().compute(x, call)
        return y + x[:, -1:]


class MixesExamples(Scale):
    def compute(self, x: Array, call: Call) -> Array:
        return super().compute(x, call) + 0 * x + x.shape[0]


class Random(Scale):
    def compute(self, x: Array, call: Call) -> Array:
        return super().compute(x, call) + (0.1 if call.training else 0)


class Forgets(Scale):
    def compute(self, x: Array, call: Call) -> Array:
        self._count = getattr(self, "_count", 0) + 1
        return super().compute(x, call) * self._count


class Promises(Scale):
    def __init__(self, features: int, dtype: str = "float32") -> None:
        super().__init__(features, dtype)
        self.__dict__["out_features"] = features + 1


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (WrongSlope(4, "float64"), r"the gradient of x at .* by finite differences"),
        (WrongParameter(4, "float64"), r"the gradient of scale at .* finite differences"),
        (ReadsPadding("float64"), "the output with NaN past the lengths"),
        (MixesExamples(4, "float64"), "the output of example 0 alone"),
        (Random(4, "float64"), "the output of a call at"),
        (Forgets(4, "float64"), "the output of a call at"),
        (Promises(4, "float64"), "the output should have 5 features, got 4"),
    ],
)
def test_mistakes_are_found(layer: Any, message: str) -> None:
    lengths = [5, 1, 2] if isinstance(layer, Centred) else None
    with pytest.raises(AssertionError, match=message):
        check_layer(layer, X, lengths=lengths)


def test_check_layer_wants_a_layer() -> None:
    with pytest.raises(TypeError, match=r"^layer should be a layer, got str"):
        check_layer("gru", X)


class Free(gatewise.Layer):
    """A layer that does what it is told."""

    def __init__(self, compute: Any, gradients: Any) -> None:
        super().__init__()
        self.add_parameter("weight", [1.0])
        self._given = compute, gradients

    def compute(self, x: Array, call: Call) -> Any:
        return self._given[0](x)

    def gradients(self, dy: Array, call: Call) -> Any:
        return self._given[1](dy)


def test_what_methods_return_is_looked_at() -> None:
    x = X.astype(np.float32)
    one = {"weight": np.ones(1)}
    for compute, got in ((lambda x: x * np.float64(1.0) + np.zeros(4), "float64"),):
        with pytest.raises(TypeError, match=f"compute of Free should return .* got {got}"):
            Free(compute, None)(x)
    with pytest.raises(TypeError, match=r"should return an array of float32, got list"):
        Free(lambda x: [1], None)(x)
    for gradients, message in (
        (lambda dy: (dy[0], one), r"the gradient of x should have shape \(3, 5, 4\), got"),
        (lambda dy: (dy, {}), r"gradients of Free should return those of weight, got none"),
        (lambda dy: (dy, {"w": 1}), r"should return those of weight, got w"),
        (lambda dy: (dy, {"weight": np.ones(2)}), r"gradient of weight should have shape"),
    ):
        layer = Free(lambda x: x, gradients)
        _, tape = layer.forward(x)
        with pytest.raises(ValueError, match=message):
            layer.backward(tape, x)


@pytest.mark.parametrize("given", [None, X, (X, {}, 1), (X, [1]), (X,)])
def test_gradients_are_a_pair(given: Any) -> None:
    layer = Free(lambda x: x, lambda dy: given)
    _, tape = layer.forward(X)
    with pytest.raises(TypeError, match=r"^gradients of Free should return a tuple of the"):
        layer.backward(tape, X)


def test_the_input_cannot_be_written_to() -> None:
    def spoil(x: Array) -> Array:
        x += 1
        return x

    with pytest.raises(ValueError, match="read-only"):
        Free(spoil, None)(X.astype(np.float32))


def test_parameters_have_names() -> None:
    layer = Scale(4)
    with pytest.raises(ValueError, match=r"^name should be one that is not taken, got 'sc"):
        layer.add_parameter("scale", [1.0])
    with pytest.raises(
        ValueError, match=r"^name should be a name such as 'weight', got 'a."
    ):
        layer.add_parameter("a.b", [1.0])
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"^name should be a string, got int"):
        layer.add_parameter(wrong, [1.0])
    with pytest.raises(TypeError, match=r"^values should hold real numbers"):
        layer.add_parameter("other", np.array(["a"]))


def test_bad_input_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match=r"^x should have shape \(..., 4\), got \(3, 5\)"):
        Scale(4)(np.ones((3, 5)))
    with pytest.raises(
        ValueError, match=r"^x should have shape \(batch, time, features\) o"
    ):
        Centred()(np.ones(4))
    with pytest.raises(ValueError, match=r"^lengths should be from 0 to 5, .* got 6"):
        Centred()(X, lengths=[6, 0, 0])
    with pytest.raises(
        ValueError, match=r"^lengths should be None for an x without a batch"
    ):
        Centred()(X[0], lengths=[3])
    layer = Scale(4)
    _, tape = layer.forward(X)
    layer.set_parameters({"scale": np.ones(4)})
    with pytest.raises(RuntimeError, match="tape should be used before parameters change"):
        layer.backward(tape, X)
    with pytest.raises(
        ValueError, match=r"layers\[1\], Scale.* should take the 3 features"
    ):
        gatewise.Sequential(gatewise.GRU(4, 3), Scale(4))


def test_it_is_trained_copied_and_pickled(backend: str) -> None:
    model = gatewise.Sequential(gatewise.GRU(4, 3, seed=0), Scale(3))
    x = X.astype(np.float32)
    before = model.state_dict()
    history = gatewise.fit(
        model,
        [(x, np.zeros((3, 5, 3)), [5, 2, 3])],
        gatewise.mse,
        gatewise.Adam(0.1),
        epochs=20,
        progress=False,
    )
    assert history[-1].loss < history[0].loss
    assert (model.parameters()["1.scale"] != before["1.scale"]).all()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x)[0], model(x)[0])
    stream = model.stream()
    steps = np.stack([stream(row[None])[0].copy() for row in x[0]])
    np.testing.assert_allclose(steps, model(x[:1])[0][0], rtol=0, atol=1e-6)


def test_it_is_saved_and_loaded_by_its_class(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = gatewise.Sequential(gatewise.GRU(4, 3, seed=0), Scale(3), Centred("float64"))
    gatewise.save(model, path)
    loaded = gatewise.load(path, layers=[Scale, Centred])
    assert [type(layer) for layer in loaded] == [gatewise.GRU, Scale, Centred]
    assert loaded[2].dtype == np.float64
    np.testing.assert_array_equal(loaded(X)[0], model(X)[0])
    with pytest.raises(gatewise.FormatError, match=r"layer 1 .* got 'Scale'.* layers=\["):
        gatewise.load(path)
    with pytest.raises(gatewise.FormatError, match=r"layer 2 .* got 'Centred'"):
        gatewise.load(path, layers=[Scale])
    wrong: Any = [gatewise.GRU]
    with pytest.raises(
        TypeError, match=r"^layers\[0\] should be a subclass of gatewise.La"
    ):
        gatewise.load(path, layers=wrong)
    with pytest.raises(ValueError, match=r"^layers\[1\] should have a name that is not t"):
        gatewise.load(path, layers=[Scale, Scale])
    single: Any = Scale
    with pytest.raises(TypeError, match=r"^layers should be a list of classes"):
        gatewise.load(path, layers=single)


def test_a_file_that_lies_about_a_layer_is_refused(tmp_path: Path) -> None:
    class Scale(gatewise.Layer):
        """Of the same name, with other parameters."""

        def __init__(self, features: int, dtype: str = "float32") -> None:
            super().__init__(dtype)
            self.add_parameter("other", np.ones(features))

        def compute(self, x: Array, call: Call) -> Array:
            return x

        def gradients(self, dy: Array, call: Call) -> tuple[Array, dict[str, Array]]:
            return dy, {}

    path = tmp_path / "model.safetensors"
    gatewise.save(globals()["Scale"](3), path)
    with pytest.raises(gatewise.FormatError):
        gatewise.load(path, layers=[Scale])
