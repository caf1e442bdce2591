"""No memory: every allocation of the core's fails in turn, and nothing else goes wrong.

A call that finds no memory raises, keeps nothing and changes none of its arguments, so that
the same call once more computes what it should.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import numpy as fallback
from gatewise.kernels.windows import Windows
from tests.kernels import test_columns as columns
from tests.kernels.test_parity import CELLS, Case, Shape
from tests.new_process import PATIENCE

Array = np.ndarray[Any, Any]
# What is called, again and again; it returns the arrays that it wrote.
Call = Callable[[], list[Array | None]]

# So many rows and steps that what a call works with does not fit on its stack.
SHAPES = {
    "plain": Shape(70, 3, 5, 40),
    "one": Shape(70, 1, 5, 40),
    "many rows": Shape(2, 600, 3, 6),
    "ragged": Shape(600, 200, 3, 6, (600,) + (1,) * 199),
}


@pytest.fixture
def trial(native: Any) -> Iterator[Any]:
    """The compiled kernels, whose allocations are counted."""
    gc.collect()
    native.release_memory()
    native._try_allocations(0)
    yield native
    native._try_allocations(-1)


def fail_each(kernels: Any, make: Callable[[], Call]) -> int:
    """Let each allocation fail of what `make` returns; count them."""

    def fresh() -> Call:
        kernels.release_memory()
        return make()

    call = fresh()
    kernels._try_allocations(0)
    wanted = [None if a is None else a.copy() for a in call()]
    count: int = kernels._allocations()[0]
    for number in range(1, count + 1):
        call = fresh()
        kernels._try_allocations(number)
        with pytest.raises(MemoryError, match=r"^no memory for "):
            call()
        kernels._try_allocations(0)
        assert_equal(call(), wanted)
    del call
    gc.collect()
    kernels.release_memory()
    assert kernels._allocations()[1] == 0
    return count


def assert_equal(got: list[Array | None], wanted: list[Array | None]) -> None:
    for array, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(array, other)


def copies(arrays: Any) -> tuple[Array, ...]:
    return tuple(array.copy() for array in arrays)


def pack(kernels: Any, case: Case) -> Call:
    return lambda: list(case.infer(kernels, False).values())


def infer(kernels: Any, case: Case) -> Call:
    packed, state, y = case.pack(kernels), copies(case.state), case.blank(case.outputs)

    def call() -> list[Array | None]:
        kernels.infer(packed, case.x, state, y, **case.how(False))
        return [y, *state]

    return call


def forward(kernels: Any, case: Case) -> Call:
    packed, state = case.pack(kernels), copies(case.state)
    gates = case.blank(case.gates)
    rnn = case.cell.startswith("rnn")
    y = gates if rnn else case.blank(case.outputs)
    extra = None if rnn else case.blank(case.shape.hidden)

    def call() -> list[Array | None]:
        kernels.forward(packed, gates, state, y, extra, x=case.x, **case.how(True))
        return [gates, y, extra, *state]

    return call


def backward(kernels: Any, case: Case) -> Call:
    tape = case.forward(fallback, False, True)
    packed, dstate = case.pack(kernels), copies(case.state)
    dgates, dy = tape["gates"], case.rows(case.outputs)
    y = dgates.copy() if case.cell.startswith("rnn") else tape["y"]
    has_dextra = case.cell == "gru" or case.options["w_hr"] is not None
    dextra = case.blank(case.outputs) if has_dextra else None

    def call() -> list[Array | None]:
        # In place: the gradients of the gates take the place of the gates.
        kernels.backward(
            packed,
            dgates,
            tape["extra"],
            y,
            case.state,
            dy,
            dstate,
            dgates,
            dextra,
            **case.how(False),
        )
        return [dgates, dextra, *dstate]

    return call


def project_back(kernels: Any, case: Case) -> Call:
    packed, dgates = case.pack(kernels), case.rows(case.gates)
    dx = case.blank(case.shape.inputs)

    def call() -> list[Array | None]:
        kernels.project_back(packed, dgates, dx)
        return [dx]

    return call


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_kernels(cell: str, shape: str, trial: Any) -> None:
    for entry in (pack, infer, forward, backward, project_back):

        def make(entry: Callable[[Any, Case], Call] = entry) -> Call:
            return entry(trial, Case(cell, SHAPES[shape], "float64", threads=2))

        # One row alone runs in what the stack holds.
        least = 0 if shape == "one" and entry in (infer, forward) else 1
        assert fail_each(trial, make) >= least, entry


@pytest.mark.parametrize("narrow", ["float16", "int8", "int8_8"])
@pytest.mark.parametrize("cell", CELLS)
def test_narrow_weights(cell: str, narrow: str, trial: Any) -> None:
    def make() -> Call:
        return pack(trial, Case(cell, SHAPES["plain"], "float32", narrow=narrow))

    assert fail_each(trial, make) > 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [2, 70], ids=["in lanes", "in panels"])
def test_products(outputs: int, dtype: str, trial: Any) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((30, 5, 700)).astype(dtype)
    dy = random.standard_normal((30, 5, outputs)).astype(dtype)
    weight = random.standard_normal((outputs, 700)).astype(dtype)
    bias = random.standard_normal(outputs).astype(dtype)

    def linear() -> Call:
        def call() -> list[Array | None]:
            return [trial.linear(trial.pack_linear(weight, bias), x)]

        return call

    def linear_back() -> Call:
        packed, dx = trial.pack_linear(weight, bias), np.empty_like(x)

        def call() -> list[Array | None]:
            trial.linear_back(packed, dy, dx)
            return [dx]

        return call

    def outer() -> Call:
        out = np.ones_like(weight)

        def call() -> list[Array | None]:
            trial.outer(dy, x, out)
            return [out]

        return call

    windows = Windows(7, 2, 1, 3, 3)

    def convolution() -> Call:
        dwindows = np.empty((150, 1, 700), dtype)

        def call() -> list[Array | None]:
            packed = trial.pack_convolution(weight, bias, windows)
            y = trial.convolve(packed, x[..., :100], num_threads=2)
            trial.linear_back(packed.product, dy.reshape(150, 1, outputs), dwindows)
            return [y, dwindows]

        return call

    assert fail_each(trial, convolution) >= 4
    assert fail_each(trial, linear) >= 3
    assert fail_each(trial, linear_back) == 1
    assert fail_each(trial, outer) == 1


@pytest.mark.parametrize("cell", columns.CELLS)
def test_columns(cell: str, trial: Any) -> None:
    spec = columns.CELLS[cell]
    sizes = (3, 5, 2, 4, 6)
    arrays = columns.draw(spec.step_back_layout, "float64", *sizes)

    def step_back() -> Call:
        return lambda: trial.cell_backward(spec.kernel, spec.step_back_layout, arrays)

    assert fail_each(trial, step_back) > 0
    arrays = columns.draw(spec.run_layout, "float64", *sizes)
    da = np.ones((5, 4, 6))

    def run() -> Call:
        def call() -> list[Array | None]:
            record = trial.run_forward(spec.kernel, spec.run_layout, arrays)
            return list(trial.run_backward(spec.kernel, record.values, record.kept, da))

        return call

    # None of them in the time loop.
    assert fail_each(trial, run) == 1


def test_arrays(trial: Any) -> None:
    def make() -> Call:
        return lambda: [np.array(trial.empty((50, 1000), np.dtype(np.float32)).shape)]

    assert fail_each(trial, make) == 1


def flat(state: Any) -> list[Array | None]:
    return list(state) if isinstance(state, tuple) else [state]


def run_layer(layer: Any, x: Array) -> list[Array | None]:
    y, state = layer(x)
    trained, _, tape = layer.forward(x)
    dx, dstate, gradients = layer.backward(tape, trained)
    return [y, *flat(state), dx, *flat(dstate), *gradients.values()]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers(kind: str, trial: Any) -> None:
    x = np.random.default_rng(0).standard_normal((40, 30, 5)).astype(np.float32)

    def make() -> Call:
        layer = getattr(gatewise, kind)(5, 8, 2, bidirectional=True, seed=0)
        return lambda: run_layer(layer, x)

    assert fail_each(trial, make) > 0


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("chunk", [None, 30])
@pytest.mark.parametrize("zoneout", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_streams(
    kind: str, zoneout: float, chunk: int | None, layers: int, trial: Any
) -> None:
    x = np.random.default_rng(0).standard_normal((200, 30, 5)).astype(np.float32)

    def make() -> Call:
        layer = getattr(gatewise, kind)(5, 8, layers, zoneout=zoneout, seed=0)
        stream = layer.stream(len(x))
        stream(x[:, 0])

        def call() -> list[Array | None]:
            y = stream(x[:, 1] if chunk is None else x[:, :chunk])
            return [y, *flat(stream.state)]

        return call

    assert fail_each(trial, make) > 0


@pytest.mark.parametrize("how", ["call", "step", "chunk"])
def test_nets_of_convolutions(how: str, trial: Any) -> None:
    x = np.random.default_rng(0).standard_normal((200, 30, 5)).astype(np.float32)

    def make() -> Call:
        model = gatewise.Sequential(
            gatewise.Conv1d(5, 40, 3, padding="causal", seed=0),
            gatewise.ReLU(),
            gatewise.Conv1d(40, 8, 2, padding="causal", dilation=4, seed=0),
            gatewise.LSTM(8, 8, seed=0),
            gatewise.Conv1d(8, 3, 2, padding="causal", seed=0),
        )
        if how == "call":
            return lambda: [model(x)[0]]
        stream = model.stream(len(x))
        stream(x[:, 0])

        def call() -> list[Array | None]:
            y = stream(x[:, 1] if how == "step" else x)
            first, _, second, state, third = stream.state
            return [y, first, second, *state, third]

        return call

    assert fail_each(trial, make) > 0


THREADS = """
import resource
import numpy as np
import gatewise

layer = gatewise.LSTM(40, 100, seed=0)
x = np.ones((4, 50, 40), np.float32)
wanted = layer(x, num_threads=1)[0]
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
# Enough for a call, and not for another thread's stack.
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))
for threads in (2, 3):
    assert (layer(x, num_threads=threads)[0] == wanted).all()
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with open("/proc/self/status") as file:
    print(next(line for line in file if line.startswith("Threads:")).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_threads_that_cannot_start_are_done_without(native: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        env=os.environ
        | {
            "PYTHONPATH": str(Path(gatewise.__file__).parent.parent),
            "GATEWISE_BACKEND": "native",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )
    assert done.stdout == "1\n", done.stderr
