"""What the first version of Keras kept: an array for each gate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise import gates
from gatewise.formats.errors import FormatError
from gatewise.kernels import cells

Array = NDArray[Any]

__all__ = ["merged"]


def merged(arrays: list[Array], kind: str, name: str) -> list[Array]:
    """Return kernel, recurrent kernel and bias of these three of each gate.

    Raises
    ------
    FormatError
        If there are not three for each gate, or they do not fit each other.
    """
    cell = kind.lower()
    count = cells.look_up(cell).gates
    if len(arrays) != 3 * count:
        raise FormatError(
            f"{name!r} should have 3 or {3 * count} arrays, got {len(arrays)}"
        )
    made = []
    for index in range(3):
        own = arrays[index::3]
        if any(each.shape != own[0].shape or each.ndim != 2 - index // 2 for each in own):
            raise FormatError(f"{name!r} has gates whose arrays differ in shape")
        joined = np.concatenate(own, axis=-1)
        made.append(gates.reordered(joined, cell, "keras_1", "keras", axis=-1))
    return made
