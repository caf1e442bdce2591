"""How many threads a call uses, who may call, and what a fork leaves."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import chooser
from tests.new_process import run

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = gatewise.get_num_threads()
    yield
    gatewise.set_num_threads(before)


def test_set_and_get() -> None:
    for count in (1, 3, np.int64(2)):
        gatewise.set_num_threads(count)
        assert gatewise.get_num_threads() == count
        assert type(gatewise.get_num_threads()) is int


def test_no_number_is_too_large(backend: str) -> None:
    gatewise.set_num_threads(10**30)
    assert gatewise.get_num_threads() == 64
    layer = gatewise.GRU(3, 4, seed=0)
    x = np.ones((2, 3, 3), np.float32)
    np.testing.assert_array_equal(layer(x)[0], layer(x, num_threads=10**30)[0])


def entrances() -> dict[str, Callable[[Any], object]]:
    """Everything that takes a number of threads."""
    x = np.ones((2, 0, 3), np.float32)
    layers: dict[str, Any] = {
        "RNN": gatewise.RNN(3, 4, zoneout=0.1),
        "LSTM": gatewise.LSTM(3, 4),
        "Sequential": gatewise.Sequential(gatewise.Linear(3, 4)),
    }
    calls: dict[str, Callable[[Any], object]] = {
        "set_num_threads": gatewise.set_num_threads,
        "stream": lambda n: layers["LSTM"].stream(num_threads=n),
    }
    for name, layer in layers.items():
        y, _, tape = layer.forward(x)
        calls |= {
            name: lambda n, f=layer: f(x, num_threads=n),
            f"{name}.forward": lambda n, f=layer.forward: f(x, num_threads=n),
            f"{name}.backward": lambda n, f=layer.backward, arguments=(tape, y): f(
                *arguments, num_threads=n
            ),
        }
    return calls


@pytest.mark.parametrize("entrance", entrances())
def test_wrong_numbers(entrance: str, backend: str) -> None:
    call = entrances()[entrance]
    call(2)
    for wrong in (0, -1):
        with pytest.raises(
            ValueError, match=f"^num_threads should be at least 1, got {wrong}$"
        ):
            call(wrong)
    for kind in ("2", 2.0, [2]):
        name = type(kind).__name__
        with pytest.raises(
            TypeError, match=f"^num_threads should be an integer, got {name}$"
        ):
            call(kind)


@pytest.mark.parametrize("zoneout", [0.0, 0.2])
@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
def test_a_call_has_its_own_number(
    zoneout: float, tokens: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels, numbers = chooser.kernels, []

    def noting(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            numbers.append(options["num_threads"])
            return kernel(*arguments, **options)

        return call

    names = ("infer", "forward", "backward", "project_back", "outer", "linear", "stepper")
    noted = {name: noting(getattr(kernels, name)) for name in names}
    monkeypatch.setattr(chooser, "kernels", SimpleNamespace(**vars(kernels) | noted))
    layer = gatewise.GRU(3, 4, 2, zoneout=zoneout, tokens=tokens, seed=0)
    first = gatewise.Embedding(3, 3) if tokens else gatewise.Linear(3, 3)
    model = gatewise.Sequential(first, layer)
    x = np.ones((2, 5), int) if tokens else np.ones((2, 5, 3), np.float32)
    gatewise.set_num_threads(3)
    for given, wanted in ((2, 2), (None, 3)):
        del numbers[:]
        for called in (layer, model):
            called(x, num_threads=given)
            y, _, tape = called.forward(x, num_threads=given)
            called.backward(tape, y, num_threads=given)
        stream = layer.stream(2, num_threads=given)
        for running in (stream, stream.copy(), pickle.loads(pickle.dumps(stream))):
            running(x[:, 0])
            running(x)
        assert len(numbers) > 10
        assert set(numbers) == {wanted}


def test_a_stream_follows_the_number_of_the_process(backend: str) -> None:
    layer = gatewise.LSTM(40, 100, seed=0)
    x = np.ones((6, 40), np.float32)
    stream = layer.stream()
    steps = []
    for count, step in zip((1, 2, 3, 1, 2, 2), x, strict=True):
        gatewise.set_num_threads(count)
        steps.append(stream(step).copy())
    np.testing.assert_allclose(steps, layer(x)[0], rtol=0, atol=1e-6)


def large(seed: int) -> tuple[gatewise.LSTM, Array]:
    """A layer and sequences whose work threads share."""
    x = np.random.default_rng(seed).standard_normal((3, 16, 40))
    return gatewise.LSTM(40, 100, seed=0), x.astype(np.float32)


def everything(layer: gatewise.LSTM, x: Array) -> list[Array]:
    """What all that shares its work between threads gives."""
    y, (h, c) = layer(x)
    trained, _, tape = layer.forward(x)
    dx, dstate, gradients = layer.backward(tape, y)
    stream = layer.stream(len(x))
    steps = np.stack([stream(x[:, t]).copy() for t in range(x.shape[1])])
    return [y, h, c, trained, dx, *dstate, *gradients.values(), steps]


def test_results_do_not_depend_on_the_number(backend: str) -> None:
    layer, x = large(0)
    results = []
    for count in (1, 2, 3, 5):
        gatewise.set_num_threads(count)
        results.append(everything(layer, x))
    for result in results[1:]:
        for array, other in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(array, other)


def test_many_callers_at_once(backend: str) -> None:
    gatewise.set_num_threads(3)
    layer, _ = large(0)
    inputs = [large(seed)[1] for seed in range(8)]
    expected = [everything(layer, x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: everything(layer, x), inputs * 3))
    for results, others in zip(found, expected * 3, strict=True):
        for array, other in zip(results, others, strict=True):
            np.testing.assert_array_equal(array, other)


FORK = """
import os, threading, time, warnings
import numpy as np
import gatewise
from tests.kernels.test_threads import everything, large

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads around
gatewise.set_num_threads(3)
layer, x = large(0)
expected = everything(layer, x)

