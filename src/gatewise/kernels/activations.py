"""The table of activations that cells can have, and how a user names one.

What each computes, and its slope as a function of its value, say
``kernels.numpy.activations`` and ``csrc/vectors/activations.h``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = [
    "ACTIVATIONS",
    "SIGMOID",
    "STANDARD",
    "TANH",
    "Activation",
    "Activations",
    "Spelling",
    "activation",
    "spelling",
    "stays_within_one",
]

# Whatever the precision of a layer, its activations' numbers are normal ones in single.
_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127

# How a user writes an activation: its name, or the name and the numbers it takes.
Spelling = str | tuple[str | float, ...]


class Activation(NamedTuple):
    """An activation and its numbers, of which most have none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


class Activations(NamedTuple):
    """The activations of a cell: of its gates, its candidate, and of c on its way to h.

    A cell that has no gates, or no c, does not look at those.
    """

    gate: Activation
    candidate: Activation
    output: Activation


# The numbers that each takes, by name, with what they are unless given.
ACTIVATIONS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "sigmoid": {},
        "tanh": {},
        "relu": {},
        "linear": {},
        "hard_sigmoid": {"slope": 1 / 6, "offset": 0.5},
        "softsign": {},
        "softplus": {},
        "exponential": {},
        "elu": {"alpha": 1.0},
        "selu": {},
        "leaky_relu": {"slope": 0.01},
        "thresholded_relu": {"threshold": 1.0},
        "scaled_tanh": {"alpha": 1.0, "beta": 1.0},
        "affine": {"slope": 1.0, "offset": 0.0},
    }
)

SIGMOID, TANH = Activation("sigmoid"), Activation("tanh")
STANDARD = Activations(SIGMOID, TANH, TANH)


def stays_within_one(activation: Activation) -> bool:
    """Whether no value of an activation is beyond 1 or -1."""
    return activation.name in ("sigmoid", "tanh", "hard_sigmoid", "softsign")


def activation(argument: str, given: Any) -> Activation:
    """Return the activation that a user named in an argument.

    Raises
    ------
    ValueError
        If there is none of that name, or its numbers are not finite, or would make its
        slope no function of its value.
    TypeError
        If what is given is neither a name nor a tuple of a name and numbers.

    Examples
    --------
    >>> from gatewise.kernels.activations import activation
    >>> activation("recurrent_activation", ("hard_sigmoid", 0.2))
    Activation(name='hard_sigmoid', alpha=0.2, beta=0.5)
    """
    name, *numbers = given if isinstance(given, tuple | list) and given else (given,)
    if not isinstance(name, str):
        raise TypeError(
            f"{argument} should be the name of an activation, or a tuple of it and its "
            f"numbers, got {given!r}"
        )
    # Of a subclass too, such as NumPy's strings.
    name = str.__str__(name)
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{argument} should be one of {', '.join(ACTIVATIONS)}, got {name!r}"
        )
    takes = ACTIVATIONS[name]
    if len(numbers) > len(takes):
        raise ValueError(f"{argument}: {name} takes {_numbers(takes)}, got {given!r}")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, Real):
            raise TypeError(f"{argument}: {name} takes {_numbers(takes)}, got {given!r}")
        try:
            size = abs(float(number))
        except OverflowError:
            size = math.inf
        if not _SMALLEST <= size <= _LARGEST and size != 0:
            raise ValueError(
                f"{argument} should have numbers that float32 can hold, got {given!r}"
            )
    values = [*map(float, numbers), *list(takes.values())[len(numbers) :]]
    found = Activation(name, *values)
    if not _is_invertible(found):
        raise ValueError(
            f"{argument}: the slope of {given!r} does not follow from its value"
        )
    return found


def spelling(found: Activation) -> Spelling:
    """Return the shortest way to write an activation, which `activation` takes.

    Examples
    --------
    >>> from gatewise.kernels.activations import activation, spelling
    >>> spelling(activation("activation", ("hard_sigmoid", 0.2, 0.5)))
    ('hard_sigmoid', 0.2)
    """
    defaults = list(ACTIVATIONS[found.name].values())
    numbers = list(found[1 : 1 + len(defaults)])
    while numbers and numbers[-1] == defaults[len(numbers) - 1]:
        numbers.pop()
    return (found.name, *numbers) if numbers else found.name


def _numbers(takes: Mapping[str, float]) -> str:
    return " and ".join(takes) if takes else "no numbers"


def _is_invertible(found: Activation) -> bool:
    """Whether its slope can be told from its value, which is what the way back has."""
    if found.name in ("elu", "leaky_relu", "thresholded_relu"):
        return found.alpha >= 0
    return found.name != "scaled_tanh" or found.alpha != 0
