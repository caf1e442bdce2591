"""The options that estimators have in common, checked when they are fitted."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

__all__ = [
    "CELLS",
    "POOLINGS",
    "check_choice",
    "check_integer",
    "check_number",
    "check_options",
]

CELLS = ("gru", "lstm", "rnn")
POOLINGS = ("last", "mean", "max", "attention")


def check_options(estimator: Any) -> None:
    """Raise TypeError or ValueError for an option that cannot be."""
    check_choice("cell", estimator.cell, CELLS)
    for name in ("hidden_size", "num_layers", "batch_size", "max_iter"):
        check_integer(name, getattr(estimator, name))
    check_integer("n_iter_no_change", estimator.n_iter_no_change)
    check_number("dropout", estimator.dropout, below=1.0)
    check_number("learning_rate", estimator.learning_rate)
    if estimator.max_norm is not None:
        check_number("max_norm", estimator.max_norm)
    check_number("validation_fraction", estimator.validation_fraction, below=1.0)
    if not estimator.validation_fraction:
        raise ValueError(
            "validation_fraction should be above 0 and below 1, got "
            f"{estimator.validation_fraction}"
        )
    for name in ("bidirectional", "early_stopping", "standardize", "warm_start"):
        value = getattr(estimator, name)
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} should be True or False, got {value!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name} should be {', '.join(others)} or {last}, got {value!r}")


def check_integer(name: str, value: object, lowest: int = 1) -> None:
    """Raise unless `value` is a whole number of at least `lowest`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} should be an integer, got {value!r}")
    if value < lowest:
        raise ValueError(f"{name} should be at least {lowest}, got {value}")


def check_number(name: str, value: object, below: float = np.inf) -> None:
    """Raise unless `value` is a number of at least 0, finite and below a limit."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} should be a number, got {value!r}")
    if not 0 <= float(value) < below:
        limit = "finite" if below == np.inf else f"below {below:g}"
        raise ValueError(f"{name} should be at least 0 and {limit}, got {value!r}")
