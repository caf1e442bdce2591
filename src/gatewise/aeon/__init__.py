"""Recurrent networks as estimators of aeon, the toolkit for time series.

They are those of `gatewise.sklearn`, with aeon's axes: a collection is ``(cases, channels,
timepoints)``, or a list of ``(channels, timepoints_i)`` for series of unequal length, where
`gatewise.sklearn` has ``(n, time, features)`` and ``(time_i, features)``.
"""

from __future__ import annotations

try:
    import aeon as _aeon  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "aeon":
        raise
    raise ModuleNotFoundError(
        "gatewise.aeon needs aeon, which is not installed: pip install 'gatewise[aeon]'",
        name="aeon",
    ) from None

from gatewise.aeon.classifier import RecurrentClassifier
from gatewise.aeon.regressor import RecurrentRegressor

__all__ = ["RecurrentClassifier", "RecurrentRegressor"]
