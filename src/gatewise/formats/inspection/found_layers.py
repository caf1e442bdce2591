"""Which layers a file has: told by names and shapes alone, as those of PyTorch are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np

from gatewise.formats.containers import Header
from gatewise.layers import GRU, LSTM, RNN, Conv1d, Embedding, Linear
from gatewise.layers.state_dicts import FromStateDict

__all__ = ["Found", "found_layers", "is_an_optimizers", "quoted"]


class Found(NamedTuple):
    """A layer that a file has.

    Attributes
    ----------
    layer : str
        What it is, as its repr would say.
    name : str
        What the file calls it: what its arrays' names begin with, the name of a Keras layer
        or of a node of ONNX; nothing for a whole network.
    python : str
        The line of Python that makes it; nothing where none can, and `notes` say why.
    notes : tuple of str
        What the file does not say, or what else is to be known.
    arrays : tuple of str
        The names of its arrays, where names and shapes told it.
    """

    layer: str
    name: str
    python: str
    notes: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()


class _Cell(NamedTuple):
    name: str
    gates: int


_CELLS = (_Cell("LSTM", 4), _Cell("GRU", 3), _Cell("RNN", 1))
_RECURRENT = re.compile(
    r"(.*?)(weight_ih|weight_hh|weight_hr|weight_peephole|bias_ih|bias_hh)"
    r"(?:_l(0|[1-9][0-9]{0,3})(_reverse)?)?",
    re.DOTALL,
)
# Where in a name may begin what `from_state_dict` takes for a recurrent layer's.
_OWN = re.compile(r"(?=(?:weight|bias)_(?:ih|hh|hr|peephole)|initial_[hc]\Z)")
_MOST_PLACES = 100
_CLASSES: Mapping[str, type[FromStateDict]] = {
    kind.__name__: kind for kind in (LSTM, GRU, RNN, Linear, Embedding, Conv1d)
}
# The last part of a name whose array is one of a layer's own.
_LAST = re.compile(r"(|.*[^a-zA-Z0-9])(weight|bias)", re.DOTALL)
# What an optimizer keeps has the names and the shapes of the parameters.
_OPTIMIZER = re.compile(r"(?:.*[./])?optimi[sz]ers?(?:_states?)?[./]", re.DOTALL)
_EMBEDDING = re.compile(r"emb|wte|wpe|token|lookup", re.IGNORECASE)
Part = tuple[str, int, bool]


def found_layers(headers: Mapping[str, Header], path: str) -> list[Found]:
    """Return the layers whose parameters a file has under PyTorch's names.

    Parameters
    ----------
    headers
        What the file's arrays are.
    path
        The file, for the lines of Python.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.formats.containers import Header
    >>> from gatewise.formats.inspection.found_layers import found_layers
    >>> shapes = {"rnn.weight_ih_l0": (12, 5), "rnn.weight_hh_l0": (12, 3)}
    >>> headers = {n: Header(np.dtype("f4"), shape) for n, shape in shapes.items()}
    >>> for found in found_layers(headers, "model.pt"):
    ...     print(found.layer, found.python, sep=chr(10))
    LSTM(5, 3, bias=False)
    gatewise.LSTM.from_state_dict(gatewise.load_arrays("model.pt"), prefix="rnn.")
    """
    groups, others = _grouped(headers)
    found: list[tuple[int, Found]] = []
    order = {name: place for place, name in enumerate(headers)}
    owned = _owned(headers, groups)
    for prefix, parts in groups.items():
        first = min(order[name] for name in parts.values())
        own = owned[prefix]
        found.append((first, _recurrent(prefix, parts, headers, own, path)))
    for prefix, names in others.items():
        layer = _simple(prefix, names, headers, path)
        if layer is not None:
            found.append((min(order[name] for name in names.values()), layer))
    return [layer for _, layer in sorted(found, key=lambda one: one[0])]


def is_an_optimizers(name: str) -> bool:
    """Whether an array is not a network's but what an optimizer keeps of one's.

    Examples
    --------
    >>> from gatewise.formats.inspection.found_layers import is_an_optimizers
    >>> is_an_optimizers("optimizer.state.0.exp_avg"), is_an_optimizers("rnn.weight_ih_l0")
    (True, False)
    """
    return _OPTIMIZER.match(name) is not None


def quoted(text: str) -> str:
    r"""Return a text as a literal of Python's that nothing in it can leave.

    Examples
    --------
    >>> from gatewise.formats.inspection.found_layers import quoted
    >>> print(quoted("model.pt"), quoted('"); import os #' + chr(10)))
    "model.pt" '"); import os #\n'
    """
    literal = repr(text)
    plain = literal[0] == "'" and '"' not in literal
    return f'"{literal[1:-1]}"' if plain else literal


def _grouped(
    headers: Mapping[str, Header],
) -> tuple[dict[str, dict[Part, str]], dict[str, dict[str, str]]]:
    """The names of recurrent layers' arrays, and of others', by what they begin with."""
    groups: dict[str, dict[Part, str]] = {}
    others: dict[str, dict[str, str]] = {}
    for name in headers:
        if is_an_optimizers(name):
            continue
        if match := _RECURRENT.fullmatch(name):
            prefix, kind, layer, reverse = match.groups()
            # A cell has no number.
            number = -1 if layer is None else int(layer)
            groups.setdefault(prefix, {})[kind, number, bool(reverse)] = name
        elif match := _LAST.fullmatch(name):
            others.setdefault(match[1], {})[match[2]] = name
    return groups, others


def _owned(
    headers: Mapping[str, Header], prefixes: Iterable[str]
) -> dict[str, dict[str, Header]]:
    """All that `from_state_dict` would look at under each prefix of a recurrent layer."""
    owned: dict[str, dict[str, Header]] = {prefix: {} for prefix in prefixes}
    for name, header in headers.items():
        for match in islice(_OWN.finditer(name), _MOST_PLACES):
            prefix, rest = name[: match.start()], name[match.start() :]
            if prefix in owned and LSTM._is_like(rest):
                owned[prefix][rest] = header
    return owned


def _check(kind: str, own: Mapping[str, Header]) -> None:
    """Raise _NoLayer unless the layer's own reader takes arrays of these headers."""
    try:
        _CLASSES[kind]._check_headers(
            {name: (header.shape, header.dtype) for name, header in own.items()}
        )
    except (TypeError, ValueError) as error:
        raise _NoLayer(str(error).rpartition("parameters: ")[2]) from None


