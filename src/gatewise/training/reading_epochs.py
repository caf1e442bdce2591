"""What a checkpoint says of an epoch, checked."""

from __future__ import annotations

from typing import Any

from gatewise.formats.fields import Fields
from gatewise.training.history import Epoch

__all__ = ["read_epoch"]


def read_epoch(number: int, entry: dict[str, Any], names: set[str]) -> Epoch:
    """Return an epoch with the metrics of these names, if all is well.

    Raises
    ------
    ValueError
        If it is none, of another number, or has other metrics.
    """
    said = Fields(entry, f"epochs[{number - 1}]")
    metrics = _numbers(said, "metrics")
    validation_metrics = _numbers(said, "validation_metrics")
    if metrics.keys() != names or (
        validation_metrics and validation_metrics.keys() != names
    ):
        raise ValueError(f"epochs[{number - 1}] should have the metrics, got others")
    return Epoch(
        said.integer("number", lowest=number, highest=number),
        said.number("loss"),
        _number(said, "validation_loss"),
        metrics,
        validation_metrics,
        _number(said, "learning_rate"),
    )


def _number(said: Fields, name: str) -> float | None:
    return said.number(name, finite=False) if said.has(name) else None


def _numbers(said: Fields, name: str) -> dict[str, float]:
    if not said.has(name):
        return {}
    inner = said.fields(name)
    return {key: inner.number(key, finite=False) for key in said.dictionary(name)}
