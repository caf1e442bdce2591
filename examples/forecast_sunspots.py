"""Forecast next year's sunspots from all years before.

The series is the yearly number of sunspots since 1700. A GRU reads it and says at every
year how much the next one will differ. It is measured on years that it never saw, against
the forecast that next year is as this one, against this year's change going on, and against
the best weighted sum of the last nine years, which is the classic model of this series.

Needs statsmodels, which carries the series: pip install "gatewise[examples]"
With a file name as argument, it draws the forecasts there (needs matplotlib).
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from statsmodels.datasets import sunspots

import gatewise
from gatewise.training import Minibatches, minibatches

WINDOW = 48
FIRST_VALIDATION_YEAR, FIRST_TEST_YEAR = 1930, 1960


def windows(inputs: np.ndarray, targets: np.ndarray) -> Minibatches:
    """Return batches of eight overlapping stretches of the series."""
    starts = np.arange(0, len(inputs) - WINDOW + 1, 3)
    places = starts[:, None] + np.arange(WINDOW)
    return minibatches(inputs[places], targets[places], batch_size=8)


def weighted_sums(counts: np.ndarray, before: int, years: int = 9) -> np.ndarray:
    """Return forecasts of `counts` from `before` on, by weights fitted to those before."""
    rows = np.lib.stride_tricks.sliding_window_view(counts[:-1], years)
    rows = np.column_stack([rows, np.ones(len(rows))])
    weights = np.linalg.lstsq(rows[: before - years], counts[years:before], rcond=None)[0]
    forecasts: np.ndarray = rows[before - years :] @ weights
    return forecasts


def root_mean_square(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))


def draw(path: str, years: np.ndarray, counts: np.ndarray, forecasts: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.plot(years, counts, "k-", label="counted")
    axes.plot(years, forecasts, "C1--", label="forecast a year before")
    axes.set_ylabel("sunspots")
    axes.legend()
    figure.savefig(path)
    print(f"drawn in {path}")


def main() -> None:
    data: Any = sunspots.load_pandas().data
    years, counts = data["YEAR"].to_numpy(int), data["SUNACTIVITY"].to_numpy(np.float32)
    scaled = counts[:, None] / 100
    inputs, targets = scaled[:-1], np.diff(scaled, axis=0)
    # targets[i] is the step into years[i + 1].
    validation = int(np.searchsorted(years, FIRST_VALIDATION_YEAR)) - 1
    test = int(np.searchsorted(years, FIRST_TEST_YEAR)) - 1

    model = gatewise.Sequential(gatewise.GRU(1, 24, seed=0), gatewise.Linear(24, 1, seed=1))
    before = validation - WINDOW
    epochs = gatewise.fit(
        model,
        windows(inputs[:validation], targets[:validation]),
        gatewise.mse,
        gatewise.Adam(0.003),
        epochs=300,
        validation=[(inputs[None, before:test], targets[None, before:test])],
        patience=40,
        max_norm=1.0,
    )
    steps = model(inputs)[0]
    sums = weighted_sums(counts, validation + 1)[test - validation :]
    errors = {
        "the GRU": 100 * (steps - targets)[test:],
        "weighted sum": sums - counts[test + 1 :],
        "as this year": 100 * targets[test:],
        "this change goes on": 100 * (targets[test:] - targets[test - 1 : -1]),
    }
    print(
        f"trained for {len(epochs)} epochs on {years[0]} to {FIRST_VALIDATION_YEAR - 1}; "
        f"error on {FIRST_TEST_YEAR} to {years[-1]}, root mean square:"
    )
    for name, error in errors.items():
        print(f"  {name:20} {root_mean_square(error):5.1f} sunspots")
    if len(sys.argv) > 1:
        forecasts = counts[test:-1] + 100 * steps[test:, 0]
        draw(sys.argv[1], years[test + 1 :], counts[test + 1 :], forecasts)


if __name__ == "__main__":
    main()
