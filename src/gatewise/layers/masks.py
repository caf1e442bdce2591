"""What dropout hides, as a tape keeps it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Mask(NamedTuple):
    """Which values stay, one byte each, and the probability that one was hidden."""

    keep: NDArray[np.bool_]
    rate: float

    @classmethod
    def draw(
        cls, generator: np.random.Generator, shape: tuple[int, ...], rate: float
    ) -> Mask:
        """Hide each value with probability `rate`."""
        return cls(generator.random(shape) >= rate, rate)

    def apply(self, values: Array) -> Array:
        """Hide values, and scale the others up to make up for it."""
        scale = values.dtype.type(1 / (1 - self.rate))
        with np.errstate(all="ignore"):
            masked: Array = values * (self.keep * scale)
        return masked
