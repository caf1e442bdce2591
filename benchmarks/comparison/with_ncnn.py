"""ncnn: an LSTM at batch 1, from a model that is written here, float32 and int8.

A model is a text that lists layers and a file with their arrays one after another. Each
array comes with a mark of its type but for scales, which are float32 always. Weights are
rounded as its own tool ``ncnn2int8`` does it: each row times 127 over its largest element,
a scale for each row of both matrices; inputs and h are rounded while it runs. Gates are in
the order input, forget, output, candidate.

An extractor is made for every call, as all of its examples do. A streaming step has the
state as two more inputs and outputs, passed on without a copy.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from comparison.contestant import Job
from comparison.grid import Case
from comparison.work import Array, Work

_MAGIC = 7767517
_FLOAT32, _INT8 = 0, 0x000D4B38
# Where PyTorch's gates stand.
_ORDER = (0, 1, 3, 2)


class Contestant:
    def __init__(self, threads: int) -> None:
        self.version = f"ncnn {ncnn.__version__}"
        self._threads = threads

    def job(self, case: Case, work: Work, way: str) -> Job:
        net = ncnn.Net()
        net.opt.num_threads = self._threads
        narrow = way == "int8"
        with tempfile.TemporaryDirectory() as folder:
            graph, arrays = Path(folder, "model.param"), Path(folder, "model.bin")
            graph.write_text(_graph(case, narrow))
            arrays.write_bytes(_arrays(case, work, narrow))
            if net.load_param(str(graph)) or net.load_model(str(arrays)):
                raise ValueError("the model should load, got an error")
        x = ncnn.Mat(work.x[0]).clone()
        names = _states(case)
        zeros = np.zeros((1, case.hidden_size), np.float32)
        states = {name: ncnn.Mat(zeros).clone() for name in names}

        def run() -> Any:
            extractor = net.create_extractor()
            extractor.input("x", x)
            for name, state in states.items():
                extractor.input(name, state)
            y = extractor.extract("y")[1]
            for name in names:
                states[name] = extractor.extract(name + "_next")[1]
            return y

        return Job(run, lambda y: {"y": np.array(y)[None]})


def _states(case: Case) -> list[str]:
    return ["h", "c"] if case.streaming else []


def _graph(case: Case, narrow: bool) -> str:
    """The layers of the model, one a line: kind, name, blobs in and out, parameters."""
    states = _states(case)
    inputs = ["x", *states]
    outputs = ["y", *(f"{name}_next" for name in states)]
    weights = case.gates * case.hidden_size * case.input_size
    lines = [str(_MAGIC), f"{len(inputs) + 1} {len(inputs) + len(outputs)}"]
    lines += [f"Input {name} 0 1 {name}" for name in inputs]
    blobs = f"{len(inputs)} {len(outputs)} {' '.join(inputs + outputs)}"
    parameters = f"0={case.hidden_size} 1={weights} 2=0 3={case.hidden_size}"
    lines.append(f"LSTM lstm {blobs} {parameters}{' 8=2' * narrow}")
    return "\n".join(lines) + "\n"


def _arrays(case: Case, work: Work, narrow: bool) -> bytes:
    """The weights of the input, the bias, the recurrent weights, and scales."""

    def ordered(name: str) -> Array:
        value = work.weights[name]
        gates = value.reshape(case.gates, case.hidden_size, -1)
        return gates[list(_ORDER)].reshape(value.shape)

    bias = ordered("bias_ih_l0") + ordered("bias_hh_l0")
    matrices = [ordered("weight_ih_l0"), ordered("weight_hh_l0")]
    if not narrow:
        return b"".join(map(_marked, [matrices[0], bias, matrices[1]]))
    scales = [(127 / np.abs(matrix).max(1)).astype(np.float32) for matrix in matrices]
    rounded = [
        np.rint(matrix * scale[:, None]).astype(np.int8)
        for matrix, scale in zip(matrices, scales, strict=True)
    ]
    parts = map(_marked, [rounded[0], bias, rounded[1]])
    return b"".join([*parts, *(scale.tobytes() for scale in scales)])


def _marked(array: Array) -> bytes:
    """An array after the mark of its type, filled up to whole words."""
    mark = _INT8 if array.dtype == np.int8 else _FLOAT32
    content = array.tobytes()
    return mark.to_bytes(4, "little") + content + b"\0" * (-len(content) % 4)
