"""Numbers and texts as the oldest pickles write them, in lines."""

from __future__ import annotations

import re

from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.pickle_values import OldText

__all__ = ["float_from", "integer_from", "old_text", "unicode_from", "unquoted"]

# More digits than anyone has needed, and few enough that they are read at once.
_INTEGER = re.compile(rb"[-+]?[0-9]{1,600}L?")
_FLOAT = re.compile(
    rb"[-+]?([0-9]+\.?[0-9]*(e[-+]?[0-9]+)?|\.[0-9]+(e[-+]?[0-9]+)?|inf|nan)", re.IGNORECASE
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPES = {
    b"\\": b"\\",
    b"'": b"'",
    b'"': b'"',
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
}


def integer_from(line: bytes) -> int | bool:
    """Return a whole number; 00 and 01 are False and True."""
    if line in (b"00", b"01"):
        return line == b"01"
    if not _INTEGER.fullmatch(line):
        raise FormatError(f"a whole number should follow, got {line[:20]!r}")
    return int(line.rstrip(b"L"))


def float_from(line: bytes) -> float:
    """Return a number."""
    if not _FLOAT.fullmatch(line):
        raise FormatError(f"a number should follow, got {line[:20]!r}")
    return float(line)


def unquoted(line: bytes) -> bytes:
    """Return what Python 2 wrote as a text in quotes."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise FormatError("a text in quotes should follow")
    return _ESCAPE.sub(_unescaped, line[1:-1])


def unicode_from(line: bytes) -> str:
    """Return a text that has escapes for letters beyond ASCII."""
    try:
        text = line.decode("raw-unicode-escape")
    except UnicodeDecodeError as error:
        raise FormatError(f"a text should follow, got one with {error.reason}") from None
    # Halves of letters can be shown to nobody.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def old_text(content: bytes) -> str | bytes:
    """Return what was text or bytes as text, where it can be."""
    try:
        text = OldText(content, "utf-8")
    except UnicodeDecodeError:
        return content
    text.content, text.plain = content, str(text)
    return text


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    if len(code) == 3:
        return bytes([int(code[1:], 16)])
    if code not in _ESCAPES:
        raise FormatError(f"a text has the escape {code!r}, which Python 2 does not write")
    return _ESCAPES[code]
