"""What a contestant is: something that makes a job of a case."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from comparison.grid import Case
from comparison.work import Arrays, Work

NEEDS = {
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "jax": ("jax",),
    "ncnn": ("ncnn",),
    "numba": ("numba",),
}
# Where a checkout of RTNeural is, which no package index has.
RTNEURAL = "RTNEURAL"


class Job(NamedTuple):
    """What is timed.

    `run` is timed within `context`; what it returns holds the results until the next run.
    `arrays` makes NumPy arrays of that, which is not timed: y, batch first, and in training
    dx and the gradients by the names of the weights.
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], Arrays]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


class Contestant(Protocol):
    """One package, with so many threads, in a process of its own."""

    version: str

    def job(self, case: Case, work: Work, way: str) -> Job:
        """Prepare everything that a user would prepare once, and return the rest."""
        ...


def missing(peer: str) -> str:
    """What `peer` needs and is not there; empty where it can take part."""
    if peer == "rtneural":
        found = Path(os.environ.get(RTNEURAL, ""), "RTNeural", "RTNeural.h").is_file()
        return "" if found else f"{RTNEURAL} names no checkout of it"
    absent = [package for package in NEEDS[peer] if find_spec(package) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""