def check():
    for array, other in zip(everything(layer, x), expected, strict=True):
        np.testing.assert_array_equal(array, other)

def keep_calling():
    while not stop.is_set():
        check()

check()  # and with it import what NumPy imports late: no fork may come between
stop = threading.Event()
caller = threading.Thread(target=keep_calling, daemon=True)
if BUSY:
    caller.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            check()
            status = 0
        finally:
            os._exit(status)
    for _ in range(3000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        status = "the child hangs"
    assert status == 0, status
stop.set()
check()
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while another calls"])
def test_a_child_works_after_fork(busy: bool, backend: str) -> None:
    # NumPy's BLAS takes one thread: it has its own ways with forks.
    environment = {"GATEWISE_BACKEND": backend, "OPENBLAS_NUM_THREADS": "1"}
    done = run(f"BUSY = {busy}\n{FORK}", **environment)
    assert done.stdout == "well\n", done.stderr


IDLE = """
import os, time
import numpy as np
import gatewise

gatewise.set_num_threads(8)
layer, x = gatewise.LSTM(16, 256, seed=0), np.zeros((1, 200, 16), np.float32)
before = set(os.listdir("/proc/self/task"))
layer(x)
workers = [int(name) for name in set(os.listdir("/proc/self/task")) - before]
assert len(workers) >= 7  # a sanitizer has one of its own

def used():
    # The clock that Linux keeps for each thread.
    return np.array([time.clock_gettime_ns((~worker << 3) | 6) for worker in workers])

waits = []
for _ in range(15):
    layer(x)
    before = used()
    time.sleep(0.005)
    waits.append(sorted(used() - before))
print(*np.median(waits, axis=0)[::-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it needs the clocks of other threads")
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_at_most_two_threads_wait_awake_for_long(backend: str) -> None:
    done = run(IDLE, GATEWISE_BACKEND=backend, OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    longest, _, third, *_ = map(float, done.stdout.split())
    assert longest < 300_000
    assert third < 75_000