def _recurrent(
    prefix: str,
    parts: Mapping[Part, str],
    headers: Mapping[str, Header],
    own: Mapping[str, Header],
    path: str,
) -> Found:
    try:
        for name in parts.values():
            # Narrow weights have scales, one for each row.
            is_narrow = headers[name].dtype == np.int8 and f"{name}_scale" in headers
            if headers[name].dtype.kind != "f" and not is_narrow:
                raise _NoLayer("its weights are no floating-point numbers")
        cell, sizes, options, used = _sizes(
            {part: headers[name] for part, name in parts.items()}
        )
        _check(cell, own)
        if any(headers[name].dtype == np.int8 for name in parts.values()):
            options.append("weight_format='int8'")
    except _NoLayer as error:
        return Found(f"a recurrent layer that is not whole: {error}", prefix, "")
    layer = f"{cell}({', '.join([*map(str, sizes), *options])})"
    notes = {
        "RNN": ("tanh unless nonlinearity= says otherwise: the file does not say",),
        "GRU": (),
        "LSTM": (),
    }[cell]
    line = _line(cell, path, prefix, len(headers) > used)
    return Found(layer, prefix, line, notes, tuple(parts.values()))


def _line(kind: str, path: str, prefix: str, has_more: bool) -> str:
    """The Python that makes a layer of the arrays with a prefix."""
    begin = f", prefix={quoted(prefix)}" if prefix or has_more else ""
    return f"gatewise.{kind}.from_state_dict(gatewise.load_arrays({quoted(path)}){begin})"


class _NoLayer(Exception):
    """Why arrays make no layer."""


