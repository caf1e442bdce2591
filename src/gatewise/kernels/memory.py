"""What the kernels keep of memory between calls."""

from __future__ import annotations

from gatewise.kernels import chooser

__all__ = ["release_memory"]


def release_memory() -> int:
    """Give memory that waits for the next calls back to the system.

    The compiled backend keeps up to 128 MB of what the arrays of earlier calls were made
    of, since fresh memory takes time, and on Linux as much as they once took at the same
    time, up to a quarter of the machine's memory, of which the system may take what is
    beyond 128 MB whenever it needs it. Nothing that is still referred to is given back, and
    the calls that follow take fresh memory, so there is no harm in this but time. Any
    thread may call it at any time. On NumPy there is nothing to give back.

    Returns
    -------
    int
        How many bytes waited.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.release_memory() >= 0
    True
    """
    freed: int = chooser.kernels.release_memory()
    return freed
