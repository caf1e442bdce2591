"""What a network is made of, its parameters apart: said in JSON's types, made again."""

from __future__ import annotations

import inspect
import reprlib
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any

from gatewise.formats.errors import FormatError
from gatewise.formats.fields import Fields
from gatewise.layers import (
    GRU,
    LSTM,
    RNN,
    Conv1d,
    Dropout,
    Embedding,
    Linear,
    Module,
    Recurrent,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    parameters,
)
from gatewise.layers.quantizable import Quantizable

__all__ = ["CLASSES", "describe", "is_known", "make"]

# Whatever a file says, nothing else is made.
CLASSES: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (
        GRU,
        LSTM,
        RNN,
        Conv1d,
        Dropout,
        Embedding,
        Linear,
        ReLU,
        Sequential,
        Sigmoid,
        Softmax,
        Tanh,
    )
}
# What parameters and generators start from, which is no part of a finished layer.
_STARTS = {"seed", "forget_bias"}
# The bits that int8 weights go with where a file, as the first ones, does not say.
_ACTIVATIONS = 15
# Layers in layers, and places in all of them: one that stands in two layers that stand in
# two, and so on, would soon stand in more than there is memory for.
_DEEPEST = 100
_MOST_PLACES = 10_000


def is_known(model: object) -> bool:
    """Whether `describe` can describe a layer: it and all in it are of gatewise's own."""
    if type(model) is Sequential:
        return all(is_known(layer) for layer in model.layers)
    return type(model) in CLASSES.values()


def describe(model: Module) -> dict[str, Any]:
    """Return what `make` makes the same layers from.

    Parameters
    ----------
    model : layer
        One of gatewise's own. A layer that stands in several places is described where it
        comes first.

    Raises
    ------
    TypeError
        If it is none, such as a class derived from one.
    ValueError
        If layers are nested more than a hundred deep, or stand in 10,000 places.

    Examples
    --------
    >>> import gatewise
    >>> from gatewise.formats.architecture import describe
    >>> describe(gatewise.Dropout(0.5))
    {'class': 'Dropout', 'arguments': {'p': 0.5}}
    """
    return _Describing().describe(model, ())


class _Describing:
    def __init__(self) -> None:
        # Where each layer came first, and in how many places it is, with what is in it.
        self._first: dict[int, tuple[str, int]] = {}
        self._places = 0

    def describe(self, model: Module, way: tuple[int, ...]) -> dict[str, Any]:
        if id(model) in self._first:
            path, places = self._first[id(model)]
            self._count(places)
            return {"same_as": path}
        before = self._places
        self._count(1)
        if type(model) is Sequential:
            if len(way) >= _DEEPEST:
                raise ValueError(
                    f"model should be nested at most {_DEEPEST} deep, got a deeper one"
                )
            found = [self.describe(part, (*way, i)) for i, part in enumerate(model.layers)]
            said: dict[str, Any] = {"class": "Sequential", "layers": found}
        else:
            said = _described_alone(model)
        self._first[id(model)] = _path(way), self._places - before
        return said

    def _count(self, places: int) -> None:
        self._places += places
        if self._places > _MOST_PLACES:
            raise ValueError(
                f"model should have layers in at most {_MOST_PLACES} places, got more"
            )


def _described_alone(model: Module) -> dict[str, Any]:
    if not is_known(model):
        raise TypeError(
            f"model should be made of gatewise's own layers, got {type(model).__name__}"
        )
    said: dict[str, Any] = {
        "class": type(model).__name__,
        "arguments": model._arguments(),
    }
    if isinstance(model, Quantizable) and model._is_narrow:
        said["weight_format"] = model.weight_format
        if model.activation_bits not in (None, _ACTIVATIONS):
            said["activations"] = model.activation_bits
    if (
        isinstance(model, Recurrent)
        and model.initial_state is not None
        and not model.learn_initial_state
    ):
        said["initial_state"] = True
    return said


def make(said: object, most: int) -> Module:
    """Make layers without the values of their parameters; see `parameters.left_out`.

    Parameters
    ----------
    said : object
        What `describe` returned, if all is well.
    most : int
        How many parameters there are to come.

    Raises
    ------
    FormatError
        If it is no description, or one of what this gatewise has not.
    """
    try:
        with parameters.left_out(most):
            return _Making().make(said, ())
    except FormatError:
        raise
    except RecursionError:
        raise FormatError("its layers are nested too deep") from None
    except (TypeError, ValueError, OverflowError) as error:
        said = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise FormatError(f"its layers cannot be made: {said}") from None


class _Making:
    def __init__(self) -> None:
        self._made: dict[str, tuple[Module, int]] = {}
        self._places = 0

    def make(self, said: object, way: tuple[int, ...]) -> Module:
        path = _path(way)
        shown = f"layer {path}" if path else "model"
        fields = Fields(said, shown)
        if fields.has("same_as"):
            first = fields.text("same_as")
            if first not in self._made:
                raise FormatError(
                    f"{shown} is the same as {reprlib.repr(first)}, which is none before"
                )
            model, places = self._made[first]
            self._count(places)
            return model
        before = self._places
        self._count(1)
        name = fields.text("class")
        if name not in CLASSES:
            raise FormatError(
                f"{shown} should be one of {', '.join(CLASSES)}, got "
                f"{reprlib.repr(name)}; another gatewise may know it"
            )
        if name == "Sequential":
            if len(way) >= _DEEPEST:
                raise FormatError("its layers are nested too deep")
            parts = fields.dictionaries("layers")
            model = Sequential(*(self.make(p, (*way, i)) for i, p in enumerate(parts)))
        else:
            model = _made_alone(name, fields)
        self._made[path] = model, self._places - before
        return model

    def _count(self, places: int) -> None:
        self._places += places
        if self._places > _MOST_PLACES:
            raise FormatError(f"its layers stand in more than {_MOST_PLACES} places")


def _made_alone(name: str, fields: Fields) -> Module:
    kind, arguments = CLASSES[name], fields.dictionary("arguments")
    known = _options(name)
    for argument in arguments:
        if argument not in known:
            raise FormatError(
                f"{name} has no option {reprlib.repr(argument)}; "
                "another gatewise may know it"
            )
    model: Module = kind(
        **{n: tuple(v) if isinstance(v, list) else v for n, v in arguments.items()}
    )
    own = model._arguments()
    for argument, value in arguments.items():
        if type(own.get(argument)) is not type(value) or own[argument] != value:
            raise FormatError(
                f"{name} should have a {argument} such as {own.get(argument)!r}, "
                f"got {reprlib.repr(value)}"
            )
    if isinstance(model, Recurrent) and fields.has("initial_state"):
        model._add_initial_state()
    if isinstance(model, Quantizable) and fields.has("weight_format"):
        bits = (
            fields.integer("activations", lowest=1) if fields.has("activations") else None
        )
        model = model.quantize(fields.text("weight_format"), activations=bits)
    return model


@cache
def _options(name: str) -> frozenset[str]:
    return frozenset(inspect.signature(CLASSES[name]).parameters.keys() - _STARTS)


def _path(way: tuple[int, ...]) -> str:
    return ".".join(map(str, way))
