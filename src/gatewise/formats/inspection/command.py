"""The command ``gatewise inspect``."""

from __future__ import annotations

import argparse
import json
import math
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gatewise.formats.containers import Header
from gatewise.formats.inspection.inspecting import Inspection, inspect, plain

__all__ = ["add_command"]

# Of names, so that one that is long leaves the other columns where they are.
_WIDEST = 60
_LONGEST = 200
_LONGEST_NOTE = 1000
_MOST_ENTRIES = 40


def add_command(subparsers: Any) -> None:
    """Add the command to what `argparse.ArgumentParser.add_subparsers` returned."""
    parser = subparsers.add_parser(
        "inspect",
        help="say what is in a file of arrays, and how to load its layers",
        description="List the arrays in a file of safetensors, NumPy, PyTorch, Keras, "
        "ONNX, a Neural Amp Modeler, RTNeural, AIDA-X, GuitarML or gatewise, and the "
        "layers that are in it, each with the line of Python that loads it. Nothing in "
        "the file is trusted, or run.",
    )
    parser.add_argument("file", metavar="FILE", help="the file to look at")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    try:
        found = inspect(options.file)
    except ImportError as error:
        # A package that is missing is no mistake of ours.
        raise ValueError(str(error)) from error
    stream: Any = sys.stdout
    if hasattr(stream, "reconfigure"):
        # What a terminal has no sign for becomes what Python would read it from.
        stream.reconfigure(errors="backslashreplace")
    if options.json:
        print(json.dumps(found.plain(), indent=2, allow_nan=False))
        return
    for line in _lines(found):
        print(line)


def _lines(found: Inspection) -> Iterator[str]:
    """What is printed, of which only the lines of Python may be long."""
    count = sum(math.prod(header.shape) for header in found.arrays.values())
    arrays = _counted(len(found.arrays), "array")
    yield f"{_shown(found.path)}: {found.format}, {arrays}, {_counted(count, 'number')}"
    yield from _metadata(found.metadata)
    if found.arrays:
        yield ""
        yield "arrays"
        yield from _table(found.arrays)
    yield ""
    yield "layers" if found.layers else "layers: none that gatewise knows"
    for layer in found.layers:
        name = f"  {_shown(layer.name)}" if layer.name else ""
        yield f"  {_shown(layer.layer)}{name}"
        if layer.python:
            yield f"    {layer.python}"
        for note in layer.notes:
            yield f"    # {_shown(note, _LONGEST_NOTE)}"


def _metadata(metadata: Mapping[str, Any]) -> Iterator[str]:
    if not metadata:
        return
    yield ""
    yield "metadata"
    for key, value in list(metadata.items())[:_MOST_ENTRIES]:
        said = plain(value)
        text = said if isinstance(said, str) else reprlib.repr(said)
        yield f"  {_shown(str(key))}: {_shown(text)}"
    if len(metadata) > _MOST_ENTRIES:
        yield f"  ... and {len(metadata) - _MOST_ENTRIES} more, which --json has"


def _table(arrays: Mapping[str, Header]) -> Iterator[str]:
    rows = [
        (_shown(name), header.stored or str(header.dtype), str(header.shape))
        for name, header in arrays.items()
    ]
    widths = [_width(row[column] for row in rows) for column in (0, 1)]
    for name, dtype, shape in rows:
        yield f"  {name:<{widths[0]}}  {dtype:<{widths[1]}}  {shape}"


def _width(texts: Iterable[str]) -> int:
    return min(max(map(len, texts)), _WIDEST)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _shown(text: str, longest: int = _LONGEST) -> str:
    """A text that can be printed and takes one line, whatever it was."""
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return text if text.isprintable() and text == text.strip() else repr(text)
