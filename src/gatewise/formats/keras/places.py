"""Where the arrays of a layer are in a file of Keras.

Up to Keras 2.15 and in ``.h5`` files to this day each layer of the outermost model has a
group of its name, with a list of the names of its arrays, inner layers' among them. Since
2.12 ``.keras`` and ``.weights.h5`` files have a path that follows the attributes of the
layers' objects, in which a layer stands by its class and a count of those before it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError

__all__ = ["OLD_LAYERS", "ListedPlace", "PathPlace", "Place", "listed_layers", "snake"]

OLD_LAYERS = "_layer_checkpoint_dependencies"


class Place(ABC):
    """Where the arrays of one layer or cell are."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names of its arrays in the file, in the order of Keras's own weights."""

    @abstractmethod
    def part(self, attribute: str) -> Place:
        """The place of what the layer has under a name, such as its cell."""

    @abstractmethod
    def cells(self, classes: Sequence[str], has_bias: Sequence[bool]) -> list[Place]:
        """The places of several cells that the cell is made of."""


class PathPlace(Place):
    """A path that follows the attributes of objects.

    Parameters
    ----------
    container
        The open file.
    path
        Of the layer, such as ``"layers/lstm"``.
    """

    def __init__(self, container: Container, path: str) -> None:
        self._container = container
        self.path = path

    def names(self) -> list[str]:
        """The arrays ``vars/0``, ``vars/1``, ... ."""
        found: list[str] = []
        while (name := f"{self.path}/vars/{len(found)}") in self._container.headers:
            found.append(name)
        return found

    def part(self, attribute: str) -> PathPlace:
        """The path one further."""
        return PathPlace(self._container, f"{self.path}/{attribute}")

    def cells(self, classes: Sequence[str], has_bias: Sequence[bool]) -> list[Place]:
        """The paths below ``cells``."""
        keys = keys_of(classes)
        return [PathPlace(self._container, f"{self.path}/cells/{key}") for key in keys]


class ListedPlace(Place):
    """Some of the arrays that a group lists.

    Parameters
    ----------
    weights
        Each array's name among the layer's weights and its name in the file.
    """

    def __init__(self, weights: Sequence[tuple[str, str]]) -> None:
        self.weights = list(weights)

    def names(self) -> list[str]:
        """The arrays in the order of the list."""
        return [name for _, name in self.weights]

    def part(self, attribute: str) -> ListedPlace:
        """For two directions the arrays of one of them; else the same arrays."""
        if attribute not in ("forward_layer", "backward_layer"):
            return self
        second = [pair for pair in self.weights if _goes_backward(pair[0])]
        first = [pair for pair in self.weights if not _goes_backward(pair[0])]
        if not first or not second:
            # A direction may have any name; the first one's arrays come first.
            half = len(self.weights) // 2
            first, second = self.weights[:half], self.weights[half:]
        return ListedPlace(second if attribute == "backward_layer" else first)

    def inner(self, name: str) -> ListedPlace:
        """The arrays of the layer `name` in a model that is a layer itself."""
        return ListedPlace(
            [pair for pair in self.weights if name in pair[0].split("/")[:-1]]
        )

    def cells(self, classes: Sequence[str], has_bias: Sequence[bool]) -> list[Place]:
        """The arrays of the first cell, then those of the second, ... ."""
        places: list[Place] = []
        start = 0
        for bias in has_bias:
            end = start + 2 + bias
            places.append(ListedPlace(self.weights[start:end]))
            start = end
        if start != len(self.weights):
            raise FormatError(
                f"should have {start} arrays for its cells, got {len(self.weights)}"
            )
        return places


def _goes_backward(name: str) -> bool:
    return any(part.startswith("backward_") for part in name.split("/"))


def snake(name: str) -> str:
    """A class's name as Keras writes it in paths: ``SimpleRNN`` as ``simple_rnn``."""
    plain = re.sub(r"\W+", "", name)
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", plain)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def keys_of(classes: Iterable[str]) -> list[str]:
    """What layers of these classes are called in a path, in this order."""
    counts: dict[str, int] = {}
    keys = []
    for each in classes:
        name = snake(each)
        counts[name] = counts.get(name, -1) + 1
        keys.append(f"{name}_{counts[name]}" if counts[name] else name)
    return keys


def old_keys_of(classes: Iterable[str], container: Container, path: str) -> list[str]:
    """The same up to Keras 2.13, where a layer with arrays counts twice.

    So the layers of a class stand in their order, whatever their numbers.
    """
    start = f"{path}{OLD_LAYERS}/"
    there = {
        name.removeprefix(start).split("/")[0]
        for name in container.headers
        if name.startswith(start)
    }
    waiting: dict[str, list[tuple[int, str]]] = {}
    for key in there:
        base, _, number = key.rpartition("_")
        is_counted = number.isdecimal() and base != ""
        name = base if is_counted else key
        waiting.setdefault(name, []).append((int(number) if is_counted else 0, key))
    for keys in waiting.values():
        keys.sort(reverse=True)
    return [
        waiting[snake(each)].pop()[1] if waiting.get(snake(each)) else snake(each)
        for each in classes
    ]


def listed_layers(container: Container) -> dict[str, ListedPlace]:
    """The layers of a file in which groups list them, by their names; or nothing."""
    metadata = container.metadata
    for group in ("model_weights", ""):
        attributes = metadata["groups"].get(group, {}) if group else metadata
        names = _listed(attributes, "layer_names")
        if names is not None:
            prefix = f"{group}/" if group else ""
            return {name: _listed_place(container, prefix, name) for name in names}
    return {}


def _listed_place(container: Container, prefix: str, layer: str) -> ListedPlace:
    group = f"{prefix}{layer}"
    attributes = container.metadata["groups"].get(group, {})
    weights = []
    for name in _listed(attributes, "weight_names") or []:
        path = f"{group}/{name}"
        if path not in container.headers:
            raise FormatError(f"{group!r} should have {name!r}, which it lists, got none")
        weights.append((name, path))
    return ListedPlace(weights)


def _listed(attributes: Mapping[str, Any], name: str) -> list[str] | None:
    """A list of texts, of which HDF5 has several pieces where it is long."""
    if name in attributes:
        found = attributes[name]
    elif f"{name}0" in attributes:
        found = []
        while isinstance(piece := attributes.get(f"{name}{len(found)}"), list):
            found.append(piece)
        found = [text for piece in found for text in piece]
    else:
        return None
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise FormatError(f"its attribute {name!r} should be a list of texts")
    return found
