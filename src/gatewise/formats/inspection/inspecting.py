"""What a file of arrays holds, which layers it has, and the Python that loads each."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from gatewise.formats import architecture, own
from gatewise.formats.containers import Container, Header
from gatewise.formats.errors import ArgumentNeeded, FormatError
from gatewise.formats.inspection.found_layers import Found, found_layers, quoted
from gatewise.formats.json.nam import from_nam
from gatewise.formats.json.networks import from_rtneural
from gatewise.formats.keras.reading import layer_in, layers_of
from gatewise.formats.keras.recurrent import Given
from gatewise.formats.onnx.constants import Constants
from gatewise.formats.onnx.container import Opened
from gatewise.formats.onnx.model import Scope
from gatewise.formats.onnx.reading import layer_of, names_of, recurrent_nodes
from gatewise.formats.opening import open_regular
from gatewise.formats.recognising import opener, recognised
from gatewise.layers import Module

__all__ = ["Inspection", "inspect", "plain"]

# What JSON and every reader of it can hold.
_DEEPEST = 20
_LARGEST = 2**63
_PACKED = ("tar", "gzip")
# Nodes of a file, each of which is looked for in the whole of it.
_MOST_TRIED = 100


class Inspection(NamedTuple):
    """What `inspect` found in a file.

    Attributes
    ----------
    path : str
    format : str
        What the file is, such as ``"safetensors"``.
    arrays : dict of str to Header
        The dtype and the shape of each array.
    metadata : dict
        What else the file says.
    layers : list of Found
        The layers that gatewise can make of it, or knows that it cannot: what each is,
        what the file calls it, the line of Python that makes it, and notes.
    """

    path: str
    format: str
    arrays: dict[str, Header]
    metadata: dict[str, Any]
    layers: list[Found]

    def plain(self) -> dict[str, Any]:
        """Return it all in types that JSON has."""
        return {
            "path": self.path,
            "format": self.format,
            "arrays": [
                {
                    "name": name,
                    "dtype": header.stored or str(header.dtype),
                    "shape": list(header.shape),
                }
                for name, header in self.arrays.items()
            ],
            "metadata": plain(self.metadata),
            "layers": [
                {
                    **found._asdict(),
                    "notes": list(found.notes),
                    "arrays": list(found.arrays),
                }
                for found in self.layers
            ],
        }


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Look at any file that `gatewise.load_arrays` reads, without reading its arrays.

    Of files that hold a whole network, and of Keras' and ONNX', the layers are made, to see
    that it can be done; of others names and shapes tell what there is.

    Parameters
    ----------
    path
        The file. It is not trusted.

    Returns
    -------
    Inspection
        What it is, what is in it, and the Python that loads each layer.

    Raises
    ------
    OSError
        If the file cannot be opened.
    FormatError
        If it is of no known format, damaged or hostile.
    ImportError
        If it is a model of ONNX and the package onnx is missing.

    Examples
    --------
    >>> import os, tempfile
    >>> import gatewise
    >>> from gatewise.formats import inspect
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "voice.safetensors")
    ...     gatewise.save(gatewise.GRU(3, 8), path)
    ...     found = inspect(path)
    >>> found.format, found.arrays["weight_ih_l0"].shape, found.layers[0].layer
    ('safetensors', (24, 3), 'GRU(3, 8)')
    >>> found.layers[0].python == f"gatewise.load({path!r})".replace("'", '"')
    True
    """
    with open_regular(path) as file:
        kind = recognised(file, path)
        container = opener(kind)(file)
        text = os.fsdecode(path)
        find = _FINDERS.get(container.format, _by_names)
        is_own = container.format == own.Own.format and own.is_own(container)
        if kind in _PACKED:
            # What tells more than names do is not read out of archives.
            by_names = find is _by_names or (find is _safetensors and not is_own)
            find = _by_names if by_names else _packed
        elif is_own:
            container = own.open_own(file)
        layers = find(container, file, text)
    return Inspection(
        text,
        container.format,
        dict(container.headers),
        dict(container.metadata),
        layers,
    )


