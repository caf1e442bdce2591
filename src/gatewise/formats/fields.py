"""What a file says in JSON, checked entry by entry as it is taken."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from gatewise.formats.errors import FormatError

__all__ = ["Fields"]

# So that whatever is computed with it is no larger than a float.
_MOST = 2**63 - 1


class Fields:
    """The entries of a dictionary that came out of a file.

    Parameters
    ----------
    value : object
        A dictionary, if all is well.
    name : str
        What the errors call it.

    Raises
    ------
    FormatError
        Here and from every method, if an entry is missing or not what it should be. True
        and False are no numbers.

    Examples
    --------
    >>> from gatewise.formats.fields import Fields
    >>> fields = Fields({"step": 3, "seconds": float("nan")}, "training")
    >>> fields.integer("step", lowest=0)
    3
    >>> fields.number("seconds")
    Traceback (most recent call last):
    gatewise.formats.errors.FormatError: training.seconds should be a finite number, got nan
    """

    def __init__(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise FormatError(f"{name} should be a dictionary, got {reprlib.repr(value)}")
        self._value: Mapping[str, object] = value
        self._name = name

    def fields(self, name: str) -> Fields:
        """Return a dictionary in this one."""
        return Fields(self._take(name), f"{self._name}.{name}")

    def integer(self, name: str, *, lowest: int, highest: float = _MOST) -> int:
        """Return a whole number, not above 2^63 unless `highest` says otherwise."""
        value = self._take(name)
        if type(value) is not int or not lowest <= value <= highest:
            wanted = f"a whole number from {lowest} to {highest}"
            raise self._wrong(name, wanted, value)
        return value

    def number(
        self, name: str, *, lowest: float | None = None, finite: bool = True
    ) -> float:
        """Return a number; NaN only where nothing is asked of it."""
        value = self._take(name)
        try:
            number = float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]
        except OverflowError:
            number = None
        if (
            number is None
            or (finite and not math.isfinite(number))
            or (lowest is not None and not number >= lowest)
        ):
            least = "" if lowest is None else f" of at least {lowest:g}"
            raise self._wrong(name, f"a {'finite ' if finite else ''}number{least}", value)
        return number

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._take(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text", value)
        return value

    def dictionary(self, name: str) -> dict[str, Any]:
        """Return a dictionary as it is."""
        value = self._take(name)
        if not isinstance(value, dict):
            raise self._wrong(name, "a dictionary", value)
        return value

    def dictionaries(self, name: str) -> list[dict[str, Any]]:
        """Return a list of dictionaries as they are."""
        value = self._take(name)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise self._wrong(name, "a list of dictionaries", value)
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        value = self._take(name)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self._wrong(name, "a list of texts", value)
        return value

    def has(self, name: str) -> bool:
        """Whether there is an entry that says something."""
        return self._value.get(name) is not None

    def _take(self, name: str) -> object:
        if name not in self._value:
            raise FormatError(f"{self._name}.{name} is missing")
        return self._value[name]

    def _wrong(self, name: str, wanted: str, value: object) -> FormatError:
        return FormatError(
            f"{self._name}.{name} should be {wanted}, got {reprlib.repr(value)}"
        )
