"""Gradients by finite differences, values by a plain reference, for every option."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from tests import layers_reference as reference

RAGGED = [3, 0, 5, 3]
LAYERS: list[tuple[str, dict[str, Any]]] = [
    (kind, own | shared)
    for kind, own in [
        ("RNN", {}),
        ("RNN", {"nonlinearity": "relu"}),
        ("LSTM", {}),
        ("LSTM", {"proj_size": 2}),
        ("LSTM", {"peepholes": True}),
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
    ]
    for shared in [
        {},
        {"bias": False},
        {"num_layers": 2, "bidirectional": True},
    ]
] + [
    ("LSTM", {"peepholes": True, "proj_size": 2, "bidirectional": True, "num_layers": 2}),
]
# What training alone does. The figures drawn are the same each time.
RANDOM: list[tuple[str, dict[str, Any]]] = [
    (kind, own | option)
    for kind, own in [
        ("RNN", {}),
        ("LSTM", {"cell_zoneout": 0.4}),
        ("LSTM", {"peepholes": True, "proj_size": 2}),
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
    ]
    for option in [
        {"num_layers": 2, "dropout": 0.4},
        {"num_layers": 2, "dropout": 0.4, "variational": True, "bidirectional": True},
        {"recurrent_dropout": 0.4, "bidirectional": True},
        {"zoneout": 0.3, "num_layers": 2, "bidirectional": True},
        {"zoneout": 0.3, "recurrent_dropout": 0.4, "num_layers": 2, "dropout": 0.2},
    ]
]
FORMS = ["plain", "ragged", "tokens"]


def arguments(
    layer: Any, form: str, generator: np.random.Generator
) -> tuple[Any, Any, Any]:
    """An input, a state that is not zero, and lengths."""
    directions = 2 if layer.bidirectional else 1
    count = layer.num_layers * directions
    x = generator.standard_normal((4, 5, layer.input_size))
    if form == "tokens":
        x = generator.integers(layer.input_size, size=(4, 5))
    state = generator.standard_normal((count, 4, layer.output_size))
    if isinstance(layer, gatewise.LSTM):
        state = (state, generator.standard_normal((count, 4, layer.hidden_size)))
    return x, state, None if form == "plain" else RAGGED


def tuple_of(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def check_gradients(layer: Any, form: str) -> None:
    """Compare gradients with differences of the loss along a random direction of each."""
    generator = np.random.default_rng(7)
    x, state, lengths = arguments(layer, form, generator)

    def forward(x: Any, state: Any) -> Any:
        layer.generator = np.random.default_rng(11)
        return layer.forward(x, state, lengths=lengths)

    y, final, tape = forward(x, state)
    dy = generator.standard_normal(y.shape)
    dfinal = tuple(generator.standard_normal(part.shape) for part in tuple_of(final))

    def loss(x: Any, state: Any) -> float:
        y, final, _ = forward(x, state)
        parts = zip(tuple_of(final), dfinal, strict=True)
        return float((y * dy).sum() + sum((part * dpart).sum() for part, dpart in parts))

    dx, dstate, gradients = layer.backward(
        tape, dy, dfinal if isinstance(final, tuple) else dfinal[0]
    )

    def check(name: str, value: Any, gradient: Any, losses: Any) -> None:
        assert gradient.shape == value.shape, name
        direction = generator.standard_normal(value.shape)
        step = 1e-6
        slope = (losses(value + step * direction) - losses(value - step * direction)) / (
            2 * step
        )
        size = np.abs(gradient * direction).sum()
        assert abs((gradient * direction).sum() - slope) <= 1e-7 * (1 + size), name

    def with_parameter(name: str) -> Any:
        def losses(value: Any) -> float:
            before = layer.state_dict()
            layer.set_parameters({name: value})
            found = loss(x, state)
            layer.set_parameters(before)
            return found

        return losses

    assert list(gradients) == list(layer.parameters())
    for name, value in layer.state_dict().items():
        check(name, value, gradients[name], with_parameter(name))
    if form == "tokens":
        assert dx is None
    else:
        check("x", x, dx, lambda value: loss(value, state))
    for i, (part, dpart) in enumerate(zip(tuple_of(state), tuple_of(dstate), strict=True)):

        def losses(value: Any, i: int = i) -> float:
            parts = [value if i == j else own for j, own in enumerate(tuple_of(state))]
            return loss(x, tuple(parts) if isinstance(state, tuple) else parts[0])

        check(f"state[{i}]", part, dpart, losses)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
def test_gradients(kind: str, options: dict[str, Any], form: str, backend: str) -> None:
    tokens = form == "tokens"
    layer = getattr(gatewise, kind)(3, 4, **options, tokens=tokens, dtype="float64", seed=1)
    check_gradients(layer, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "options"), RANDOM, ids=str)
def test_gradients_of_what_training_draws(
    kind: str, options: dict[str, Any], form: str, backend: str
) -> None:
    tokens = form == "tokens"
    layer = getattr(gatewise, kind)(3, 4, **options, tokens=tokens, dtype="float64", seed=1)
    check_gradients(layer, form)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "options"), LAYERS + RANDOM[::5] + RANDOM[3::5], ids=str)
def test_inference_is_the_reference(
    kind: str, options: dict[str, Any], form: str, dtype: str, backend: str
) -> None:
    tokens = form == "tokens"
    layer = getattr(gatewise, kind)(3, 4, **options, tokens=tokens, dtype=dtype, seed=1)
    x, state, lengths = arguments(layer, form, np.random.default_rng(7))
    one_hot = np.eye(layer.input_size)[x] if form == "tokens" else x
    y, final, cells = reference.recurrence(layer, one_hot, state, lengths)
    found = layer(x, state, lengths=lengths)
    if kind == "LSTM":
        *found, found_cells = layer(x, state, lengths=lengths, return_cells=True)
        np.testing.assert_allclose(found_cells, cells, atol=tolerance(dtype), rtol=0)
    assert found[0].dtype == dtype
    np.testing.assert_allclose(found[0], y, atol=tolerance(dtype), rtol=0)
    for part, expected in zip(tuple_of(found[1]), tuple_of(final), strict=True):
        np.testing.assert_allclose(part, expected, atol=tolerance(dtype), rtol=0)


def tolerance(dtype: str) -> float:
    return 2e-6 if dtype == "float32" else 1e-13


@pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
def test_training_without_chance_is_inference(
    kind: str, options: dict[str, Any], backend: str
) -> None:
    layer = getattr(gatewise, kind)(3, 4, **options, dtype="float64", seed=1)
    x, state, lengths = arguments(layer, "ragged", np.random.default_rng(7))
    y, final = layer(x, state, lengths=lengths)
    trained_y, trained_final, _ = layer.forward(x, state, lengths=lengths)
    np.testing.assert_allclose(trained_y, y, atol=1e-14, rtol=0)
    for part, expected in zip(tuple_of(trained_final), tuple_of(final), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_no_gradient_from_above_is_one_of_zeros(kind: str, backend: str) -> None:
    layer = getattr(gatewise, kind)(3, 4, dtype="float64", seed=1)
    x, state, lengths = arguments(layer, "ragged", np.random.default_rng(7))
    y, final, tape = layer.forward(x, state, lengths=lengths)
    zeros = tuple(np.zeros_like(part) for part in tuple_of(final))
    zeros = zeros if kind == "LSTM" else zeros[0]
    for given, same in [
        ((np.ones_like(y),), (np.ones_like(y), zeros)),
        ((None, final), (np.zeros_like(y), final)),
    ]:
        dx, dstate, gradients = layer.backward(tape, *given)
        same_dx, same_dstate, same_gradients = layer.backward(tape, *same)
        np.testing.assert_array_equal(dx, same_dx)
        np.testing.assert_array_equal(dstate, same_dstate)
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, same_gradients[name])


@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_dropout_between_layers_hides_and_scales(lengths: Any, backend: str) -> None:
    layer = gatewise.RNN(3, 200, 2, dropout=0.25, variational=True, dtype="float64", seed=0)
    _, _, tape = layer.forward(np.ones((2, 5, 3)), lengths=lengths)
    lower, upper = tape.passed.tapes[0][0].y, tape.passed.tapes[1][0].stretches[0].x
    hidden = upper == 0
    assert 0.15 < hidden.mean() < 0.35
    np.testing.assert_allclose(upper[~hidden], lower[~hidden] / 0.75)
    if lengths is None:
        np.testing.assert_array_equal(hidden, np.broadcast_to(hidden[:1], hidden.shape))
    assert (hidden[0, 0] != hidden[0, 1]).any()
    np.testing.assert_array_equal(
        layer(np.ones((2, 5, 3)))[0], layer(np.ones((2, 5, 3)))[0]
    )


def test_dropout_draws_each_step_anew_unless_variational(backend: str) -> None:
    layer = gatewise.RNN(3, 200, 2, dropout=0.25, seed=0)
    _, _, tape = layer.forward(np.ones((2, 5, 3)))
    hidden = tape.passed.tapes[1][0].stretches[0].x == 0
    assert (hidden[0] != hidden[1]).any()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_dropout_leaves_units_out_of_products(kind: str, backend: str) -> None:
    layer = getattr(gatewise, kind)(3, 40, recurrent_dropout=0.25, dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    y, _, tape = layer.forward(x)
    dropped = tape.passed.tapes[0][0].dropped
    assert set(dropped) == {0, 1 / 0.75}
    same = getattr(gatewise, kind)(3, 40, dtype="float64")
    weights = layer.state_dict()
    same.load_state_dict(weights | {"weight_hh_l0": weights["weight_hh_l0"] * dropped})
    np.testing.assert_allclose(same(x)[0], y, atol=1e-14)


def test_zoneout_keeps_units_at_its_rate(backend: str) -> None:
    layer = gatewise.LSTM(3, 500, zoneout=0.2, cell_zoneout=0.6, dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    y, (_, c), _ = layer.forward(x)
    assert (y[:, 1:] == y[:, :-1]).mean() == pytest.approx(0.2, abs=0.03)
    _, (_, before), _ = gatewise.LSTM.forward(layer, x[:, :1])
    # A cell that never moved still is zero: all six steps kept it.
    assert (before == 0).mean() == pytest.approx(0.6, abs=0.05)
    assert (c == 0).mean() == pytest.approx(0.6**6, abs=0.02)


def test_zoneout_at_inference_is_the_expectation_of_a_step(backend: str) -> None:
    layer = gatewise.GRU(3, 4, zoneout=0.3, dtype="float64", seed=0)
    x, h = np.ones((1, 1, 3)), np.full((1, 1, 4), 0.5)
    drawn = [layer.forward(x, h)[0] for _ in range(2000)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), layer(x, h)[0], atol=0.02)


def simple_models() -> dict[str, Any]:
    f64 = {"dtype": "float64", "seed": 3}
    return {
        "linear": gatewise.Sequential(gatewise.Linear(3, 4, **f64)),
        "no bias": gatewise.Sequential(gatewise.Linear(3, 4, bias=False, **f64)),
        "stack": gatewise.Sequential(
            gatewise.GRU(3, 4, **f64),
            gatewise.Dropout(0.3, seed=3),
            gatewise.Sequential(gatewise.LSTM(4, 5, **f64), gatewise.Linear(5, 2, **f64)),
        ),
        "tokens": gatewise.Sequential(
            gatewise.Embedding(3, 4, **f64), gatewise.RNN(4, 2, **f64)
        ),
    }


@pytest.mark.parametrize("which", simple_models())
def test_gradients_of_layers_in_sequence(which: str, backend: str) -> None:
    model = simple_models()[which]
    generator = np.random.default_rng(0)
    x: Any = generator.standard_normal((4, 5, 3))
    if which == "tokens":
        x = generator.integers(3, size=(4, 5))

    def forward() -> Any:
        for layer in model.layers:
            if isinstance(layer, gatewise.Dropout):
                layer.generator = np.random.default_rng(5)
        return model.forward(x, lengths=RAGGED)

    y, _, tape = forward()
    dy = generator.standard_normal(y.shape)
    dx, _, gradients = model.backward(tape, dy)
    assert list(gradients) == list(model.parameters())
    values = model.state_dict() | ({} if which == "tokens" else {"x": x})
    for name, value in values.items():
        gradient = dx if name == "x" else gradients[name]
        assert gradient.shape == value.shape
        numeric = np.empty_like(value)
        for index in np.ndindex(value.shape):
            losses = []
            for step in (1e-6, -1e-6):
                moved = value.copy()
                moved[index] += step
                if name == "x":
                    x = moved
                else:
                    model.set_parameters({name: moved})
                losses.append((forward()[0] * dy).sum())
            numeric[index] = (losses[0] - losses[1]) / 2e-6
            if name != "x":
                model.set_parameters({name: value})
        if name == "x":
            x = value
        np.testing.assert_allclose(gradient, numeric, atol=1e-7, err_msg=name)