def plain(value: object, depth: int = 0) -> Any:
    """Return a value in types that JSON has, what JSON has not as a text.

    Examples
    --------
    >>> from gatewise.formats.inspection.inspecting import plain
    >>> plain({"a": (1, float("inf")), 2: {3}})
    {'a': [1, 'inf'], '2': '{3}'}
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        fits = -_LARGEST <= value < _LARGEST
        return int(value) if fits else f"a number of {value.bit_length()} bits"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry, depth + 1) for entry in value]
    return repr(value)


def _by_names(container: Container, file: BinaryIO, path: str) -> list[Found]:
    return found_layers(container.headers, path)


def _packed(container: Container, file: BinaryIO, path: str) -> list[Found]:
    note = f"unpack it: {container.format} is read out of archives for its arrays alone"
    return [Found("what an archive has", "", "", (note,))]


def _safetensors(container: Container, file: BinaryIO, path: str) -> list[Found]:
    if not isinstance(container, own.Own) or container.network is None:
        return _by_names(container, file, path)
    said = container.network.dictionary("architecture")
    model = architecture.make(said, len(container.headers))
    return [Found(model._description(), "", f"gatewise.load({quoted(path)})")]


def _nam(container: Container, file: BinaryIO, path: str) -> list[Found]:
    return [_network("from_nam", from_nam, path)]


def _rtneural(container: Container, file: BinaryIO, path: str) -> list[Found]:
    found = _network("from_rtneural", from_rtneural, path)
    if found.python:
        return [found]
    alone = _network("from_rtneural", from_rtneural, path, network_only=True)
    return [alone._replace(notes=found.notes) if alone.python else found]


def _onnx(container: Container, file: BinaryIO, path: str) -> list[Found]:
    assert isinstance(container, Opened)
    nodes = recurrent_nodes(container.scopes)
    names = names_of(nodes)
    # For all of them, so that what they share is computed once.
    constants = Constants(file.seek(0, os.SEEK_END))
    found = []
    for (scope, node), (name, is_alone) in islice(
        zip(nodes, names, strict=True), _MOST_TRIED
    ):
        made = Found(node.op_type, name, "", ("there are several nodes of this name",))
        if is_alone:
            made = _made(
                "from_onnx", partial(_layer_of, scope, node, constants), path, node=name
            ).layer
        found.append(made._replace(layer=made.layer or node.op_type, name=name))
    if len(nodes) > _MOST_TRIED:
        found.append(Found(f"{len(nodes) - _MOST_TRIED} more nodes", "", ""))
    return found


def _layer_of(
    scope: Scope, chosen: Any, constants: Constants, *_: Any, **__: Any
) -> Module:
    """What `from_onnx` does of a node that is there already."""
    return layer_of(scope, chosen, constants)


def _keras(container: Container, file: BinaryIO, path: str) -> list[Found]:
    try:
        there = layers_of(container)
    except FormatError as error:
        return [Found("layers of Keras", "", "", (str(error),))]
    layers = [
        layer
        for layer in there[0]
        if not layer.is_inner and (layer.parts or any(layer.place.names()))
    ]
    if not layers:
        return _by_names(container, file, path)

    def make(_: object, layer: str, **given: Any) -> Module:
        """What `from_keras` does of a file that is open already."""
        found: Module = layer_in(container, there, layer, Given(**given))
        return found

    found = [
        _keras_layer(make, path, layer.name, layer.kind) for layer in layers[:_MOST_TRIED]
    ]
    if len(layers) > _MOST_TRIED:
        found.append(Found(f"{len(layers) - _MOST_TRIED} more layers", "", ""))
    return found


def _keras_layer(make: Callable[..., Module], path: str, name: str, kind: str) -> Found:
    """A layer, with what has to be given since the file does not say it."""
    options: dict[str, str | bool] = {"layer": name}
    notes: list[str] = []
    while True:
        made = _made("from_keras", make, path, **options)
        if made.layer.python:
            return made.layer._replace(name=name, notes=tuple(notes))
        needed = made.needed
        if needed is None or needed.argument in options:
            return Found(kind or "a layer", name, "", made.layer.notes)
        options[needed.argument] = needed.answer
        notes += made.layer.notes


def _network(
    name: str, function: Callable[..., Module], path: str, **options: bool
) -> Found:
    """A whole network, or why there is none."""
    found = _made(name, function, path, **options).layer
    return found._replace(layer=found.layer or "a network")


class _Made(NamedTuple):
    """A layer, or none and why; what would have to be given, if that is why."""

    layer: Found
    needed: ArgumentNeeded | None = None


def _made(
    name: str, function: Callable[..., Module], path: str, **options: str | bool
) -> _Made:
    """What a function makes of the file."""
    try:
        model = function(path, **options)
    except FormatError as error:
        # The cause is what was wrong, where the path has been put before it.
        needed = [e for e in (error, error.__cause__) if isinstance(e, ArgumentNeeded)]
        return _Made(
            Found("", "", "", (str(error).removeprefix(f"{path}: "),)),
            needed[0] if needed else None,
        )
    more = "".join(
        f", {option}={quoted(value) if isinstance(value, str) else value}"
        for option, value in options.items()
    )
    line = f"gatewise.{name}({quoted(path)}{more})"
    return _Made(Found(model._description(), "", line))


_FINDERS: Mapping[str, Callable[[Container, BinaryIO, str], list[Found]]] = {
    "safetensors": _safetensors,
    "nam": _nam,
    "rtneural": _rtneural,
    "guitarml": _rtneural,
    "onnx": _onnx,
    "keras": _keras,
    "hdf5": _keras,
}
