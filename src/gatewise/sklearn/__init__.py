"""Recurrent networks as scikit-learn estimators.

`RecurrentClassifier` and `RecurrentRegressor` say a class or a number of each sequence,
`RecurrentForecaster` how series go on. They take sequences of any lengths, and work in
pipelines, searches and ensembles as other estimators do.
"""

from __future__ import annotations

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "gatewise.sklearn needs scikit-learn, which is not installed: "
        "pip install 'gatewise[sklearn]'",
        name="sklearn",
    ) from None

from gatewise.sklearn.classifier import RecurrentClassifier
from gatewise.sklearn.forecaster import RecurrentForecaster
from gatewise.sklearn.regressor import RecurrentRegressor

__all__ = ["RecurrentClassifier", "RecurrentForecaster", "RecurrentRegressor"]
