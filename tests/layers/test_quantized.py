"""Layers with narrow weights: what they compute, how exactly, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise._checks import with_article
from gatewise.kernels import bfloat16, chooser

Array = np.ndarray[Any, Any]

FORMATS = ["float16", "bfloat16", "int8"]
# Integer weights multiply rows of 15 bits; where backends differ in a last bit, these may
# differ in theirs; and bfloat16 rounds inputs and h to 8 bits, as test_bfloat16.py does.
TOLERANCES = {"float16": 1e-6, "bfloat16": 5e-2, "int8": 2e-4}
DTYPES = {"float16": "float16", "bfloat16": "uint16", "int8": "int8"}
LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"num_layers": 2}),
    ("LSTM", {"bias": False, "bidirectional": True}),
    ("LSTM", {"proj_size": 6, "num_layers": 2}),
    ("LSTM", {"proj_size": 6, "peepholes": True, "bidirectional": True}),
    ("LSTM", {"zoneout": 0.1, "cell_zoneout": 0.4}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("GRU", {"reset_after": False, "num_layers": 2}),
    ("GRU", {"bias": False, "zoneout": 0.1}),
]
every_layer = pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
every_format = pytest.mark.parametrize("weight_format", FORMATS)


def make(kind: str, options: dict[str, Any], inputs: int = 7, hidden: int = 37) -> Any:
    """A layer with some weights larger than others, and some of zero."""
    layer = getattr(gatewise, kind)(inputs, hidden, **options, seed=1)
    values = layer.state_dict()
    random = np.random.default_rng(2)
    for name, value in values.items():
        if name.startswith("weight") and "peephole" not in name:
            value *= random.lognormal(0, 1, (len(value), 1)).clip(0, 3)
            value[1] = 0
    layer.set_parameters(values)
    return layer


def is_narrowed(name: str) -> bool:
    return name.startswith(("weight_ih", "weight_hh", "weight_hr"))


def rounded(layer: Any, weight_format: str) -> Any:
    """The same layer in float32 with the values that narrow weights stand for."""
    values = layer.state_dict()
    for name, value in values.items():
        if not is_narrowed(name):
            continue
        if weight_format == "float16":
            values[name] = np.float32(np.float16(value))
            continue
        if weight_format == "bfloat16":
            values[name] = bfloat16.rounded(value)
            continue
        for row in value:
            scale = np.float32(np.abs(row).max() / 127)
            if scale:
                row[...] = np.round(row / scale) * scale
    layer = copy.copy(layer)
    layer.set_parameters(values)
    return layer


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parts_of(results: Any) -> list[Array]:
    """The arrays in what a call returned."""
    if isinstance(results, np.ndarray):
        return [results]
    return [array for part in results for array in parts_of(part)]


def assert_close(found: Any, wanted: Any, tolerance: float = 1e-6) -> None:
    for array, other in zip(parts_of(found), parts_of(wanted), strict=True):
        assert (array.shape, array.dtype) == (other.shape, np.float32)
        limit = tolerance * max(1.0, np.abs(other).max(initial=0))
        np.testing.assert_allclose(array, other, rtol=0, atol=limit)


@every_format
@every_layer
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_it_is_the_layer_of_the_rounded_weights(
    kind: str, options: dict[str, Any], batch: int, weight_format: str, backend: str
) -> None:
    layer = make(kind, options | {"tokens": True})
    narrow, wide = layer.quantize(weight_format), rounded(layer, weight_format)
    x = draw(batch, 8, 7)
    y, state = narrow(x)
    limit = TOLERANCES[weight_format]
    assert_close((y, state), wide(x), limit)
    assert_close(narrow(x, state), wide(x, state), limit)
    lengths = np.arange(batch) % 9
    assert_close(narrow(x, lengths=lengths), wide(x, lengths=lengths), limit)
    tokens = np.random.default_rng(0).integers(0, 7, (batch, 8))
    assert_close(narrow(tokens), wide(tokens), limit)
    assert_close(narrow(x[0]), wide(x[0]), limit)
    if kind == "LSTM":
        assert_close(narrow(x, return_cells=True), wide(x, return_cells=True), limit)


@every_format
@every_layer
def test_backends_agree(
    kind: str, options: dict[str, Any], weight_format: str, both_backends: None
) -> None:
    results = []
    for name in ("numpy", "native"):
        with chooser.use(name):
            results.append(make(kind, options).quantize(weight_format)(draw(3, 8, 7)))
    assert_close(*results, TOLERANCES[weight_format])


@every_format
@every_layer
def test_streamed_chunked_and_whole(
    kind: str, options: dict[str, Any], weight_format: str, backend: str
) -> None:
    narrow = make(kind, options | {"bidirectional": False}).quantize(weight_format)
    x = draw(2, 8, 7)
    y, state = narrow(x)
    stream = narrow.stream(2)
    steps = np.stack([stream(x[:, t]).copy() for t in range(8)], axis=1)
    assert_close((steps, stream.state), (y, state))
    stream.reset()
    chunks = np.concatenate([stream(x[:, :3]), stream(x[:, 3:])], axis=1)
    assert_close((chunks, stream.state), (y, state))


@pytest.mark.parametrize(
    ("weight_format", "bound"), [("float16", 1e-3), ("bfloat16", 3e-2), ("int8", 2e-2)]
)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_how_far_from_the_layer_itself(
    kind: str, weight_format: str, bound: float, backend: str
) -> None:
    layer = getattr(gatewise, kind)(64, 128, seed=0)
    x = draw(4, 50, 64)
    error = np.abs(layer.quantize(weight_format)(x)[0] - layer(x)[0]).max()
    assert 0 < error < bound


@every_format
@every_layer
def test_what_it_holds(kind: str, options: dict[str, Any], weight_format: str) -> None:
    layer = make(kind, options)
    narrow = layer.quantize(weight_format)
    parameters, wide = narrow.parameters(), layer.parameters()
    found = {}
    for name, array in wide.items():
        if not is_narrowed(name):
            np.testing.assert_array_equal(parameters[name], array)
            found[name] = array.dtype
            continue
        found[name] = np.dtype(DTYPES[weight_format])
        if weight_format == "int8":
            found[f"{name}_scale"] = np.dtype(np.float32)
            scales = parameters[f"{name}_scale"]
            restored = parameters[name] * scales[:, None]
            assert (np.abs(restored - array) <= 0.501 * scales[:, None]).all()
            largest = np.abs(parameters[name]).max(axis=1)
            assert (largest[np.abs(array).max(axis=1) > 0] == 127).all()
            assert scales.shape == (len(array),)
    assert {name: array.dtype for name, array in parameters.items()} == found
    assert narrow.nbytes == sum(array.nbytes for array in parameters.values())
    assert narrow.dtype == np.float32
    for name in ("input_size", "hidden_size", "output_size", "num_layers", "bidirectional"):
        assert getattr(narrow, name) == getattr(layer, name)
    for name in options:
        assert getattr(narrow, name) == getattr(layer, name)


def test_it_says_what_it_is() -> None:
    layer = gatewise.LSTM(3, 4, proj_size=2, seed=0)
    # (16, 3) + (16, 2) + (2, 4) weights; 2 * 16 biases; 16 + 16 + 2 scales.
    assert repr(layer.quantize("int8")) == (
        "LSTM(3, 4, proj_size=2, weight_format='int8') with 352 bytes of weights"
    )
    assert "weight_format='float16') with 304 bytes" in repr(layer.quantize("float16"))
    assert repr(layer.quantize("int8").stream()).endswith("weights.stream(batch=1)")


@every_format
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, "pickle", "state_dict"])
def test_copies(duplicate: Any, weight_format: str, backend: str) -> None:
    narrow = make("GRU", {"num_layers": 2}).quantize(weight_format)
    x = draw(2, 5, 7)
    wanted = narrow(x)
    if duplicate == "pickle":
        twin = pickle.loads(pickle.dumps(narrow))
    elif duplicate == "state_dict":
        twin = gatewise.GRU(7, 37, 2, seed=9).quantize(weight_format)
        twin.load_state_dict(narrow.state_dict())
    else:
        twin = duplicate(narrow)
    for array, other in zip(parts_of(twin(x)), parts_of(wanted), strict=True):
        np.testing.assert_array_equal(array, other)
    assert repr(twin) == repr(narrow)
    assert not any(array.flags.writeable for array in twin.parameters().values())
    twin.set_parameters({"bias_hh_l0": np.ones(111)})
    assert (twin(x)[0] != wanted[0]).any()
    np.testing.assert_array_equal(narrow(x)[0], wanted[0])


def test_it_does_not_follow_the_layer(backend: str) -> None:
    layer = make("LSTM", {})
    narrow = layer.quantize("float16")
    x = draw(2, 5, 7)
    wanted = narrow(x)[0]
    layer.set_parameters({name: value + 1 for name, value in layer.state_dict().items()})
    np.testing.assert_array_equal(narrow(x)[0], wanted)
    twin = pickle.loads(pickle.dumps(narrow))
    np.testing.assert_array_equal(twin(x)[0], wanted)


def test_in_a_sequential(backend: str) -> None:
    layer, head = make("GRU", {}), gatewise.Linear(37, 3, seed=0)
    model = gatewise.Sequential(layer.quantize("int8"), head)
    x = draw(2, 5, 7)
    np.testing.assert_array_equal(model(x)[0], head(layer.quantize("int8")(x)[0]))
    with pytest.raises(TypeError, match=r"^a GRU with int8 weights is for inference only"):
        model.forward(x)
    before = model.state_dict()
    with pytest.raises(
        ValueError, match=r"0\.weight_hh_l0 should have dtype int8, got floa"
    ):
        model.set_parameters({name: 0.5 * value for name, value in before.items()})
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, before[name])


@every_format
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_no_training(kind: str, weight_format: str, backend: str) -> None:
    layer = getattr(gatewise, kind)(3, 4, seed=0)
    narrow = layer.quantize(weight_format)
    assert type(narrow) is type(layer)
    x = np.ones((1, 2, 3), np.float32)
    y, _, tape = layer.forward(x)
    expected = (
        f"{with_article(kind)} with {weight_format} weights is for inference only; "
        "train the layer that it was made from"
    )
    for training in (lambda: narrow.forward(x), lambda: narrow.backward(tape, dy=y)):
        with pytest.raises(TypeError, match=f"^{expected}$"):
            training()
    with pytest.raises(TypeError, match=f"^an? {kind} with .* is quantized already; "):
        narrow.quantize("int8")


def refusal(layer: Any, weight_format: Any) -> str:
    with pytest.raises(ValueError, match=r"should|can") as caught:
        layer.quantize(weight_format)
    return str(caught.value)


def test_what_cannot_be_quantized() -> None:
    double = gatewise.GRU(3, 4, dtype="float64")
    assert refusal(double, "int8") == "only layers of float32 can be quantized, got float64"
    layer = gatewise.GRU(3, 4, seed=0)
    for unknown in ("int4", "INT8", "float32", None, 8, ["int8"]):
        assert refusal(layer, unknown) == (
            f"weight_format should be one of float16, bfloat16, int8, got {unknown!r}"
        )


@pytest.mark.parametrize(
    ("weight_format", "value", "limit"),
    [
        ("float16", 1e5, "65504"),
        ("float16", -np.inf, "65504"),
        ("bfloat16", -np.inf, "3.39618e+38"),
        ("bfloat16", np.nan, "3.39618e+38"),
        ("int8", np.nan, "3.40282e+38"),
        ("int8", np.inf, "3.40282e+38"),
    ],
)
def test_weights_that_a_format_cannot_hold(
    weight_format: str, value: float, limit: str
) -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    weight = layer.state_dict()["weight_hh_l0"]
    weight[5, 2] = value
    layer.set_parameters({"weight_hh_l0": weight})
    expected = f"weight_hh_l0 should hold numbers of at most {limit} to become "
    expected += f"{weight_format}, got {abs(value)}"
    assert re.fullmatch(re.escape(expected), refusal(layer, weight_format))


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-30, 1e30])
def test_weights_of_any_size(size: float, backend: str) -> None:
    layer = gatewise.RNN(3, 4, nonlinearity="relu", bias=False, seed=0)
    weights = {name: np.sign(w) * size for name, w in layer.state_dict().items()}
    layer.set_parameters(weights)
    x = np.ones((1, 1, 3), np.float32)
    wanted, _ = layer(x)
    np.testing.assert_allclose(layer.quantize("int8")(x)[0], wanted, rtol=1e-5, atol=1e-37)


def test_the_format_is_an_attribute(backend: str) -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    assert layer.weight_format == "float32"
    assert gatewise.GRU(3, 4, dtype="float64").weight_format == "float64"
    assert layer.nbytes == 4 * layer.parameter_count
    assert layer.quantize("int8").weight_format == "int8"
    for each in (layer, layer.quantize("int8")):
        with pytest.raises(AttributeError, match=r"^weight_format is fixed once a GRU is "):
            each.weight_format = "float16"


class Doubled(gatewise.GRU):
    """A user's own layer, with something of its own."""

    def __init__(self, *sizes: int, seed: int) -> None:
        super().__init__(*sizes, seed=seed)
        self.notes = ["made by a user"]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        y, state = super().__call__(*arguments, **options)
        return 2 * y, state


