"""What each layer says that it was made with, which makes it again."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

import gatewise
from gatewise.layers.module import SHOWN

# Each argument that a layer's description has, with another value than its default.
SHARED: dict[str, Any] = {
    "num_layers": 2,
    "bias": False,
    "dropout": 0.25,
    "bidirectional": True,
    "recurrent_dropout": 0.5,
    "zoneout": 0.125,
    "variational": True,
    "tokens": True,
    "learn_initial_state": True,
    "dtype": "float64",
}
GATES: dict[str, Any] = {
    "recurrent_activation": ["hard_sigmoid", 0.25],
    "activation": "relu",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "RNN": SHARED | {"nonlinearity": ["leaky_relu", 0.5]},
    "LSTM": SHARED
    | GATES
    | {"proj_size": 2, "peepholes": True, "cell_zoneout": 0.5, "bias": False},
    "GRU": SHARED | GATES | {"reset_after": False},
    "Linear": {"bias": False, "dtype": "float64"},
    "Embedding": {"dtype": "float64"},
    "Dropout": {"p": 0.25},
    "ReLU": {"dtype": "float64"},
    "Tanh": {},
    "Sigmoid": {},
    "Softmax": {},
}
# Another word for an argument, or what only says how parameters start.
LEFT_OUT = {"seed", "forget_bias", "RNN.activation"}


def made(kind: str, **options: Any) -> Any:
    sizes = (3, 4) if kind in ("RNN", "LSTM", "GRU", "Linear", "Embedding") else ()
    return getattr(gatewise, kind)(*sizes, **options)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_layer_is_made_again_from_its_arguments(kind: str) -> None:
    layer = made(kind, **OPTIONS[kind])
    arguments = layer._arguments()
    assert json.loads(json.dumps(arguments)) == arguments
    assert {name: arguments[name] for name in OPTIONS[kind]} == OPTIONS[kind]
    again = getattr(gatewise, kind)(**arguments)
    assert again._arguments() == arguments
    assert repr(again) == repr(layer)
    assert {n: a.shape for n, a in again.parameters().items()} == {
        n: a.shape for n, a in layer.parameters().items()
    }


@pytest.mark.parametrize("kind", OPTIONS)
def test_arguments_and_defaults_are_those_of_the_constructor(kind: str) -> None:
    expected = {
        name: parameter.default
        for name, parameter in inspect.signature(getattr(gatewise, kind)).parameters.items()
        if name not in LEFT_OUT and f"{kind}.{name}" not in LEFT_OUT
    }
    layer = made(kind)
    assert layer._arguments().keys() == expected.keys()
    for name, (value, default) in layer._arguments_and_defaults().items():
        if default is not SHOWN and (kind, name) != ("RNN", "nonlinearity"):
            assert value == default == expected[name], name


def test_a_description_has_what_is_not_the_default() -> None:
    assert repr(made("LSTM", num_layers=2, zoneout=0.5, proj_size=2)).startswith(
        "LSTM(3, 4, num_layers=2, zoneout=0.5, proj_size=2) with"
    )
    assert repr(made("RNN", nonlinearity=("leaky_relu", 0.5), dtype="float64")).startswith(
        "RNN(3, 4, nonlinearity=('leaky_relu', 0.5), dtype='float64') with"
    )
    assert repr(made("Dropout")) == "Dropout(0.5) with 0 parameters"
    assert repr(gatewise.Sequential(made("Linear", bias=False), made("ReLU"))) == (
        "Sequential(Linear(3, 4, bias=False), ReLU()) with 12 parameters"
    )