def _sizes(
    parts: Mapping[Part, Header],
) -> tuple[str, tuple[int, ...], list[str], int]:
    """The kind, the sizes and the options of a layer, and how many arrays it has."""
    numbers = {number for _, number, _ in parts}
    is_cell = numbers == {-1}
    if not is_cell and numbers != set(range(len(numbers))):
        raise _NoLayer("its layers are not numbered from 0")
    first = -1 if is_cell else 0
    kinds = {kind for kind, _, _ in parts}
    directions = [False, True] if any(reverse for _, _, reverse in parts) else [False]
    inner, hidden = (parts.get((kind, first, False)) for kind in ("weight_ih", "weight_hh"))
    if inner is None or hidden is None:
        missing = "weight_ih" if inner is None else "weight_hh"
        raise _NoLayer(f"{missing}{'' if is_cell else '_l0'} is missing")
    if any(len(part.shape) != 2 for part in (inner, hidden)) or 0 in hidden.shape:
        raise _NoLayer("its weights are no matrices")
    projection = parts.get(("weight_hr", first, False))
    outputs = units = hidden.shape[1]
    if projection is not None:
        if len(projection.shape) != 2:
            raise _NoLayer("weight_hr is no matrix")
        units = projection.shape[1]
    cell = next((c for c in _CELLS if c.gates * units == hidden.shape[0]), None)
    if cell is None or (cell.name != "LSTM" and kinds & {"weight_hr", "weight_peephole"}):
        raise _NoLayer(f"no cell has weights {hidden.shape} for {units} units")
    rows, inputs = cell.gates * units, inner.shape[1]
    shapes: dict[Part, tuple[int, ...]] = {}
    for number in numbers:
        for reverse in directions:
            read = inputs if number == first else outputs * len(directions)
            for kind, shape in {
                "weight_ih": (rows, read),
                "weight_hh": (rows, outputs),
                "weight_hr": (outputs, units),
                "weight_peephole": (3, units),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }.items():
                if kind in kinds:
                    shapes[kind, number, reverse] = shape
    if len(kinds & {"bias_ih", "bias_hh"}) == 1:
        raise _NoLayer("one of two biases is missing")
    if is_cell and len(directions) > 1:
        raise _NoLayer("a cell has no second direction")
    for part, shape in shapes.items():
        if part not in parts or parts[part].shape != shape:
            name = _named(part)
            raise _NoLayer(f"{name} should have shape {shape}")
    options = [f"num_layers={len(numbers)}"] if len(numbers) > 1 else []
    if not kinds & {"bias_ih"}:
        options.append("bias=False")
    if len(directions) > 1:
        options.append("bidirectional=True")
    if projection is not None:
        options.append(f"proj_size={outputs}")
    if "weight_peephole" in kinds:
        options.append("peepholes=True")
    return cell.name, (inputs, units), [*options, *_dtype(parts.values())], len(shapes)


def _named(part: Part) -> str:
    kind, number, reverse = part
    return kind + (f"_l{number}" if number >= 0 else "") + ("_reverse" if reverse else "")


def _dtype(headers: Iterable[Header]) -> Iterator[str]:
    """The option that float64 needs, which nothing else does."""
    if np.float64 in {header.dtype.type for header in headers}:
        yield "dtype='float64'"


def _simple(
    prefix: str, names: Mapping[str, str], headers: Mapping[str, Header], path: str
) -> Found | None:
    """A layer of one weight, and a bias as a rule; None where it is none that there is."""
    if "weight" not in names:
        return None
    weight = headers[names["weight"]]
    bias = headers[names["bias"]] if "bias" in names else None
    own = [weight] if bias is None else [weight, bias]
    if any(header.dtype.kind != "f" for header in own) or 0 in weight.shape:
        return None
    if len(weight.shape) not in (2, 3) or (bias and bias.shape != weight.shape[:1]):
        return None
    notes: tuple[str, ...] = ()
    options = [] if bias else ["bias=False"]
    if len(weight.shape) == 3:
        kind, sizes = "Conv1d", [weight.shape[1], weight.shape[0], weight.shape[2]]
        notes = ("stride, padding and dilation are for you to give: the file has none",)
    elif bias is None and _EMBEDDING.search(prefix):
        kind, sizes, options = "Embedding", list(weight.shape), []
    else:
        kind, sizes = "Linear", [weight.shape[1], weight.shape[0]]
        if bias is None:
            rows, features = weight.shape
            notes = (f"or Embedding({rows}, {features}): the shapes are the same",)
    try:
        _check(kind, {last: headers[name] for last, name in names.items()})
    except _NoLayer:
        return None
    layer = f"{kind}({', '.join([*map(str, sizes), *options, *_dtype(own)])})"
    line = _line(kind, path, prefix, len(headers) > len(own))
    return Found(layer, prefix, line, notes, tuple(names.values()))
