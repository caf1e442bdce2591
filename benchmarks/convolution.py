"""Convolutions over time beside NumPy's products of gathered windows, and ONNX Runtime's.

The sides of a row take turns of a millisecond or more, and the medians of their times are
compared; their results are compared before. A ratio of 2 means that gatewise takes half the
time of what stands beside it. The goal is 1.

    python benchmarks/convolution.py [--seconds 1] [--json FILE] [WORD ...]

With words, only the rows that contain one of them. All sides have one thread or, with
THREADS in the environment, so many. Each reads its input in its own order and writes a new
output, but for ONNX Runtime, whose output is bound. Rows of ONNX Runtime are left out where
it is not installed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# Sets the number of threads of what is imported after it.
from small import Row, assert_alike, measure  # isort: skip

import numpy as np

import gatewise

Array = np.ndarray[Any, Any]


class Shape(NamedTuple):
    """A convolution, and the steps and the batch of its input."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    time: int
    batch: int

    @property
    def name(self) -> str:
        """What a row is called."""
        text = f"{self.inputs} to {self.outputs}, {self.kernel} steps"
        for word in ("stride", "padding", "dilation"):
            value = getattr(self, word)
            text += f", {word} {value}" if value != (word != "padding") else ""
        return f"{text}; {self.batch}x{self.time}"


# A spectrogram, and what stands between it and the recurrent layer in a detector of speech.
DETECTOR = [
    Shape(1, 258, 256, 128, 0, 1, 640, 1),
    Shape(129, 128, 3, 1, 1, 1, 4, 1),
    Shape(128, 64, 3, 2, 1, 1, 4, 1),
    Shape(64, 64, 3, 2, 1, 1, 2, 1),
    Shape(64, 128, 3, 1, 1, 1, 1, 1),
    Shape(128, 1, 1, 1, 0, 1, 1, 1),
]
# One to four steps of output.
FEW = [
    Shape(channels, outputs, kernel, 1, 0, 1, kernel - 1 + count, 1)
    for channels, outputs in ((1, 16), (16, 16), (32, 64), (128, 128), (258, 258))
    for kernel in (1, 3, 5)
    for count in (1, 2, 4)
]
MANY = [
    *(shape._replace(batch=256) for shape in DETECTOR),
    Shape(16, 16, 3, 1, 0, 1, 2048, 1),
    Shape(16, 16, 3, 1, 0, 64, 2048, 1),
    Shape(80, 512, 5, 1, 2, 1, 400, 1),
    Shape(128, 128, 3, 1, 1, 1, 100, 32),
    Shape(512, 512, 3, 2, 1, 1, 1000, 1),
    Shape(1, 16, 3, 1, 0, 1, 2048, 1),
    Shape(32, 1, 7, 1, 0, 1, 2048, 1),
    Shape(1, 1, 64, 1, 0, 1, 16000, 1),
]


class Convolution:
    """One shape with random weights, on every side."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        random = np.random.default_rng(0)
        size = (shape.batch, shape.time, shape.inputs)
        self.x = random.standard_normal(size).astype("float32")
        self.layer = gatewise.Conv1d(*shape[:6], seed=0)
        self.weight, self.bias = self.layer.parameters().values()
        flat = self.weight.transpose(2, 1, 0).reshape(-1, shape.outputs)
        self.matrix = np.ascontiguousarray(flat)

    def by_gatewise(self) -> Array:
        """Return the layer's output."""
        return self.layer(self.x)

    def by_numpy(self) -> Array:
        """Return the product of the windows, gathered side by side."""
        shape, x = self.shape, self.x
        if shape.padding:
            x = np.pad(x, ((0, 0), (shape.padding, shape.padding), (0, 0)))
        span = (shape.kernel - 1) * shape.dilation
        count = (x.shape[1] - span - 1) // shape.stride + 1
        batch, step, feature = x.strides
        windows = np.lib.stride_tricks.as_strided(
            x,
            (shape.batch, count, shape.kernel, shape.inputs),
            (batch, shape.stride * step, shape.dilation * step, feature),
        )
        rows = windows.reshape(-1, shape.kernel * shape.inputs)
        y = rows @ self.matrix + self.bias
        return y.reshape(shape.batch, count, shape.outputs)

    def by_onnxruntime(self) -> tuple[Callable[[], Any], Callable[[], Array]]:
        """Return a run with everything bound, and what makes its output comparable."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            self._model(), options, providers=["CPUExecutionProvider"]
        )
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        y = value(np.empty(self.layer(self.x).swapaxes(1, 2).shape, np.float32))
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value(np.ascontiguousarray(self.x.swapaxes(1, 2))))
        binding.bind_ortvalue_output("y", y)

        def run() -> None:
            session.run_with_iobinding(binding)

        def output() -> Array:
            run()
            found: Array = np.ascontiguousarray(y.numpy().swapaxes(1, 2))
            return found

        return run, output

    def _model(self) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        shape = self.shape
        node = helper.make_node(
            "Conv",
            ["x", "w", "b"],
            ["y"],
            strides=[shape.stride],
            pads=[shape.padding, shape.padding],
            dilations=[shape.dilation],
        )
        constants = [
            numpy_helper.from_array(array.copy(), name)
            for name, array in (("w", self.weight), ("b", self.bias))
        ]
        size = (shape.batch, shape.inputs, shape.time)
        graph = helper.make_graph(
            [node],
            "convolution",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (None, None, None))],
            constants,
        )
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        serialized: bytes = model.SerializeToString()
        return serialized


def rows() -> Iterator[tuple[Row, Row]]:
    """Every row, in order, with one that compares its results."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401

        has_runtime = True
    except ImportError:
        has_runtime = False
    for shape in dict.fromkeys([*DETECTOR, *FEW, *MANY]):
        sides = Convolution(shape)
        row = Row(shape.name, "NumPy", sides.by_gatewise, sides.by_numpy)
        yield row, row
        if has_runtime:
            run, output = sides.by_onnxruntime()
            row = row._replace(beside="onnxruntime", other=output)
            yield row._replace(other=run), row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each row")
    parser.add_argument("--json", metavar="FILE", help="write the medians here, too")
    parser.add_argument("words", nargs="*", metavar="WORD", help="rows to measure")
    options = parser.parse_args()
    print(
        f"{'median microseconds per call':56} {'gatewise':>9} {'beside':>9}         ratio"
    )
    report, short = [], []
    for row, checked in rows():
        if options.words and not any(word in row.name for word in options.words):
            continue
        assert_alike(checked)
        own, other = measure(row, options.seconds)
        times = f"{own * 1e6:9.2f} {other * 1e6:9.2f}"
        print(f"{row.name:56} {times} {row.beside:11} {other / own:6.2f}", flush=True)
        report.append({"name": row.name, "beside": row.beside, "seconds": [own, other]})
        if other < own:
            short.append(f"{row.name}: {other / own:.2f} of {row.beside}")
    print("all goals reached" if not short else "short of the goal: " + "; ".join(short))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
