"""A step, or a chunk of steps, through layers upon layers in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["Stepper"]


class Stepper:
    """What ``rows.stepper`` returns.

    `stages` take and return rows ``(time, batch, features)``. The first one takes rows of
    so many `features`, unless these are None, and so many `tokens`, unless there are none.
    `states` are put back where anything is raised.
    """

    def __init__(
        self,
        stages: Sequence[Callable[[Array], Array]],
        states: Sequence[Array],
        batch: int,
        features: int | None,
        outputs: int,
        tokens: int,
        dtype: np.dtype[Any],
    ) -> None:
        self._stages = stages
        self._states = states
        self._batch = batch
        self._features = features
        self._tokens = tokens
        self._dtype = dtype
        self._y = np.empty((batch, outputs), dtype)

    def __call__(self, x: Any) -> Array | None:
        """Take a step or a chunk, or nothing and return None."""
        if self._tokens and type(x) is not bool and isinstance(x, int | np.integer):
            x = np.asarray(x)
        if type(x) is not np.ndarray:
            return None
        values = x
        features: tuple[int | None, ...] = (self._features,)
        if self._tokens and x.dtype.kind in "iu" and x.ndim < 3:
            values, features = np.array(x, order="C"), ()
        fits = self._are_rows(values) if features else self._are_tokens(values)
        fits = fits and x.flags.aligned
        axes = values.ndim - len(features)
        if not fits or axes > 2 or values.shape[axes:] != features:
            return None
        if (values.shape[0] if axes else 1) != self._batch:
            return None
        if axes == 2:
            return np.ascontiguousarray(self._run(values.swapaxes(0, 1)).swapaxes(0, 1))
        self._y[...] = self._run(values.reshape(1, self._batch, *values.shape[axes:]))[0]
        return self._y if axes else self._y[0]

    def _are_tokens(self, x: Array) -> bool:
        return not x.size or bool(x.min() >= 0 and x.max() < self._tokens)

    def _are_rows(self, x: Array) -> bool:
        if x.dtype != self._dtype or x.ndim == 0:
            return False
        contiguous = x.shape[-1] == 1 or x.strides[-1] == x.itemsize or not x.size
        return contiguous and not np.may_share_memory(x, self._y)

    def _run(self, rows: Array) -> Array:
        before = [state.copy() for state in self._states]
        try:
            for stage in self._stages:
                rows = stage(rows)
        except BaseException:
            for state, old in zip(self._states, before, strict=True):
                state[...] = old
            raise
        return rows
