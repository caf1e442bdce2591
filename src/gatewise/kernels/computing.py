"""In which precision training multiplies: what a call asks for, or the one around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["PRECISIONS", "check", "chosen", "is_bfloat16", "using"]

PRECISIONS = ("float32", "bfloat16")

_chosen: ContextVar[str] = ContextVar("gatewise_compute", default="float32")


def check(compute: str | None) -> None:
    """Check that `compute` names a precision, or is None.

    Raises
    ------
    ValueError
        If it does not.
    """
    if compute is not None and not (isinstance(compute, str) and compute in PRECISIONS):
        expected = " or ".join(PRECISIONS)
        raise ValueError(f"compute should be {expected}, got {compute!r}")


@contextmanager
def using(compute: str | None) -> Iterator[None]:
    """Have what is called within multiply in this precision; None leaves it as it is."""
    check(compute)
    if compute is None:
        yield
        return
    token = _chosen.set(compute)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen() -> str:
    """Return the precision in which layers of float32 are to be trained here."""
    return _chosen.get()


def is_bfloat16() -> bool:
    """Whether layers of float32 are to be trained in products of bfloat16."""
    return chosen() == "bfloat16"
