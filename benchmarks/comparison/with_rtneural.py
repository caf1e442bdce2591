"""RTNeural, the C++ library of audio plugins: one sequence, sizes known to the compiler.

``RTNEURAL`` in the environment names a checkout. `rtneural_driver.cpp` is compiled for each
case, by ``c++`` or what ``CXX`` names, for this processor, and called through ctypes once
for a whole sequence. It has two back ends: Eigen, which is part of it, and xsimd, which it
takes from ``modules/xsimd``. It has no plain recurrent layer, and one thread.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from comparison.contestant import RTNEURAL, Job
from comparison.grid import Case
from comparison.work import Array, Work

_FLAGS = ["-std=c++17", "-O3", "-march=native", "-DNDEBUG", "-shared", "-fPIC"]
_BACK_ENDS = {"": "RTNEURAL_USE_EIGEN", "xsimd": "RTNEURAL_USE_XSIMD"}
# Where PyTorch's gates stand in the order of Keras, which RTNeural has.
_ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}


class Contestant:
    def __init__(self, threads: int) -> None:
        self._checkout = Path(os.environ[RTNEURAL])
        self.version = f"RTNeural {_commit(self._checkout)}"

    def job(self, case: Case, work: Work, way: str) -> Job:
        library = self._library(case, way)
        library.layer_make.restype = ctypes.c_void_p
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        w, u, *biases = (_ordered(case, work.weights[name]) for name in names)
        bias = np.stack(biases) if case.cell == "gru" else sum(biases)
        arrays = [np.ascontiguousarray(a, np.float32) for a in (w.T, u.T, bias)]
        handle = ctypes.c_void_p(library.layer_make(*map(_pointer, arrays), case.gates))
        x = np.ascontiguousarray(work.x[0])
        y = np.empty((case.time, case.hidden_size), np.float32)
        arguments = handle, _pointer(x), case.time, _pointer(y)

        def run() -> Array:
            library.layer_run(*arguments)
            return y

        return Job(run, lambda result: {"y": result[None].copy()})

    def _library(self, case: Case, way: str) -> Any:
        """The driver, compiled for this case."""
        defined = {
            "LAYER": f"{case.cell.upper()}LayerT",
            "INPUTS": case.input_size,
            "UNITS": case.hidden_size,
            "RTNEURAL_DEFAULT_ALIGNMENT": 32 if way == "" else 64,
            # Matrices of 64 by 64 are larger than Eigen likes to see within an object.
            "EIGEN_STACK_ALLOCATION_LIMIT": 0,
            _BACK_ENDS[way]: 1,
        }
        if case.cell == "gru":
            defined["TWO_BIASES"] = 1
        modules = self._checkout / "modules"
        found = [self._checkout, modules / "Eigen", modules / "xsimd" / "include"]
        source = Path(__file__).with_name("rtneural_driver.cpp")
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "driver.so")
            command = [os.environ.get("CXX", "c++"), *_FLAGS, str(source), "-o", str(made)]
            command += [f"-D{name}={value}" for name, value in defined.items()]
            command += [f"-I{path}" for path in found]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "error" in line]
                raise OSError(f"{source.name} should compile, got {errors[:1]}")
            return ctypes.CDLL(str(made))


def _ordered(case: Case, value: Array) -> Array:
    gates = value.reshape(case.gates, case.hidden_size, -1)
    return gates[list(_ORDER[case.cell])].reshape(value.shape)


def _pointer(array: Array) -> Any:
    return array.ctypes.data_as(ctypes.c_void_p)


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "of an unknown commit"
