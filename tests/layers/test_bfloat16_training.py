"""Training in products of bfloat16: gradients and losses beside float32's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import bfloat16, chooser
from gatewise.kernels.formats import TO_BFLOAT16
from gatewise.training import minibatches

Array = np.ndarray[Any, Any]

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "bias": False}),
    ("LSTM", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 6, "peepholes": True}),
    ("LSTM", {"zoneout": 0.2, "recurrent_dropout": 0.2}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("GRU", {"reset_after": False}),
]
every_layer = pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def train(kind: str, options: Any, batch: int, compute: str | None, **given: Any) -> Any:
    """Outputs and all gradients, by name."""
    layer = getattr(gatewise, kind)(7, 37, seed=1, **options)
    x = draw(batch, 8, 7)
    y, _, tape = layer.forward(x, compute=compute, **given)
    dx, _, gradients = layer.backward(tape, draw(*y.shape, seed=3))
    return {"y": y, "dx": dx, **gradients}


def relative(found: Array, wanted: Array) -> float:
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30))


def limit_of(options: dict[str, Any]) -> float:
    """How far from float32's gradients those of bfloat16 may be.

    Rounding is off by 2^-9 of a number at most, which more steps and layers add up; and a
    relu whose sum is next to 0 has another slope on the other side.
    """
    return 2.0**-3 if "nonlinearity" in options else 2.0**-5


@every_layer
@pytest.mark.parametrize("batch", [1, 2, 9, 40])
def test_gradients_are_near_those_of_float32(
    kind: str, options: dict[str, Any], batch: int, backend: str
) -> None:
    wide = train(kind, options, batch, "float32")
    rounded = train(kind, options, batch, "bfloat16")
    for name, wanted in wide.items():
        assert rounded[name].dtype == np.float32
        assert relative(rounded[name], wanted) < limit_of(options), name


@every_layer
def test_with_lengths_and_resets(kind: str, options: dict[str, Any], backend: str) -> None:
    resets = np.random.default_rng(0).random((9, 8)) < 0.2
    lengths = np.arange(9)
    for given in ({"resets": resets}, {"lengths": lengths}):
        wide = train(kind, options, 9, "float32", **given)
        rounded = train(kind, options, 9, "bfloat16", **given)
        for name, wanted in wide.items():
            assert relative(rounded[name], wanted) < limit_of(options), name


def multiplies_bfloat16() -> bool:
    return chooser.kernels.instruction_set().endswith("_bf16")


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_way_there_is_that_of_inference(kind: str, native: Any) -> None:
    layer = getattr(gatewise, kind)(20, 40, seed=0)
    x = draw(9, 5, 20)
    y, _, _ = layer.forward(x, compute="bfloat16")
    same = layer.quantize("bfloat16") if multiplies_bfloat16() else layer
    np.testing.assert_array_equal(y, same(x)[0])


@pytest.mark.parametrize(
    ("rows", "left", "right"), [(1, 1, 1), (2, 7, 3), (255, 64, 70), (301, 5, 130)]
)
def test_sums_over_rows(rows: int, left: int, right: int, native: Any) -> None:
    a, b = draw(1, rows, left), draw(1, rows, right, seed=1)
    out = np.ones((left, right), np.float32)
    chooser.kernels.outer(a, b, out, in_bfloat16=True, num_threads=1)
    if multiplies_bfloat16():
        a, b = bfloat16.rounded(a), bfloat16.rounded(b)
    wanted = 1 + a[0].astype(float).T @ b[0].astype(float)
    sizes = 1 + np.abs(a[0]).T @ np.abs(b[0])
    assert (np.abs(out - wanted) <= 2.0**-24 * (rows + 2) * sizes).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_and_threads_change_nothing_of_a_row(threads: int, native: Any) -> None:
    layer = gatewise.LSTM(20, 40, seed=0)
    x, dy = draw(9, 5, 20), draw(9, 5, 40, seed=1)
    y, _, tape = layer.forward(x, compute="bfloat16", num_threads=threads)
    dx, _, _ = layer.backward(tape, dy, num_threads=threads)
    for row in range(9):
        one = slice(row, row + 1)
        alone, _, own = layer.forward(x[one], compute="bfloat16")
        np.testing.assert_array_equal(alone, y[one])
        np.testing.assert_array_equal(layer.backward(own, dy[one])[0], dx[one])


def test_the_losses_of_training(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((64, 12, 2)).astype(np.float32)
    target = np.cumsum(x, axis=1)[..., :1].copy()
    curves = []
    for compute in ("float32", "bfloat16"):
        model = gatewise.Sequential(
            gatewise.LSTM(2, 32, seed=0), gatewise.Linear(32, 1, seed=0)
        )
        epochs = gatewise.fit(
            model,
            minibatches(x, target, batch_size=16),
            gatewise.mse,
            gatewise.Adam(0.01),
            epochs=15,
            compute=compute,
            progress=False,
        )
        curves.append([epoch.loss for epoch in epochs])
        assert all(array.dtype == np.float32 for array in model.parameters().values())
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.05)
    assert curves[1][-1] < 0.2 * curves[1][0]


def test_what_is_refused() -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    for compute in ("float16", "", 16):
        with pytest.raises(ValueError, match="compute should be float32 or bfloat16, got"):
            layer.forward(np.ones((1, 2, 3), np.float32), compute=compute)
    with pytest.raises(ValueError, match="compute should be float32 or bfloat16, got"):
        gatewise.fit(layer, [], gatewise.mse, gatewise.Adam(), epochs=1, compute="half")
    with pytest.raises(ValueError, match="weight_format should be "):
        layer.quantize(TO_BFLOAT16)


def test_a_layer_of_float64_stays_what_it_is(backend: str) -> None:
    layer = gatewise.GRU(3, 4, dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    found, _, _ = layer.forward(x, compute="bfloat16")
    np.testing.assert_array_equal(found, layer.forward(x)[0])
