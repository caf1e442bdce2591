"""Which steps of a sequence a convolution multiplies for each step of its output."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Windows"]


class Windows(NamedTuple):
    """Step t of the output is made of `taps` steps, from ``t * stride - before`` on.

    They are `dilation` steps apart. `before` and `after` say how far windows may reach
    beyond the first and the last step, where there are zeros.
    """

    taps: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def span(self) -> int:
        """How many steps a window reaches over."""
        return self.dilation * (self.taps - 1) + 1

    def count(self, time: int) -> int:
        """How many steps the output of so many has; that of none has none."""
        left = time + self.before + self.after - self.span
        return left // self.stride + 1 if time and left >= 0 else 0
