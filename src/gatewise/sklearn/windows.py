"""Windows of series, and what comes after each of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import gatewise
from gatewise.sklearn.inputs import Panel, check_array
from gatewise.sklearn.options import check_integer

Array = NDArray[Any]

__all__ = ["Series", "Windows", "as_future", "features_of", "shifted", "windows"]


class Series(NamedTuple):
    """Series as the network reads them, and as they are, up to the same step."""

    inputs: list[Array]
    targets: list[Array]
    # The steps after those, as far as they are there.
    after: list[Array]


def features_of(count: int, known: Sequence[int], covariates: Sequence[int]) -> Array:
    """Return which of so many features are forecast: those that are nothing else."""
    taken: set[int] = set()
    for name, places in (("known", known), ("covariates", covariates)):
        if isinstance(places, str) or not np.iterable(places):
            raise TypeError(f"{name} should be a list of features, got {places!r}")
        for place in places:
            check_integer(f"a feature in {name}", place, 0)
            if place >= count:
                raise ValueError(
                    f"{name} should be below the {count} features, got {place}"
                )
            if int(place) in taken:
                raise ValueError(f"{name} should have each feature once, got {place} again")
            taken.add(int(place))
    left = np.array([place for place in range(count) if place not in taken], np.intp)
    if not left.size:
        raise ValueError(
            f"known and covariates should leave a feature to forecast, got all {count}"
        )
    return left


def as_future(future: Any, count: int, horizon: int, known: int) -> Array:
    """Return the known features of the steps to come, ``(n, horizon, known)``."""
    shape = (count, horizon, known)
    if not known:
        if future is not None:
            raise ValueError("future should be None where no features are known")
        return np.zeros(shape)
    if future is None:
        raise ValueError(f"future should have shape {shape}, got None")
    array: Array = check_array(
        np.asarray(future), dtype=np.float64, allow_nd=True, input_name="future"
    )
    if array.shape != shape:
        raise ValueError(f"future should have shape {shape}, got {array.shape}")
    return array


def shifted(panel: Panel, horizon: int, known: list[int], future: Array | None) -> Series:
    """Return series in which known features run ahead of the others by `horizon` steps.

    So when the network has read a step, it has read what is known of all that it says.

    Parameters
    ----------
    panel
        Scaled series.
    horizon, known
        Of the forecaster.
    future
        What is known after the last step; None to keep the last `horizon` steps to learn
        from.
    """
    count, time = panel.x.shape[:2]
    lengths = panel.lengths if panel.lengths is not None else np.full(count, time)
    series = Series([], [], [])
    for place, (steps, length) in enumerate(zip(panel.x, lengths.tolist(), strict=True)):
        whole = steps[:length]
        end = length - horizon if future is None else length
        inputs = whole[:end].copy()
        if known:
            ahead = whole[:, known]
            if future is not None:
                ahead = np.concatenate([ahead, future[place]])
            inputs[:, known] = ahead[horizon : horizon + end]
        series.inputs.append(inputs)
        series.targets.append(whole[:end])
        series.after.append(whole)
    return series


class Windows(NamedTuple):
    """What to train on: windows, what their steps are to say, and when they end.

    `ends` says it as a share of the series, by which windows can be put in order of time.
    """

    panel: Panel
    changes: Array
    ends: Array

    def select(self, places: Any) -> tuple[Panel, Array]:
        """The windows at these places."""
        return self.panel.select(places), self.changes[places]


def windows(series: Series, targets: Array, horizon: int, window: int) -> Windows:
    """Return windows to train on, and what each of their steps is to say.

    Windows begin half a window apart, and the last one ends where the series does. Of a
    series that is shorter there is one, and shorter too.
    """
    inputs, outputs, ends = [], [], []
    for read, whole in zip(series.inputs, series.after, strict=True):
        # For every step the `horizon` steps after it, less that step.
        ahead = np.lib.stride_tricks.sliding_window_view(whole[:, targets], horizon, axis=0)
        changes = ahead[1 : len(read) + 1] - whole[: len(read), targets][:, :, None]
        rows = changes.swapaxes(1, 2).reshape(len(read), -1)
        last = max(len(read) - window, 0)
        for start in sorted({*range(0, last, max(window // 2, 1)), last}):
            inputs.append(read[start : start + window])
            outputs.append(rows[start : start + window])
            ends.append((start + len(inputs[-1])) / len(read))
    x, lengths = gatewise.training.pad_sequences(inputs)
    y, _ = gatewise.training.pad_sequences(outputs)
    panel = Panel(x, None if (lengths == x.shape[1]).all() else lengths)
    return Windows(panel, y.astype(np.float32), np.array(ends))
