"""Time several ways to the same answers in turns, so that all see the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def times(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median of seconds that each takes, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}


def show(medians: Mapping[str, float], count: int, thing: str) -> None:
    """Print what one of `count` things takes, and in the first run's times too."""
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:34} {median / count * 1e6:9.1f} us a {thing} {median / first:6.2f}")
