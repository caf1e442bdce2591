"""Files that are replaced whole or not at all, whoever else writes to the same path."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:
    # On Windows.
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_writable", "replacing"]

_DAY = 24 * 60 * 60.0


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` once the block has ended well.

    Until then it has a name of its own in the same directory, so that a crash at any moment
    leaves the old file or the new one, and the last of several writers is the one that
    counts. Mode and, as far as this process may, owner of an old file stay; a new one has
    the mode that the umask gives. A symbolic link stays one, and what it names is replaced.
    Files that a killed writer to the same path has left behind are removed.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        If something else than a file is there, or if none can be written there; it names
        `path`.

    Examples
    --------
    >>> import os, tempfile
    >>> from gatewise.formats.files import replacing
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "poem.txt")
    ...     with replacing(path) as file:
    ...         _ = file.write(b"a rose is a rose")
    ...     os.listdir(directory)
    ['poem.txt']
    """
    with _errors_naming(path):
        target = _target(path)
        _remove_abandoned(target)
        file, partial = _create_beside(target)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is None:
                    # Windows renames nothing that is open.
                    file.close()
                # Elsewhere it is still locked, and so not taken for abandoned.
                os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    _sync_directory(target.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now the `OSError` that `replacing` would raise later."""
    with _errors_naming(path):
        file, partial = _create_beside(_target(path))
        file.close()
        partial.unlink(missing_ok=True)


def _target(path: str | os.PathLike[str]) -> Path:
    """The file that is to be replaced, behind all links."""
    if os.fspath(path).endswith((os.sep, os.altsep or os.sep)):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    return Path(os.path.realpath(path))


def _beginning(target: Path) -> str:
    """What the names of files begin with that are to replace `target`."""
    # With what follows, at most 255 bytes, as file systems have it.
    return f".{os.fsdecode(os.fsencode(target.name)[:220])}."


def _create_beside(target: Path) -> tuple[BinaryIO, Path]:
    """A new file that is locked by this process, and its path, which nobody else uses."""
    try:
        before = target.stat()
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        if stat.S_ISDIR(before.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        raise OSError(errno.EINVAL, "is not a regular file")
    # Not wider than the old one for a moment: whoever opens it then can read on.
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o777
    while True:
        partial = target.with_name(f"{_beginning(target)}{secrets.token_hex(8)}.partial")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(partial, flags, mode), "wb")
        try:
            if fcntl is not None:
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)
            if before is not None and hasattr(os, "fchown"):
                with suppress(OSError):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), mode)
            if partial.exists():
                return file, partial
        except BaseException:
            file.close()
            partial.unlink(missing_ok=True)
            raise
        # Somebody cleaned up between the creation and the lock.
        file.close()


def _remove_abandoned(target: Path) -> None:
    """Remove what writers to `target` that were killed have left in its directory."""
    ours = re.compile(rf"{re.escape(_beginning(target))}[^.]+\.partial")
    # A directory that may not be listed is no reason not to write into it.
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(partial: str) -> None:
    """Remove `partial` unless its writer lives, which holds a lock on it.

    A process number in its name could not tell: numbers are used again, and are the same in
    all containers. Where there are no locks, on Windows and in some network file systems,
    only age can tell.
    """
    if fcntl is not None:
        with open(partial, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            except OSError:
                pass
            else:
                # Under the lock, which a writer that comes to it now waits for.
                os.unlink(partial)
                return
    if time.time() - os.stat(partial).st_mtime > _DAY:
        os.unlink(partial)


@contextmanager
def _errors_naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let errors name the file that was asked for, not the temporary one or none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = os.fspath(path)
            # Set to None, it would be shown.
            del error.filename2
        raise


def _sync_directory(directory: Path) -> None:
    """Make the new name last through a power cut, where directories can be synced."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    # Where the directory may not be read, or a network file system refuses, the file itself
    # is complete all the same.
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
