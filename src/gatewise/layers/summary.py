"""What a model is made of, as a table in text and in HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["as_html", "as_text"]


class Row(NamedTuple):
    """One layer, where it stands, what it gives, and what its parameters take."""

    place: str
    layer: str
    shape: str
    parameters: int
    bytes: int


def as_text(model: Any) -> str:
    """Return a table of the layers, a line each, with a last line for all of them."""
    rows = list(_rows(model))
    head = ("", "layer", "output", "parameters", "bytes")
    body = [(r.place, r.layer, r.shape, f"{r.parameters:,}", f"{r.bytes:,}") for r in rows]
    count, size = _totals(model)
    foot = ("", f"all of {_with_dtype(model)}", "", f"{count:,}", f"{size:,}")
    table = [head, *body, foot]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = [
            cell.rjust(width) if column > 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "-" * len(line(("", "", "", " " * widths[3], "x" * widths[4])))
    return "\n".join([line(head), rule, *map(line, body), rule, line(foot)])


def as_html(model: Any) -> str:
    """Return the same table for notebooks."""
    left, right = (
        f' style="text-align: {side}; padding: 0.1em 0.6em"' for side in ("left", "right")
    )
    body = "".join(
        f"<tr><td{left}>{html.escape(r.place)}</td>"
        f"<td{left}><code>{html.escape(r.layer)}</code></td>"
        f"<td{left}>{html.escape(r.shape)}</td>"
        f"<td{right}>{r.parameters:,}</td><td{right}>{r.bytes:,}</td></tr>"
        for r in _rows(model)
    )
    count, size = _totals(model)
    head = (
        f"<th></th><th{left}>layer</th><th{left}>output</th>"
        f"<th{right}>parameters</th><th{right}>bytes</th>"
    )
    foot = (
        f"<th></th><th{left}>all of {html.escape(_with_dtype(model))}</th><th></th>"
        f"<th{right}>{count:,}</th><th{right}>{size:,}</th>"
    )
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot><tr>{foot}</tr></tfoot></table>"
    )


def _with_dtype(model: Any) -> str:
    return f"{type(model).__name__}, {model.dtype}"


def _totals(model: Any) -> tuple[int, int]:
    """What each parameter takes once, though its layer may stand in several places."""
    arrays = model.parameters().values()
    return sum(array.size for array in arrays), sum(array.nbytes for array in arrays)


def _rows(model: Any) -> Iterator[Row]:
    needs, _ = model._time_axis()
    leading = ["batch", "time"] if needs else ["..."]
    seen: dict[int, str] = {}
    features: Any = "features"
    divisor = 1
    for name, leaf in model._leaves():
        place = name.removeprefix("layers[").replace("].layers[", ".").removesuffix("]")
        _, ends = leaf._time_axis()
        divisor *= leaf._steps_for_one()
        if ends:
            leading = ["batch"]
        elif leading[-1].startswith("time") and divisor > 1:
            leading = ["batch", f"time/{divisor}"]
        given = leaf._features()[1]
        features = features if given is None else given
        shape = f"({', '.join([*leading, str(features)])})"
        arrays = leaf.parameters().values()
        said = leaf._description()
        if id(leaf) in seen:
            # Its parameters are there once.
            yield Row(place, f"{said}, again", shape, 0, 0)
            continue
        seen[id(leaf)] = place
        count, size = sum(a.size for a in arrays), sum(a.nbytes for a in arrays)
        yield Row(place, said, shape, count, size)
