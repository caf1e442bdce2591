"""The sources of dropout and the like in a model, whose states decide how it goes on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["check_states", "generators", "load_states", "states"]

# Beyond it MT19937 reads other memory than its own, and does not look.
_LAST_PLACE = 624


def states(model: Any) -> list[Any]:
    """Return the state of every generator in `model`, in a form that JSON can hold."""
    return [_plain(generator.bit_generator.state) for generator in generators(model)]


def check_states(model: Any, found: list[Any]) -> None:
    """Raise ValueError unless the generators of `model` can have the states `found`."""
    own = list(generators(model))
    if len(found) != len(own):
        raise ValueError(f"random should have {len(own)} states, got {len(found)}")
    for generator, state in zip(own, found, strict=True):
        if not _alike(_plain(generator.bit_generator.state), state):
            name = type(generator.bit_generator).__name__
            raise ValueError(f"random should have a state of {name} in its place")
        try:
            copy.deepcopy(generator.bit_generator).state = state
        except Exception as error:
            raise ValueError(f"random has a state that cannot be: {error}") from error


def load_states(model: Any, found: list[Any]) -> None:
    """Give the generators of `model` the states that `check_states` has seen."""
    for generator, state in zip(generators(model), found, strict=True):
        generator.bit_generator.state = state


def generators(model: Any) -> Iterator[np.random.Generator]:
    """Every generator in `model`, in the order of its layers."""
    for _, leaf in model._leaves():
        if hasattr(leaf, "generator"):
            yield leaf.generator


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _alike(own: Any, found: Any) -> bool:
    """Whether `found` has the names, lengths and kinds of `own`, and no number below 0."""
    if isinstance(own, dict):
        return (
            isinstance(found, dict)
            and own.keys() == found.keys()
            and all(_alike(own[name], found[name]) for name in own)
            and not ("pos" in own and found["pos"] > _LAST_PLACE)
        )
    if isinstance(own, list):
        return (
            isinstance(found, list)
            and len(found) == len(own)
            and all(_alike(0, number) for number in found)
        )
    if isinstance(own, str):
        return bool(own == found)
    return type(found) is int and found >= 0
