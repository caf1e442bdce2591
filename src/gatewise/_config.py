"""What runs here: the backend and why, the versions, the processor, NumPy's BLAS."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

import gatewise
from gatewise.kernels import chooser, products, thread_limits

__all__ = ["plain_config", "read_config", "show_config"]


def show_config() -> None:
    """Print which backend runs and why, and what a report of a problem should mention.

    Raises
    ------
    ValueError
        If the environment variable GATEWISE_NUM_THREADS is no whole number of at least 1.

    Examples
    --------
    >>> gatewise.show_config()  # doctest: +ELLIPSIS
    gatewise         ...
    backend          ...
    """
    for what, value in read_config().items():
        print(f"{what:<16} {value}")


def read_config() -> dict[str, str]:
    """Return what `show_config` prints, by its labels.

    Examples
    --------
    >>> from gatewise._config import read_config
    >>> read_config()["gatewise"] == gatewise.__version__
    True
    """
    numpy_config = _numpy_config()
    return {
        "gatewise": gatewise.__version__,
        "backend": f"{chooser.name}: {chooser.reason}",
        "instruction set": _instruction_set(),
        "products": products.describe(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "NumPy": np.__version__,
        "BLAS": _blas(numpy_config),
        "platform": platform.platform(),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": thread_limits.describe(),
        "CPU features": _cpu_features(numpy_config),
    }


def plain_config() -> dict[str, Any]:
    """Return the same for programs, as JSON can hold it.

    Raises
    ------
    ValueError
        If the environment variable GATEWISE_NUM_THREADS is no whole number of at least 1.

    Examples
    --------
    >>> from gatewise._config import plain_config
    >>> plain_config()["backend"]["name"] in ("native", "numpy")
    True
    """
    numpy_config = _numpy_config()
    native = chooser.name == "native"
    return {
        "gatewise": gatewise.__version__,
        "backend": {"name": chooser.name, "reason": chooser.reason},
        "instruction_set": chooser.kernels.instruction_set() if native else None,
        "instruction_sets": list(chooser.kernels.instruction_sets()) if native else [],
        "products": products.describe(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "numpy": np.__version__,
        "blas": _blas(numpy_config),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": {
            "number": thread_limits.get_num_threads(),
            "reason": thread_limits.describe(),
        },
        "cpu_features": _cpu_features(numpy_config).split(),
    }


def _instruction_set() -> str:
    if chooser.name != "native":
        return "chosen by NumPy"
    chosen = chooser.kernels.instruction_set()
    return f"{chosen} (of {', '.join(chooser.kernels.instruction_sets())})"


def _numpy_config() -> dict[str, Any]:
    """What NumPy knows of its own build; some distributors' builds say nothing."""
    config: Any = np.show_config(mode="dicts")
    return config if isinstance(config, dict) else {}


def _blas(numpy_config: dict[str, Any]) -> str:
    blas = numpy_config.get("Build Dependencies", {}).get("blas", {})
    known = [str(blas[key]) for key in ("name", "version") if blas.get(key)]
    return " ".join(known) or "unknown"


def _cpu_features(numpy_config: dict[str, Any]) -> str:
    extensions = numpy_config.get("SIMD Extensions", {})
    features = [*extensions.get("baseline", []), *extensions.get("found", [])]
    return " ".join(features) or "unknown"
