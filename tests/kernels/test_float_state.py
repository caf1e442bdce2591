"""Denormal numbers: zero to the compiled kernels, and nobody else's numbers change."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

import gatewise
from tests.new_process import PATIENCE

Array = np.ndarray[Any, Any]

TINY = {"float32": 1e-40, "float64": 1e-310}
# Vectors of float32 flush them on ARM of 32 bits, whoever runs them.
VECTORS_FLUSH = sys.maxsize < 2**32 and platform.machine().startswith("arm")


def assert_denormals_count() -> None:
    """Assert that the calling thread's arithmetic takes and gives denormal numbers."""
    for dtype, tiny in TINY.items():
        many = np.full(100, tiny, dtype)
        assert many[0] * many.dtype.type(1) == many[0] > 0
        if VECTORS_FLUSH and dtype == "float32":
            continue
        np.testing.assert_array_equal(many * many.dtype.type(1), many)
        smallest = np.full(100, np.finfo(dtype).tiny, dtype)
        assert (smallest / 2 > 0).all()
    assert float.fromhex("0x1p-1074") * 1.0 > 0


@pytest.fixture(params=[1, 3], ids=["1 thread", "3 threads"], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = gatewise.get_num_threads()
    gatewise.set_num_threads(request.param)
    yield
    gatewise.set_num_threads(before)


def draw(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape)


def layer_calls() -> Iterator[Callable[[], object]]:
    # The work of the larger ones is shared between threads.
    for kind in (gatewise.RNN, gatewise.LSTM, gatewise.GRU):
        for dtype in ("float32", "float64"):
            for batch, time, hidden in ((1, 2, 4), (1, 9, 200), (8, 9, 120)):
                layer = kind(40, hidden, dtype=dtype, seed=0)
                x = 1e-30 * draw(batch, time, 40)
                yield lambda layer=layer, x=x: layer(x)
                stream = layer.stream(batch)
                yield lambda stream=stream, x=x: stream(x[:, 0])
                y, _, tape = layer.forward(x)
                yield lambda layer=layer, x=x: layer.forward(x)
                yield lambda layer=layer, tape=tape, y=y: layer.backward(tape, y)


def notebook_calls() -> Iterator[Callable[[], object]]:
    parameters = {
        **{name: draw(5, 8) for name in ("Wf", "Wi", "Wc", "Wo")},
        **{name: draw(5, 1) for name in ("bf", "bi", "bc", "bo")},
        **{"Wy": draw(2, 5), "by": draw(2, 1)},
    }
    *_, caches = gatewise.lstm_forward(draw(3, 4, 6), draw(5, 4), parameters)
    yield lambda: gatewise.lstm_forward(draw(3, 4, 6), draw(5, 4), parameters)
    yield lambda: gatewise.lstm_backward(draw(5, 4, 6), caches)
    for function in (gatewise.sigmoid, gatewise.softmax):
        for dtype in ("float32", "float64"):
            z = draw(100, 3).astype(dtype)
            yield lambda function=function, z=z: function(z)


def wrong_calls() -> Iterator[Callable[[], object]]:
    layer = gatewise.LSTM(3, 4, seed=0)
    stream = layer.stream()
    yield lambda: layer(np.ones((2, 5, 4)))
    yield lambda: layer(np.ones((2, 5, 3)), np.ones(3))
    yield lambda: stream(np.ones(4))
    yield lambda: gatewise.sigmoid("1")
    yield lambda: gatewise.rnn_forward(draw(3, 4, 6), draw(5, 4), {})


def test_after_every_call(backend: str) -> None:
    for call in (*layer_calls(), *notebook_calls()):
        call()
        assert_denormals_count()


def test_after_an_exception(backend: str) -> None:
    for call in wrong_calls():
        with pytest.raises((TypeError, ValueError, KeyError)):
            call()
        assert_denormals_count()


def test_in_every_thread_that_calls(backend: str) -> None:
    calls = list(layer_calls())
    together = Barrier(4, timeout=60 * PATIENCE)

    def work(first: int) -> None:
        together.wait()
        # A stream, or a tape, is one caller's at a time; each has a quarter of the calls.
        for call in calls[first::4]:
            assert_denormals_count()
            call()
            assert_denormals_count()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_the_import_alone_changes_nothing(backend: str) -> None:
    paths = [str(Path(gatewise.__file__).parent.parent), str(Path(__file__).parents[2])]
    code = "from tests.kernels import test_float_state as tests\n"
    code += "tests.assert_denormals_count(); print('well')"
    environment = {"PYTHONPATH": os.pathsep.join(paths), "GATEWISE_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )
    assert done.stdout == "well\n", done.stderr


# Where the kernels know how to flush them.
FLUSHING = ("x86_64", "AMD64", "aarch64", "arm64")


@pytest.mark.skipif(
    platform.machine() not in FLUSHING,
    reason="denormals are computed with as they are on this processor",
)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_inside_a_compiled_kernel_they_are_zero(
    kind: str, dtype: str, backend: str
) -> None:
    layer: Any = getattr(gatewise, kind)(1, 5, bias=False, dtype=dtype, seed=0)
    ones = {name: np.ones(p.shape) for name, p in layer.parameters().items()}
    layer.set_parameters(ones)
    for batch, time in ((1, 1), (1, 3), (7, 3)):
        x = np.full((batch, time, 1), TINY[dtype], dtype)
        y, _ = layer(x)
        assert y.shape == (batch, time, 5)
        assert not y.any()
        # And so is what would become one.
        assert not layer(x, num_threads=3)[0].any()
        small, _ = layer(np.full_like(x, np.finfo(dtype).tiny))
        assert (np.abs(small[small != 0]) >= np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("backend", ["numpy"], indirect=True)
def test_inside_the_fallback_they_are_themselves(backend: str) -> None:
    layer = gatewise.RNN(1, 1, nonlinearity="relu", bias=False, dtype="float64")
    layer.set_parameters({"weight_ih_l0": [[1]]})
    x = np.full((1, 1, 1), TINY["float64"])
    np.testing.assert_array_equal(layer(x)[0], x)
