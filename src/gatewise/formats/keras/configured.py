"""The layers of a file of Keras that has a configuration, and where their arrays are.

The configuration is only looked at: its classes are compared with names that are known
here, and nothing is imported, built or run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.keras.found import CELLS, LAYERS, Found, Part
from gatewise.formats.keras.places import (
    OLD_LAYERS,
    ListedPlace,
    PathPlace,
    Place,
    keys_of,
    listed_layers,
    old_keys_of,
)

__all__ = ["configured"]

_DEEPEST = 32
_LONGEST_NAME = 1024
Config = Mapping[str, Any]


def configured(container: Container, config: object) -> list[Found]:
    """Return the layers in the order of the configuration, those of inner models too.

    Raises
    ------
    FormatError
        If the configuration is none of Keras's.
    """
    layers = _inner_layers(config)
    if layers is None:
        return []
    listed = listed_layers(container) if container.format == "hdf5" else None
    shared: dict[Any, Place] = {}
    try:
        return list(_walk(container, layers, "", "", listed, None, shared, 0))
    except RecursionError:
        raise FormatError("its configuration goes too deep") from None


def _inner_layers(layer: object) -> list[Config] | None:
    """The layers of a model, or None if this is none."""
    if not isinstance(layer, Mapping):
        raise FormatError("its configuration should be a dictionary")
    config = layer.get("config")
    # Up to Keras 2.2 a Sequential's was just the list.
    layers = config.get("layers") if isinstance(config, Mapping) else config
    if not isinstance(layers, list):
        return None
    if not all(isinstance(each, Mapping) for each in layers):
        raise FormatError("its configuration should have a list of layers")
    return [each for each in layers if not _is_operation(each)]


def _is_operation(layer: Config) -> bool:
    """Whether this is a function in a graph, which has no name in paths."""
    return str(layer.get("module", "")).startswith("keras.src.ops")


def _walk(
    container: Container,
    layers: list[Config],
    prefix: str,
    path: str,
    listed: dict[str, ListedPlace] | None,
    around: ListedPlace | None,
    shared: dict[Any, Place],
    depth: int,
) -> Iterator[Found]:
    """The layers of a model.

    `prefix` stands before their names and `path` before their paths; `listed` has the
    places of those that have groups of their own, and `around` is the place of a model that
    has one.
    """
    if depth > _DEEPEST:
        raise FormatError(f"its configuration has models in models, more than {_DEEPEST}")
    classes = [str(each.get("class_name", "")) for each in layers]
    home, keys = "layers", keys_of(classes)
    if listed is None and any(
        n.startswith(f"{path}{OLD_LAYERS}/") for n in container.headers
    ):
        home, keys = OLD_LAYERS, old_keys_of(classes, container, path)
    for layer, kind, key in zip(layers, classes, keys, strict=True):
        name = _name(layer, key)
        place: Place
        if listed is not None:
            place = around.inner(name) if around else listed.get(name, ListedPlace([]))
        else:
            place = PathPlace(container, f"{path}{home}/{key}")
        inner = _inner_layers(layer)
        if inner is not None:
            own = place if isinstance(place, ListedPlace) else None
            below = f"{path}{home}/{key}/"
            yield from _walk(
                container, inner, f"{prefix}{name}/", below, listed, own, shared, depth + 1
            )
            continue
        place = _shared(layer, place, container, shared)
        yield from _found(layer, kind, f"{prefix}{name}", place)


def _name(layer: Config, key: str) -> str:
    config = layer.get("config")
    for holder in (config, layer):
        if isinstance(holder, Mapping) and isinstance(holder.get("name"), str):
            key = str(holder["name"])
            break
    if len(key) > _LONGEST_NAME:
        raise FormatError(f"its configuration has a name of {len(key)} letters")
    return key


def _shared(
    layer: Config, place: Place, container: Container, shared: dict[Any, Place]
) -> Place:
    """The place of a layer that stands in several models, where the first one has it."""
    number = layer.get("shared_object_id")
    if not isinstance(number, int) or not isinstance(place, PathPlace):
        return place
    if any(name.startswith(f"{place.path}/") for name in container.headers):
        shared.setdefault(number, place)
    return shared.get(number, place)


def _found(layer: Config, kind: str, name: str, place: Place) -> Iterator[Found]:
    config = layer.get("config")
    if not isinstance(config, Mapping):
        return
    if kind == "Bidirectional":
        yield from _both(config, name, place)
    elif kind == "TimeDistributed":
        inner, inner_kind = _wrapped(config, "layer", name)
        yield from _found(inner, inner_kind, name, place.part("layer"))
    elif kind == "RNN" or kind in LAYERS:
        yield _recurrent(config, kind, name, place)
    else:
        yield Found(name, kind, place, config)


def _wrapped(config: Config, key: str, name: str) -> tuple[Config, str]:
    inner = config.get(key)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("config"), Mapping):
        raise FormatError(f"{name!r} should have a {key} in its configuration")
    return inner, str(inner.get("class_name", ""))


def _recurrent(config: Config, kind: str, name: str, place: Place) -> Found:
    backwards = bool(config.get("go_backwards", False))
    if kind in LAYERS:
        is_cudnn = kind.startswith("CuDNN")
        own = place if is_cudnn else place.part("cell")
        parts = [[Part(own, LAYERS[kind], config, is_cudnn)]]
        return Found(name, kind, place, config, parts, go_backwards=backwards)
    cell, cell_kind = _wrapped(config, "cell", name)
    own = place.part("cell")
    cells, places = [cell], [own]
    if cell_kind == "StackedRNNCells":
        found = cell["config"].get("cells")
        if not isinstance(found, list) or not all(_is_cell(each) for each in found):
            raise FormatError(f"{name!r} should have a list of cells in its configuration")
        cells = found
        classes = [str(each.get("class_name")) for each in cells]
        has_bias = [bool(each["config"].get("use_bias", True)) for each in cells]
        places = own.cells(classes, has_bias)
    parts = []
    problem = None
    for each, where in zip(cells, places, strict=True):
        of_kind = str(each.get("class_name"))
        if of_kind not in CELLS:
            problem = f"{name!r} has cells of the class {of_kind[:60]!r}"
            break
        parts.append([Part(where, CELLS[of_kind], each["config"])])
    return Found(name, "RNN", place, config, parts, go_backwards=backwards, problem=problem)


def _is_cell(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("config"), Mapping)


def _both(config: Config, name: str, place: Place) -> Iterator[Found]:
    """Two directions as one layer, and each of them by its own name."""
    layer, kind = _wrapped(config, "layer", name)
    other, other_kind = layer, kind
    if config.get("backward_layer") is not None:
        other, other_kind = _wrapped(config, "backward_layer", name)
    if kind not in LAYERS and kind != "RNN":
        yield Found(name, f"Bidirectional({kind[:60]})", place, config)
        return
    halves = []
    for direction, wrapped, of_kind in (
        ("forward", layer, kind),
        ("backward", other, other_kind),
    ):
        own = wrapped["config"]
        inner = str(own.get("name", of_kind))
        if wrapped is layer and not inner.startswith(f"{direction}_"):
            inner = f"{direction}_{inner.removeprefix('forward_')}"
        where = place.part(f"{direction}_layer")
        halves.append(_recurrent(own, of_kind, f"{name}/{inner}", where))
    first, second = halves
    problem = first.problem or second.problem
    if first.go_backwards:
        problem = f"{name!r} has a forward layer that goes backwards"
    elif len(first.parts) != len(second.parts):
        problem = (
            f"{name!r} has directions of {len(first.parts)} and {len(second.parts)} cells"
        )
    elif len(first.parts) > 1:
        # Here each direction goes through all cells before it meets the other one.
        problem = f"{name!r} has two directions, each of several cells"
    pairs = (
        []
        if problem
        else [[*a, *b] for a, b in zip(first.parts, second.parts, strict=True)]
    )
    mode = config.get("merge_mode", "concat")
    yield Found(
        name,
        "Bidirectional",
        place,
        config,
        pairs,
        merge_mode=mode if isinstance(mode, str) else None,
        problem=problem,
    )
    for half, direction in ((first, "forward_layer"), (second, "backward_layer")):
        backwards = half.go_backwards or (half is second and other is layer)
        yield Found(
            half.name,
            half.kind,
            half.place,
            half.config,
            half.parts,
            go_backwards=backwards,
            aliases=(f"{name}/{direction}",),
            is_inner=True,
            problem=half.problem,
        )
