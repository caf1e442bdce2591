"""Who takes part: packages, and the precisions in which each can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from comparison.grid import Case

# All that are compared; an entry of "float32" is in float64 where the case is.
PRECISIONS = ("float32", "bfloat16", "int8")
# How far results may differ from float32's, relative to the largest value of an array or
# to 1. A number of bfloat16 has 8 bits, and in training gradients add up what was rounded;
# an int8 weight is rounded to a 127th of the largest of its row, or of all.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2, "int8": 3e-2}
TRAINING_TOLERANCE = 5e-2


class Entry(NamedTuple):
    """A package in one of its ways; `takes` says in which cases."""

    package: str
    way: str
    precision: str
    takes: Callable[[Case], bool]

    @property
    def name(self) -> str:
        """The package, and the way where it has several."""
        return f"{self.package} {self.way}".rstrip()

    @property
    def is_ours(self) -> bool:
        """Whether it is gatewise."""
        return self.package == "gatewise"

    def tolerance(self, case: Case) -> float:
        """How far its results may differ from float32's."""
        if case.training and self.precision != "float32":
            return TRAINING_TOLERANCE
        return TOLERANCES[self.precision]


def _any(case: Case) -> bool:
    return True


def _equal_float32(case: Case) -> bool:
    return case.dtype == "float32" and not case.ragged


def _inference(case: Case) -> bool:
    return _equal_float32(case) and not case.training


def _dynamic_torch(case: Case) -> bool:
    # Its quantize_dynamic knows all Cell modules, and of the others not nn.RNN.
    return _inference(case) and (case.streaming or case.cell != "rnn")


def _lstm(case: Case) -> bool:
    return _inference(case) and case.cell == "lstm"


def _single_lstm(case: Case) -> bool:
    """A plain layer: ncnn has no batches, and on x86 plain C alone for other cells."""
    return _lstm(case) and case.batch == case.layers == case.directions == 1


def _small(case: Case) -> bool:
    """One sequence through one small layer."""
    shape = (case.batch, case.layers, case.directions)
    return (
        _inference(case) and shape == (1, 1, 1) and case.time > 1 and case.hidden_size <= 64
    )


def _small_gated(case: Case) -> bool:
    return _small(case) and case.cell != "rnn"


ENTRIES = (
    Entry("gatewise", "", "float32", _any),
    Entry("gatewise", "bfloat16", "bfloat16", _equal_float32),
    Entry("gatewise", "int8-15", "int8", _inference),
    Entry("gatewise", "int8-8", "int8", _inference),
    Entry("torch", "", "float32", _any),
    Entry("torch", "bfloat16", "bfloat16", _equal_float32),
    Entry("torch", "autocast", "bfloat16", _equal_float32),
    Entry("torch", "int8", "int8", _dynamic_torch),
    Entry("onnxruntime", "", "float32", _inference),
    Entry("onnxruntime", "int8", "int8", _lstm),
    Entry("openvino", "", "float32", _inference),
    Entry("openvino", "default", "bfloat16", _inference),
    Entry("jax", "", "float32", _equal_float32),
    Entry("ncnn", "", "float32", _single_lstm),
    Entry("ncnn", "int8", "int8", _single_lstm),
    Entry("numba", "", "float32", _small),
    Entry("rtneural", "", "float32", _small_gated),
    Entry("rtneural", "xsimd", "float32", _small_gated),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}
PACKAGES = tuple(dict.fromkeys(entry.package for entry in ENTRIES))
PEERS = PACKAGES[1:]


def entries_of(
    packages: Iterable[str], precisions: Iterable[str] = PRECISIONS
) -> list[Entry]:
    """The entries of these packages in these precisions."""
    packages, precisions = set(packages), set(precisions)
    return [e for e in ENTRIES if e.package in packages and e.precision in precisions]
