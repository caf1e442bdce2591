"""Opening a file that may be anything, and reading from it without any trust."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from gatewise.formats.errors import FormatError

__all__ = ["naming", "open_regular"]

# Neither waits for the writer of a pipe nor makes a terminal ours.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to read from, and let a `FormatError` in the block name its path.

    Raises
    ------
    OSError
        If it cannot be opened, as where there is none.
    FormatError
        If it is no regular file or an empty one, or the block finds something wrong.

    Examples
    --------
    >>> import os
    >>> from gatewise.formats.opening import open_regular
    >>> from gatewise.formats.errors import FormatError
    >>> try:
    ...     with open_regular(os.curdir) as file:
    ...         pass
    ... except FormatError as error:
    ...     print(error)
    .: should be a file, got a directory; name one of its files
    """
    with naming(path):
        if os.path.isdir(path):
            # Windows cannot even open one.
            raise FormatError("should be a file, got a directory; name one of its files")
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FormatError("should be a regular file, got a pipe or a device")
            if not status.st_size:
                raise FormatError("should be a file with something in it, got an empty one")
            yield file


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the path before the message of every `FormatError` that leaves the block."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{os.fsdecode(path)}: {error}") from error
