"""The layers of a file of Keras that has arrays only, told by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from gatewise.formats.containers import Container
from gatewise.formats.keras.found import Found, Part
from gatewise.formats.keras.places import ListedPlace, PathPlace, Place, listed_layers

__all__ = ["unconfigured"]

_FIRST = "/vars/0"
_CELL = re.compile(r"(lstm|gru|simple_rnn)_cell(_\d+)?")
_STACK = re.compile(r"stacked_rnn_cells(_\d+)?")
_FIRST_VERSION = re.compile(r"_[WUb](_[icfozrh])?(:0)?$")
_DIRECTION = re.compile(r"(forward|backward)_.+")


def unconfigured(container: Container) -> list[Found]:
    """Return the layers that have arrays, in the order in which they stand in the file."""
    listed = listed_layers(container)
    return list(_of_lists(container, listed) if listed else _of_paths(container))


def _of_paths(container: Container) -> Iterator[Found]:
    """Layers by their paths; newer files also have their names."""
    groups = container.metadata["groups"]
    owners = [n.removesuffix(_FIRST) for n in container.headers if n.endswith(_FIRST)]
    cells: dict[str, list[Place]] = {}
    for owner in owners:
        place = PathPlace(container, owner)
        layer, _, last = owner.rpartition("/")
        if last == "cell":
            cells[layer] = [place]
        elif layer.endswith("/cell/cells"):
            # In order, since there are never so many that a name's last digit misleads.
            cells.setdefault(layer.removesuffix("/cell/cells"), []).append(place)
        elif _is_cudnn(container, place) and not _is_state(owner):
            cells[owner] = [place]
        elif not _is_state(owner):
            yield Found(owner, "", place, aliases=_names(groups, owner), is_path=True)
    yield from _with_directions(
        {path: [Part(each) for each in _in_order(found)] for path, found in cells.items()},
        lambda path: PathPlace(container, path),
        lambda path: _names(groups, path),
    )


def _is_state(path: str) -> bool:
    """Whether this is no layer but what a layer or a training keeps for itself."""
    return path.startswith("optimizer") or "seed_generator" in path


def _names(groups: Mapping[str, Mapping[str, object]], path: str) -> tuple[str, ...]:
    name = groups.get(f"{path}/vars", {}).get("name")
    return (name,) if isinstance(name, str) and name else ()


def _in_order(places: list[Place]) -> list[Place]:
    def number(place: Place) -> int:
        path = place.path if isinstance(place, PathPlace) else ""
        digits = re.search(r"_(\d+)$", path)
        return int(digits[1]) if digits else 0

    return sorted(places, key=number)


def _of_lists(container: Container, listed: Mapping[str, ListedPlace]) -> Iterator[Found]:
    """Layers by the groups that list their arrays, inner ones by these arrays' names."""
    for layer, place in listed.items():
        owners: dict[str, dict[str, list[tuple[str, str]]]] = {}
        for name, path in place.weights:
            parts = name.split("/")[:-1]
            cell = ""
            if parts and _CELL.fullmatch(parts[-1]):
                cell = parts.pop()
            if parts and _STACK.fullmatch(parts[-1]):
                parts.pop()
            if parts and parts[0] == layer:
                parts.pop(0)
            owner = "/".join([layer, *parts])
            owners.setdefault(owner, {}).setdefault(cell, []).append((name, path))
        recurrent: dict[str, list[Part]] = {}
        for owner, cells in owners.items():
            parts_of = [_listed_part(weights) for weights in cells.values()]
            found = [part for part in parts_of if part is not None]
            if len(found) == len(parts_of):
                recurrent[owner] = found
            else:
                yield Found(owner, "", ListedPlace([w for c in cells.values() for w in c]))
        yield from _with_directions(recurrent, lambda _: ListedPlace([]), lambda _: ())


def _with_directions(
    recurrent: Mapping[str, list[Part]],
    place_of: Callable[[str], Place],
    names_of: Callable[[str], tuple[str, ...]],
) -> Iterator[Found]:
    """Recurrent layers, two directions of one as one layer and each by its own name."""
    pairs: dict[str, dict[str, str]] = {}
    for path in recurrent:
        above, _, last = path.rpartition("/")
        found = _DIRECTION.fullmatch(last)
        if found:
            pairs.setdefault(above, {})[found[1]] = path
    for above, both in pairs.items():
        if len(both) == 2:
            first, second = recurrent[both["forward"]], recurrent[both["backward"]]
            parts = [[a, b] for a, b in zip(first, second, strict=False)]
            problem = None
            if len(first) != 1 or len(second) != 1:
                problem = f"{above!r} has two directions, each of several cells"
            place = place_of(above)
            yield Found(
                above,
                "Bidirectional",
                place,
                None,
                parts,
                aliases=names_of(above),
                is_path=isinstance(place, PathPlace),
                problem=problem,
            )
    for path, cells in recurrent.items():
        above = path.rpartition("/")[0]
        place = place_of(path)
        yield Found(
            path,
            "",
            place,
            None,
            [[cell] for cell in cells],
            aliases=names_of(path),
            is_inner=len(pairs.get(above, {})) == 2,
            is_path=isinstance(place, PathPlace),
        )


def _listed_part(weights: list[tuple[str, str]]) -> Part | None:
    """A recurrent layer's direction or cell, if the names of its arrays are such."""
    last = [name.split("/")[-1] for name, _ in weights]
    place = ListedPlace(weights)
    if any("recurrent_kernel" in name for name in last):
        return Part(place)
    # The first version of Keras had an array for each gate.
    found = [_FIRST_VERSION.search(name) for name in last]
    if all(found):
        kind = {3: "RNN", 9: "GRU", 12: "LSTM"}.get(len(found))
        return Part(place, kind) if kind else None
    return None


def _is_cudnn(container: Container, place: Place) -> bool:
    """Whether these are arrays of a layer of cuDNN's, which has no cell in its path."""
    shapes = [container.headers[name].shape for name in place.names()]
    if len(shapes) != 3 or [len(shape) for shape in shapes] != [2, 2, 1]:
        return False
    (_, columns), (units, others), (biases,) = shapes
    return columns == others in (3 * units, 4 * units) and biases == 2 * columns
