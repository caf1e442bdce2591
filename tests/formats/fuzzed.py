"""What is fuzzed: for each format, real files to damage and what is done with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gatewise


class Target(NamedTuple):
    """A format: real files, and the functions that read a file or make a layer of it."""

    name: str
    suffix: str
    examples: Callable[[], list[bytes]]
    makers: tuple[Callable[[Path], Any], ...] = ()


def outcome(target: Target, path: Path) -> str:
    """Whether the file was read or refused; everything else leaves as an exception."""
    try:
        gatewise.load_arrays(path)
        found = "read"
    except gatewise.FormatError as error:
        assert str(error).startswith(str(path)), error
        found = "refused"
    for make in target.makers:
        try:
            make(path)
        except ValueError:
            found += " and refused"
        else:
            found += " and made"
    return found


TARGETS: dict[str, Target] = {}
