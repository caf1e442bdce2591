"""Layers that make one vector of a sequence: what they give, whatever stands around it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.testing import check_layer

Array = np.ndarray[Any, Any]

POOLS = {
    "Last": lambda dtype: gatewise.Last(),
    "MeanPool": lambda dtype: gatewise.MeanPool(),
    "MaxPool": lambda dtype: gatewise.MaxPool(),
    "AttentionPool": lambda dtype: gatewise.AttentionPool(5, 7, dtype=dtype, seed=0),
}
LENGTHS = np.array([6, 0, 3, 1])


def sequences(dtype: str = "float64") -> Array:
    # No two values so near each other that a largest one could become another.
    values = np.random.default_rng(3).permutation(120).reshape(4, 6, 5)
    return (values / 20 - 3).astype(dtype)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients_and_all_else(name: str, dtype: str, lengths: Any, backend: str) -> None:
    check_layer(POOLS[name](dtype), sequences(dtype), lengths=lengths)


def in_torch(name: str, layer: Any, x: Any, lengths: Array) -> Any:
    """The same in PyTorch, sequence by sequence; zeros where there are no steps."""
    torch = pytest.importorskip("torch")
    weights = {
        name: torch.tensor(value, requires_grad=True)
        for name, value in layer.state_dict().items()
    }
    rows = []
    for steps, length in zip(x, lengths.tolist(), strict=True):
        steps = steps[:length]
        if not length:
            rows.append(torch.zeros(x.shape[2], dtype=x.dtype))
        elif name == "Last":
            rows.append(steps[-1])
        elif name == "MeanPool":
            rows.append(steps.mean(0))
        elif name == "MaxPool":
            rows.append(steps.max(0).values)
        else:
            hidden = torch.nn.functional.linear(steps, weights["weight"], weights["bias"])
            shares = torch.softmax(torch.tanh(hidden) @ weights["query"], 0)
            rows.append(shares @ steps)
    return torch.stack(rows), weights


@pytest.mark.parametrize("name", POOLS)
def test_figures_are_pytorchs(name: str, backend: str) -> None:
    torch = pytest.importorskip("torch")
    layer, x = POOLS[name]("float64"), sequences()
    dy = np.random.default_rng(4).standard_normal((4, 5))
    y, tape = layer.forward(x, lengths=LENGTHS)
    dx, gradients = layer.backward(tape, dy)
    theirs = torch.tensor(x, requires_grad=True)
    expected, weights = in_torch(name, layer, theirs, LENGTHS)
    (expected * torch.tensor(dy)).sum().backward()
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=0, atol=1e-12)
    assert gradients.keys() == weights.keys()
    for key, weight in weights.items():
        np.testing.assert_allclose(gradients[key], weight.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("features", [1, 5])
def test_batches_padding_and_layouts_change_no_bit(
    name: str, features: int, native: Any, own_products: None
) -> None:
    pool: Any = POOLS[name]("float32")
    if name == "AttentionPool":
        pool = gatewise.AttentionPool(features, seed=0)
    rng = np.random.default_rng(0)
    lengths = [1, 3, 8, 300, 301]
    each = [rng.standard_normal((n, features)).astype(np.float32) for n in lengths]
    padded = np.full((5, 400, features), np.nan, np.float32)
    for row, steps in zip(padded, each, strict=True):
        row[: len(steps)] = steps
    found = pool(padded, lengths=lengths)
    for row, steps in zip(found, each, strict=True):
        assert pool(steps).tobytes() == row.tobytes()
        assert pool(steps[None])[0].tobytes() == row.tobytes()
        strange = np.asfortranarray(steps)[None]
        assert pool(strange)[0].tobytes() == row.tobytes()
    time_first = np.ascontiguousarray(padded.swapaxes(0, 1)).swapaxes(0, 1)
    assert pool(time_first, lengths=lengths).tobytes() == found.tobytes()


def test_a_long_mean_keeps_its_digits() -> None:
    x = np.full((1, 200_000, 2), 0.1, np.float32)
    np.testing.assert_allclose(gatewise.MeanPool()(x), np.float32(0.1), rtol=1e-7)


def test_a_largest_value_that_is_none() -> None:
    x = np.array([[[1.0, np.nan, -np.inf], [2.0, 3.0, -np.inf]]])
    pool = gatewise.MaxPool()
    y, tape = pool.forward(x)
    np.testing.assert_array_equal(y, [[2.0, np.nan, -np.inf]])
    dx, _ = pool.backward(tape, np.ones((1, 3)))
    np.testing.assert_array_equal(dx, [[[0, 1, 1], [1, 0, 0]]])


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("shape", [(3, 0, 5), (0, 4, 5), (0, 0, 5), (0, 5)])
def test_nothing_gives_zeros(name: str, shape: tuple[int, ...], backend: str) -> None:
    pool = POOLS[name]("float64")
    y, tape = pool.forward(np.zeros(shape))
    assert y.shape == (*shape[:-2], 5)
    assert not y.any()
    dx, gradients = pool.backward(tape, np.ones_like(y))
    assert dx.shape == shape
    assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("name", POOLS)
def test_it_stands_in_nets_that_are_saved(name: str, tmp_path: Path, backend: str) -> None:
    model = gatewise.Sequential(
        gatewise.GRU(3, 5, seed=0), POOLS[name]("float32"), gatewise.Linear(5, 2, seed=1)
    )
    x = np.random.default_rng(0).standard_normal((3, 4, 3)).astype(np.float32)
    gatewise.save(model, tmp_path / "model.safetensors")
    loaded = gatewise.load(tmp_path / "model.safetensors")
    assert repr(loaded) == repr(model)
    y = model(x, lengths=[4, 2, 0])[0]
    assert y.shape == (3, 2)
    np.testing.assert_array_equal(loaded(x, lengths=[4, 2, 0])[0], y)
    # Of one sequence without a batch axis.
    np.testing.assert_allclose(model(x[1, :2])[0], y[1], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"cannot stream, as it takes whole sequences"):
        model.stream()


@pytest.mark.parametrize("name", POOLS)
def test_bad_input_is_refused(name: str, backend: str) -> None:
    pool = POOLS[name]("float64")
    for call in (pool, pool.forward):
        with pytest.raises(ValueError, match=r"^x should have shape \(batch, time, "):
            call(np.ones(5))
        with pytest.raises(ValueError, match=r"^lengths should be None for an x without"):
            call(np.ones((6, 5)), lengths=[3])
        with pytest.raises(ValueError, match=r"lengths should be from 0 to 6, .* got 7"):
            call(sequences(), lengths=[7, 0, 0, 0])
        with pytest.raises(TypeError, match="lengths should hold integers"):
            call(sequences(), lengths=[1.5, 0, 0, 0])
        with pytest.raises(TypeError, match="x should hold real numbers"):
            call(np.ones((1, 6, 5), complex))
    _, tape = pool.forward(sequences())
    with pytest.raises(ValueError, match=r"dy should have shape \(4, 5\), got \(4, 6, 5\)"):
        pool.backward(tape, sequences())
    with pytest.raises(ValueError, match="tape should come from this"):
        copy.copy(pool).backward(tape, np.ones((4, 5)))


def test_layers_over_time_stand_before_it() -> None:
    for layer in (gatewise.GRU(4, 4), gatewise.Conv1d(4, 4, 3), gatewise.Last()):
        with pytest.raises(
            ValueError, match=r"layers\[2\], .* should stand before layers\[1\], Last"
        ):
            gatewise.Sequential(gatewise.GRU(3, 4), gatewise.Last(), layer)
    inner = gatewise.Sequential(gatewise.GRU(3, 4), gatewise.MeanPool())
    with pytest.raises(ValueError, match=r"layers\[1\], GRU.* should stand before"):
        gatewise.Sequential(inner, gatewise.GRU(4, 4))
    gatewise.Sequential(inner, gatewise.Linear(4, 4), gatewise.ReLU())


def test_lengths_are_those_after_a_convolution(backend: str) -> None:
    conv = gatewise.Conv1d(3, 4, 3, stride=2, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    model = gatewise.Sequential(conv, gatewise.MeanPool())
    y = model(x, lengths=[9, 5])[0]
    np.testing.assert_allclose(y[1], conv(x[1, :5]).mean(axis=0), rtol=0, atol=1e-6)
