"""OpenVINO on the ONNX model, for latency, held to float32 and as it chooses by itself.

Without a hint it rounds to bfloat16 on processors that have it. A streaming step runs a
model made stateful: faster than passing the state in and out.
"""

from __future__ import annotations

from typing import Any

import openvino
from openvino._offline_transformations import apply_make_stateful_transformation

from comparison.contestant import Job
from comparison.grid import Case
from comparison.onnx_model import build, state_names
from comparison.work import Work


class Contestant:
    def __init__(self, threads: int) -> None:
        self.version = f"openvino {openvino.__version__.partition('-')[0]}"
        self._core = openvino.Core()
        self._options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }

    def job(self, case: Case, work: Work, way: str) -> Job:
        model = self._core.read_model(build(case, work))
        if case.streaming:
            apply_make_stateful_transformation(model, dict(state_names(case)))
        hint = {} if way == "default" else {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = self._core.compile_model(model, "CPU", self._options | hint)
        request = compiled.create_infer_request()
        request.set_tensor("x", openvino.Tensor(work.time_first(work.x)))

        def run() -> Any:
            request.infer(share_outputs=True)
            return request

        return Job(run, lambda request: {"y": _output(request)})


def _output(request: Any) -> Any:
    return request.get_tensor("y").data.astype("float32").swapaxes(0, 1)
