"""Layers of integers: rows of any size or not finite, and what a row depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import chooser

Array = np.ndarray[Any, Any]

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 6, "peepholes": True}),
    ("GRU", {"num_layers": 2}),
    ("GRU", {"reset_after": False}),
]
every_layer = pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
either_bits = pytest.mark.parametrize("bits", [15, 8])
either_batch = pytest.mark.parametrize("batch", [3, 40])


def make(kind: str, options: dict[str, Any], bits: int, **more: Any) -> Any:
    layer = getattr(gatewise, kind)(7, 37, **options, **more, seed=1)
    return layer.quantize("int8", activations=bits)


def draw(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@either_bits
@every_layer
@either_batch
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_sequence(
    kind: str, options: dict[str, Any], bits: int, batch: int, value: float, backend: str
) -> None:
    layer = make(kind, options, bits)
    x = draw(batch, 6, 7)
    wanted, _ = layer(x)
    x[1, 2, 3] = value
    found, _ = layer(x)
    others = np.arange(batch) != 1
    np.testing.assert_array_equal(found[others], wanted[others])
    assert np.isnan(found[1, 2:]).all()
    if not options.get("bidirectional"):
        np.testing.assert_array_equal(found[1, :2], wanted[1, :2])


@either_bits
@pytest.mark.parametrize("rows", [1, 2, 13])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(
    bits: int, rows: int, value: float, backend: str
) -> None:
    layer = gatewise.Linear(5, 9, seed=0).quantize("int8", activations=bits)
    x = draw(rows, 5)
    wanted = layer(x)
    x[0, 2] = value
    found = layer(x)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1:], wanted[1:])


@either_bits
@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-30, 1.0, 1e30, 1e33])
def test_rows_of_any_size(bits: int, size: float, backend: str) -> None:
    layer = gatewise.Linear(64, 9, bias=False, seed=0)
    narrow = layer.quantize("int8", activations=bits)
    x = draw(5, 64).clip(-1, 1) * np.float32(size)
    weight = layer.parameters()["weight"]
    # A step of x is its row's largest element's, or the least one that there is.
    step = np.maximum(np.abs(x).max(axis=1, keepdims=True), 2.0**-100) / (
        127 if bits == 8 else 32512
    )
    rounding = 64 * np.abs(weight).max() * step + np.abs(x) @ np.abs(weight.T) / 127
    error = np.abs(narrow(x).astype(float) - x.astype(float) @ weight.T)
    assert (error <= rounding).all()


@either_bits
@every_layer
def test_the_largest_weights_and_inputs_do_not_saturate(
    kind: str, options: dict[str, Any], bits: int, backend: str
) -> None:
    options = {k: v for k, v in options.items() if k != "num_layers"}
    layer = getattr(gatewise, kind)(200, 300, **options, seed=1)
    values = layer.state_dict()
    for name, array in values.items():
        # Every integer is 127 or -127, and so are those of the rows.
        if name.startswith("weight") and array.ndim == 2:
            values[name] = np.where(array > 0, 0.01, -0.01).astype(np.float32)
    layer.set_parameters(values)
    narrow = layer.quantize("int8", activations=bits)
    x = np.ones((3, 4, 200), np.float32)
    x[1] = -1
    x[2, :, ::2] = -1
    found, wanted = narrow(x)[0], layer(x)[0]
    limit = (2e-2 if bits == 8 else 1e-3) * max(1, np.abs(wanted).max())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)


@either_bits
@every_layer
def test_a_sequence_depends_on_no_other(
    kind: str, options: dict[str, Any], bits: int, both_backends: None
) -> None:
    layer = make(kind, options, bits)
    x = draw(9, 6, 7) * np.float32(10.0) ** np.arange(-4, 5)[:, None, None]
    with chooser.use("native"):
        y, _ = layer(x)
        for row in range(9):
            np.testing.assert_array_equal(layer(x[row : row + 1])[0], y[row : row + 1])


@either_bits
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_resets_and_large_states(kind: str, bits: int, backend: str) -> None:
    layer = getattr(gatewise, kind)(7, 37, seed=1)
    narrow = layer.quantize("int8", activations=bits)
    x, h = draw(4, 8, 7), 50 * draw(1, 4, 37)
    state = (h, h) if kind == "LSTM" else h
    resets = np.zeros((4, 8), bool)
    resets[1, 3] = resets[2, 5] = True
    found, wanted = narrow(x, state, resets=resets)[0], layer(x, state, resets=resets)[0]
    error = np.abs(found - wanted)
    if kind != "LSTM":
        # Such a state saturates every gate, and what is nearly 0 of it may have any sign.
        error = error[:, 1:] if kind == "RNN" else error[1, 3:]
    assert error.max() < (0.1 if bits == 15 else 0.6)
    # From its reset on, a sequence knows nothing of what was before.
    after = narrow(x[1:2, 3:])[0]
    np.testing.assert_allclose(found[1:2, 3:], after, rtol=0, atol=1e-4)


@either_bits
def test_activations_are_kept(bits: int, backend: str) -> None:
    layer = make("GRU", {}, bits)
    assert layer.activation_bits == bits
    assert ("activations=8" in repr(layer)) == (bits == 8)


@pytest.mark.parametrize("activations", [7, 16, 0, True, "8", 8.5, 8.0, [8]])
def test_other_bits_are_refused(activations: Any) -> None:
    layer = gatewise.RNN(2, 3)
    with pytest.raises(ValueError, match=r"^activations should be 15 or 8 with int8, got "):
        layer.quantize("int8", activations=activations)
    with pytest.raises(ValueError, match=r"^activations should be "):
        layer.quantize("float16", activations=8)


def test_bits_of_another_integer_are_python_s(tmp_path: Path) -> None:
    narrow = gatewise.Linear(4, 3, seed=0).quantize("int8", activations=np.int8(8))
    gatewise.save(narrow, tmp_path / "narrow.safetensors")
    assert gatewise.load(tmp_path / "narrow.safetensors").activation_bits == 8
