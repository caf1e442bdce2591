"""Every instruction set that this CPU has can be chosen, and computes the same.

Each in a Python of its own, since the choice is made once and for all. That a set computes
everything as it should is for the tests of the kernels, run with GATEWISE_ISA.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import gatewise
from gatewise.kernels import chooser
from tests.new_process import PATIENCE

RUN = """
import numpy as np
import gatewise
from gatewise.kernels import chooser

random = np.random.default_rng(0)
for kind in (gatewise.RNN, gatewise.LSTM, gatewise.GRU):
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        layer = kind(5, 37, 2, bidirectional=True, dtype=dtype, seed=0)
        x = random.standard_normal((7, 6, 5))
        resets = random.random((7, 6)) < 0.3
        results, integers, halves = [], [], []
        for name in ("native", "numpy"):
            with chooser.use(name):
                y, _, tape = layer.forward(x)
                dx, _, gradients = layer.backward(tape, np.ones_like(y))
                results.append([layer(x)[0], y, dx, *gradients.values()])
                y, _, tape = layer.forward(x, resets=resets)
                dx, _, gradients = layer.backward(tape, np.ones_like(y))
                results[-1] += [layer(x, resets=resets)[0], y, dx, *gradients.values()]
                if dtype == "float32":
                    results[-1].append(layer.quantize("float16")(x)[0])
                    integers.append(layer.quantize("int8")(x)[0])
                    halves.append(layer.quantize("bfloat16")(x)[0])
        # What differs in the last bit may be rounded to another step.
        if integers:
            np.testing.assert_allclose(*integers, rtol=0, atol=1e-4)
            np.testing.assert_allclose(*halves, rtol=0, atol=1e-2)
        for found, wanted in zip(*results, strict=True):
            limit = tolerance * max(1, np.abs(wanted).max())
            np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)
for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
    for features, outputs in ((3, 2), (20, 75), (9, 300)):
        layer = gatewise.Conv1d(features, outputs, 3, 1, "causal", 2, dtype=dtype, seed=0)
        x = random.standard_normal((7, 9, features)).astype(dtype)
        stream = layer.stream(7)
        steps = np.stack([stream(x[:, t]).copy() for t in range(9)], axis=1)
        results = []
        for name in ("native", "numpy"):
            with chooser.use(name):
                y, tape = layer.forward(x)
                dx, gradients = layer.backward(tape, y)
                results.append([y, dx, *gradients.values()])
        assert (steps == results[0][0]).all()
        for found, wanted in zip(*results, strict=True):
            limit = tolerance * max(1, np.abs(wanted).max())
            np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)
gatewise.show_config()
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k != "GATEWISE_ISA"}
    package = str(Path(gatewise.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | {"PYTHONPATH": package} | environment,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )


def shown(done: subprocess.CompletedProcess[str]) -> str:
    """What `show_config` says of the instruction set."""
    assert done.returncode == 0, done.stderr
    label = "instruction set"
    (line,) = [text for text in done.stdout.splitlines() if text.startswith(label)]
    return line.removeprefix(label).strip()


native_only = pytest.mark.parametrize("backend", ["native"], indirect=True)


@native_only
def test_each_can_be_chosen_and_computes_the_same(backend: str) -> None:
    names = chooser.kernels.instruction_sets()
    assert names
    for name in names:
        done = run(RUN, GATEWISE_ISA=name, GATEWISE_BACKEND="native")
        assert shown(done) == f"{name} (of {', '.join(names)})"


@native_only
def test_the_one_without_vectors_is_always_there_and_never_the_best_of_several(
    backend: str,
) -> None:
    *others, last = chooser.kernels.instruction_sets()
    assert last == "scalar"
    assert "scalar" not in others
    if platform.machine() in ("x86_64", "AMD64", "aarch64", "arm64", "ARM64"):
        assert others


@native_only
@pytest.mark.parametrize("nothing", [{}, {"GATEWISE_ISA": ""}], ids=["unset", "empty"])
def test_the_best_one_is_taken_otherwise(nothing: dict[str, str], backend: str) -> None:
    nothing = nothing | {"GATEWISE_BACKEND": "native"}
    done = run("import gatewise; gatewise.show_config()", **nothing)
    assert shown(done).startswith(f"{chooser.kernels.instruction_sets()[0]} (of ")


@native_only
@pytest.mark.parametrize("wanted", ["auto", "native"])
@pytest.mark.parametrize("name", ["fast", "AVX2", "sse9"])
def test_an_unknown_name_is_refused(name: str, wanted: str, backend: str) -> None:
    done = run("import gatewise", GATEWISE_ISA=name, GATEWISE_BACKEND=wanted)
    assert done.returncode != 0
    expected = ", ".join(chooser.kernels.instruction_sets())
    assert done.stderr.splitlines()[-1] == (
        f"ValueError: GATEWISE_ISA should be one of {expected} on this CPU, got {name!r}"
    )


def test_numpy_has_its_own_way() -> None:
    done = run(
        "import gatewise; gatewise.show_config()",
        GATEWISE_ISA="fast",
        GATEWISE_BACKEND="numpy",
    )
    assert shown(done) == "chosen by NumPy"
