"""ONNX Runtime with inputs and outputs bound, so that a run copies nothing.

A streaming step takes turns between two bindings, the outputs of one being the inputs of
the other: faster than ``session.run`` with the state passed as arrays. Its int8 is what its
own `quantize_dynamic` makes of the model: weights rounded to one scale for each direction
beforehand, inputs and h while it runs.
"""

from __future__ import annotations

import logging
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from comparison.contestant import Job
from comparison.grid import Case
from comparison.onnx_model import build, state_names
from comparison.work import Work

_value = onnxruntime.OrtValue.ortvalue_from_numpy


class Contestant:
    def __init__(self, threads: int) -> None:
        self.version = f"onnxruntime {onnxruntime.__version__}"
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1

    def job(self, case: Case, work: Work, way: str) -> Job:
        model = build(case, work)
        session = onnxruntime.InferenceSession(
            _quantized(model) if way == "int8" else model,
            self._options,
            providers=["CPUExecutionProvider"],
        )
        x = work.time_first(work.x)
        features = case.directions * case.hidden_size
        y = _value(np.zeros((case.time, case.batch, features), np.float32))
        names = state_names(case) if case.streaming else []
        shape = (1, case.batch, case.hidden_size)
        states = [[_value(np.zeros(shape, np.float32)) for _ in names] for _ in range(2)]
        bindings = []
        for before, after in (states, states[::-1]):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", _value(x))
            binding.bind_ortvalue_output("y", y)
            for (given, left), old, new in zip(names, before, after, strict=True):
                binding.bind_ortvalue_input(given, old)
                binding.bind_ortvalue_output(left, new)
            bindings.append(binding)
        turns = cycle(bindings)

        def run() -> Any:
            session.run_with_iobinding(next(turns))
            return y

        return Job(run, lambda value: {"y": value.numpy().swapaxes(0, 1)})


def _quantized(model: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        wide, narrow = Path(folder, "wide.onnx"), Path(folder, "narrow.onnx")
        wide.write_bytes(model)
        # It always recommends a step of preparation, which finds nothing to do here.
        logging.disable(logging.WARNING)
        quantize_dynamic(wide, narrow, weight_type=QuantType.QInt8)
        logging.disable(logging.NOTSET)
        return narrow.read_bytes()
