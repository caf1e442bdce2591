"""Layers that have an initial state, and comparing what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise

RAGGED = [3, 0, 5, 3]
LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"num_layers": 2, "zoneout": 0.25}),
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "proj_size": 2, "peepholes": True, "cell_zoneout": 0.25}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("GRU", {"reset_after": False, "bias": False}),
]
everywhere = pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
FORMS = ["plain", "ragged", "one", "tokens"]


def made(kind: str, options: dict[str, Any], **more: Any) -> Any:
    return getattr(gatewise, kind)(3, 4, **options, **more, seed=1)


def shapes(layer: Any) -> list[tuple[int, int]]:
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.output_size, layer.hidden_size]
    return [(count, size) for size in sizes[: 1 + isinstance(layer, gatewise.LSTM)]]


def drawn(layer: Any, seed: int = 3) -> Any:
    """An initial state for a layer, in the form in which it is set."""
    generator = np.random.default_rng(seed)
    parts = [generator.standard_normal(shape) for shape in shapes(layer)]
    return tuple(parts) if len(parts) > 1 else parts[0]


def tuple_of(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def like(state: Any, parts: list[Any]) -> Any:
    return tuple(parts) if isinstance(state, tuple) else parts[0]


def repeated(state: Any, batch: int | None) -> Any:
    """The state of a batch whose sequences all start so."""
    if batch is None:
        return state
    return like(state, [np.repeat(part[:, None], batch, 1) for part in tuple_of(state)])


def inputs(layer: Any, form: str) -> tuple[Any, int | None, dict[str, Any]]:
    """The input of a form, how many sequences it has, and the further arguments."""
    generator = np.random.default_rng(5)
    x: Any = generator.standard_normal((4, 5, 3))
    if form == "one":
        return x[0], None, {}
    if form == "tokens":
        x = generator.integers(3, size=(4, 5))
    return x, 4, {"lengths": RAGGED} if form == "ragged" else {}


def check_same(found: Any, expected: Any) -> None:
    """Compare arrays, in tuples and dictionaries, bit for bit."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other)
    elif expected is not None:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
