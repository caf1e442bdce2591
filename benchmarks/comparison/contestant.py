"""What a contestant is: something that makes a job of a case."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

from comparison.grid import PEERS, Case
from comparison.work import Arrays, Work

NEEDS = {
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "jax": ("jax",),
}


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

    def job(self, case: Case, work: Work) -> Job:
        """Prepare everything that a user would prepare once, and return the rest."""
        ...


def missing_packages(peer: str) -> list[str]:
    """The packages that `peer` needs and that are not installed."""
    return [package for package in NEEDS[peer] if find_spec(package) is None]


def present_peers() -> list[str]:
    """The peers that can take part."""
    return [peer for peer in PEERS if not missing_packages(peer)]