def test_a_class_of_a_users_own_stays_what_it_is(backend: str) -> None:
    layer = Doubled(3, 4, seed=0)
    narrow = layer.quantize("int8")
    assert type(narrow) is Doubled
    assert repr(narrow).startswith("Doubled(3, 4, weight_format='int8')")
    x = draw(2, 5, 3)
    twin = gatewise.GRU(3, 4, seed=0).quantize("int8")
    np.testing.assert_array_equal(narrow(x)[0], 2 * twin(x)[0])
    narrow.notes.append("quantized")
    assert layer.notes == ["made by a user"]
    model = gatewise.Sequential(layer).quantize("float16")
    assert type(model.layers[0]) is Doubled
    assert type(pickle.loads(pickle.dumps(narrow))) is Doubled


def test_drawing_for_a_copy_draws_nothing_from_the_layer() -> None:
    layer, twin = (gatewise.GRU(3, 4, seed=0) for _ in range(2))
    layer.quantize("int8").generator.random(9)
    assert layer.generator.random() == twin.generator.random()


def test_narrow_weights_are_not_taken_for_numbers() -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    narrow = layer.quantize("int8").state_dict()
    for strict in (True, False):
        with pytest.raises(ValueError, match="weight_ih_l0 should have no scales"):
            layer.load_state_dict(narrow, strict=strict)
    layer.quantize("int8").load_state_dict(narrow)


def test_scales_are_finite_in_their_own_precision() -> None:
    narrow = gatewise.GRU(3, 4, seed=0).quantize("int8")
    with pytest.raises(ValueError, match="should hold finite numbers"):
        narrow.set_parameters({"weight_ih_l0_scale": np.full(12, 1e39)})


def test_small_weights_become_nothing_quietly() -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    layer.set_parameters({"weight_ih_l0": np.full((12, 3), 1e-42)})
    with np.errstate(all="raise"):
        for name in ("float16", "int8"):
            layer.quantize(name)


@pytest.mark.parametrize("name", [np.dtype("int8"), np.array("int8")])
def test_a_format_is_given_by_name(name: object) -> None:
    with pytest.raises(
        ValueError, match="weight_format should be one of float16, bfloat16, int8"
    ):
        gatewise.GRU(3, 4).quantize(name)  # type: ignore[arg-type]
