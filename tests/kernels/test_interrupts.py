"""Signals during long calls: their handlers run at once, and may end the call."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread, Timer, get_ident
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import gatewise
from gatewise.kernels import chooser
from gatewise.kernels.activations import STANDARD
from gatewise.kernels.numpy import rows
from gatewise.kernels.windows import Windows
from tests.kernels.test_float_state import assert_denormals_count
from tests.new_process import PATIENCE, run

Array = np.ndarray[Any, Any]

# Multiply-adds that take seconds even where a call does 10^11 of them in one.
LONG = 10**12
# And so few that a test has the time to wait for the end.
SHORT = 2 * 10**9

native = pytest.mark.parametrize("backend", ["native"], indirect=True)


class Stopped(Exception):
    """What no part of the package raises or expects."""


def stop(*_: object) -> None:
    raise Stopped


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the handler of Ctrl-C and the number of threads as they were."""
    before, threads = signal.getsignal(signal.SIGINT), gatewise.get_num_threads()
    yield
    signal.signal(signal.SIGINT, before)
    gatewise.set_num_threads(threads)


def interrupted(
    call: Callable[[], Any],
    handler: Callable[..., object],
    send: Callable[[], object] = _thread.interrupt_main,
) -> Any:
    """What a call returns in whose midst the handler runs, unless it is soon done."""
    signal.signal(signal.SIGINT, handler)
    timer = Timer(0.05, send)
    timer.start()
    try:
        return call()
    finally:
        timer.join()


def seconds_to_stop(call: Callable[[], object]) -> float:
    """How long all threads work from the signal until a call raises what the handler has.

    Processor time, since the machine may be busy with other things.
    """
    sent = []

    def send() -> None:
        sent.append(time.process_time())
        _thread.interrupt_main()

    with pytest.raises(Stopped):
        interrupted(call, stop, send)
    return time.process_time() - sent[0]


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def steps(time: int, batch: int, features: int) -> Array:
    """So many steps in the memory of one, for what is read or one thread's alone."""
    step = zeros(batch, features)
    return as_strided(step, (time, *step.shape), (0, *step.strides))


def long_calls(threads: int) -> dict[str, Callable[[], object]]:
    """Calls of kernels, each of which takes long."""
    kernels, calls = chooser.kernels, {}
    pack = partial(kernels.pack, activations=STANDARD, weight_format="float32")
    packed = pack("lstm", zeros(4096, 512), zeros(4096, 1024), zeros(4096))
    shared = {"num_threads": threads}
    for batch in (1, 64):
        # The work of one row is shared unit by unit: what one step writes the next reads.
        written, time = (zeros, LONG // 2**26) if batch == 1 else (steps, LONG // 2**28)
        h, read, gates = (
            written(time, batch, 1024),
            steps(time, batch, 1024),
            written(time, batch, 4096),
        )
        state = zeros(batch, 1024), zeros(batch, 1024)
        x, extra = read[..., :512], written(time, batch, 1024)
        back = (
            packed,
            steps(time, batch, 4096),
            read,
            read,
            state,
            read,
            state,
            gates,
            None,
        )
        calls |= {
            f"infer, {batch} rows": partial(kernels.infer, packed, x, state, h, **shared),
            f"forward, {batch} rows": partial(
                kernels.forward, packed, gates, state, h, extra, **shared
            ),
            f"backward, {batch} rows": partial(kernels.backward, *back, **shared),
        }
    x = steps(LONG // (64 * 10**6), 64, 1000)
    # Few outputs are summed in another way.
    few, many = (kernels.pack_linear(zeros(n, 10**6), None) for n in (4, 33))
    rows = as_strided(zeros(10**6), (LONG // (4 * 10**6), 10**6), (0, 4))
    back, time = kernels.pack_linear(zeros(10**4, 500), None), LONG // (500 * 10**4)
    dy, drows = steps(time, 1, 10**4), zeros(time, 1, 500)
    dgates, dx = steps(LONG // 2**28, 64, 4096), zeros(LONG // 2**28, 64, 512)
    windows = Windows(1, 1, 1, 1, 0)
    convolution = kernels.pack_convolution(zeros(33, 10**6), None, windows)
    tokens, row = np.zeros(10**6, np.int64), steps(10**6, 1, 10**5)
    # Rows so far apart that copying them in another order takes long.
    wide = zeros(4096, 2**17), zeros(4096, 4096), zeros(4096)
    return calls | {
        "pack": partial(pack, "rnn", *wide),
        "convolve": partial(
            kernels.convolve, convolution, rows[: LONG // (33 * 10**6)], **shared
        ),
        "project_back": partial(kernels.project_back, packed, dgates, dx, **shared),
        "pack_linear": partial(kernels.pack_linear, wide[0], None),
        "linear, few outputs": partial(kernels.linear, few, rows, **shared),
        "linear, many outputs": partial(kernels.linear, many, rows, **shared),
        "linear_back": partial(kernels.linear_back, back, dy, drows, **shared),
        "outer": partial(kernels.outer, x, x, zeros(1000, 1000), **shared),
        "add_by_token": partial(kernels.add_by_token, tokens, row, row[0]),
        "lstm_cell_forward": large_step_of_the_notebook(),
    }


def large_step_of_the_notebook() -> Callable[[], object]:
    parameters = {f"W{gate}": zeros(500, 512) for gate in "fico"}
    parameters |= {f"b{gate}": zeros(500, 1) for gate in "fico"}
    parameters |= {"Wy": zeros(1, 500), "by": zeros(1, 1)}
    xt, a, c = (zeros(n, 5 * 10**4) for n in (12, 500, 500))
    return partial(gatewise.lstm_cell_forward, xt, a, c, parameters)


LONG_CALLS = [
    *(f"{name}, {n} rows" for name in ("infer", "forward", "backward") for n in (1, 64)),
    *("pack", "project_back", "outer", "add_by_token", "lstm_cell_forward"),
    *("pack_linear", "linear, few outputs", "linear, many outputs", "linear_back"),
    "convolve",
]


@native
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LONG_CALLS)
def test_a_handler_stops_a_long_call(name: str, threads: int, backend: str) -> None:
    assert seconds_to_stop(long_calls(threads)[name]) < 2 * PATIENCE


@native
@pytest.mark.skipif(sys.platform != "linux", reason="memory may be there at once")
@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "softmax"])
def test_a_handler_stops_activations(name: str, backend: str) -> None:
    # In place, and so large that what is not reached is never there.
    z = zeros(2, 5 * 10**8)
    z = z if name == "softmax" else z.reshape(-1)
    with pytest.raises(Stopped):
        interrupted(partial(getattr(chooser.kernels, name), z, z), stop)
    assert z.flat[-1] == 0


@pytest.fixture(scope="module")
def layer_and_rows() -> tuple[gatewise.LSTM, Array]:
    """A layer, and sequences for it."""
    time = SHORT // (32 * 4 * 256 * 320)
    rows = np.random.default_rng(0).standard_normal((32, time, 64))
    return gatewise.LSTM(64, 256, dtype="float64", seed=0), rows


@native
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_goes_on_if_the_handler_returns(
    threads: int, layer_and_rows: tuple[gatewise.LSTM, Array], backend: str
) -> None:
    (layer, rows), ran = layer_and_rows, []
    y, _, tape = layer.forward(rows, num_threads=threads)
    calls: list[Callable[[], Any]] = [
        lambda: layer(rows, num_threads=threads),
        lambda: layer.forward(rows, num_threads=threads)[:2],
        lambda: layer.backward(tape, y, num_threads=threads),
    ]
    for call in calls:
        for found, expected in zip(
            arrays(interrupted(call, lambda *_: ran.append(get_ident()))),
            arrays(call()),
            strict=True,
        ):
            np.testing.assert_array_equal(found, expected)
    assert ran == [get_ident()] * len(calls)


def arrays(results: Any) -> list[Array]:
    """All arrays in tuples and dictionaries, in their order."""
    if isinstance(results, np.ndarray):
        return [results]
    parts = results.values() if isinstance(results, dict) else results
    return [array for part in parts for array in arrays(part)]


@native
@pytest.mark.parametrize("threads", [1, 2])
def test_a_handler_may_call_kernels(
    threads: int, layer_and_rows: tuple[gatewise.LSTM, Array], backend: str
) -> None:
    (layer, rows), found = layer_and_rows, []

    def handler(*_: object) -> None:
        assert_denormals_count()
        gatewise.set_num_threads(2)
        y, _, tape = layer.forward(rows[:, :3])
        found.extend([y, *layer.backward(tape, y)[2].values(), layer(rows[:4, :3])[0]])
        assert_denormals_count()

    # The first to pack for the way back is the handler.
    layer.set_parameters(layer.state_dict())
    expected = layer(rows, num_threads=threads)[0]
    y = interrupted(lambda: layer(rows, num_threads=threads)[0], handler)
    np.testing.assert_array_equal(y, expected)
    inside = list(found)
    del found[:]
    handler()
    for array, other in zip(inside, found, strict=True):
        np.testing.assert_array_equal(array, other)


@native
def test_a_layer_is_as_it_was(
    layer_and_rows: tuple[gatewise.LSTM, Array], backend: str
) -> None:
    layer, rows = layer_and_rows
    before, expected = layer.state_dict(), layer(rows[:, :9])
    y, _, tape = layer.forward(rows)
    gradients = arrays(layer.backward(tape, y))
    for call in (lambda: layer.forward(rows), lambda: layer.backward(tape, y)):
        with pytest.raises(Stopped):
            interrupted(call, stop)
    for array, other in zip(
        arrays([before, expected, gradients]),
        arrays([layer.state_dict(), layer(rows[:, :9]), layer.backward(tape, y)]),
        strict=True,
    ):
        np.testing.assert_array_equal(array, other)


@native
def test_a_stream_goes_back_to_where_a_chunk_began(
    layer_and_rows: tuple[gatewise.LSTM, Array], backend: str
) -> None:
    layer, rows = layer_and_rows
    stream = layer.stream(len(rows))
    stream(rows[:, :5])
    before, other = stream.state, stream.copy()
    long = np.zeros((32, LONG // (32 * 4 * 256 * 320) // 20, 64))
    with pytest.raises(Stopped):
        interrupted(lambda: stream(long), stop)
    for part, old in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(part, old)
    np.testing.assert_array_equal(stream(rows[:, 5]), other(rows[:, 5]))


@native
def test_nothing_comes_between_the_layers_of_a_step(backend: str) -> None:
    layer = gatewise.LSTM(256, 256, 2, dtype="float64", seed=0)
    rows = np.random.default_rng(0).standard_normal((SHORT // (4 * 256 * 512), 256))
    stream, ran = layer.stream(len(rows), num_threads=1), []
    expected = stream.copy()
    expected(rows)

    def handler(*_: object) -> None:
        ran.append(stream.state)

    interrupted(lambda: stream(rows), handler)
    for part, other in zip(arrays(ran), expected.state, strict=True):
        np.testing.assert_array_equal(part, other)


class Failing:
    """A kernel whose second call does its work and raises."""

    def __init__(self, kernel: Callable[..., None]) -> None:
        self._kernel, self._calls = kernel, 0

    def __call__(self, *arguments: Any, **options: Any) -> None:
        self._kernel(*arguments, **options)
        self._calls += 1
        if self._calls == 2:
            raise Stopped


@pytest.mark.usefixtures("own_products")
@pytest.mark.parametrize("zoneout", [0.0, 0.2])
@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_stream_goes_back_if_its_second_layer_fails(
    steps: int, tokens: bool, zoneout: float, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (backend, zoneout) == ("native", 0.0):
        pytest.skip("nothing of Python's comes between the layers")
    layer = gatewise.LSTM(3, 4, 2, tokens=tokens, zoneout=zoneout, seed=0)
    stream = gatewise.Sequential(layer, gatewise.Tanh()).stream()
    x = np.zeros((1, 5), int) if tokens else np.ones((1, 5, 3), np.float32)
    stream(x)
    before = arrays([stream.state[0]])
    # In NumPy both layers come to the same kernel; compiled, one with tokens does not.
    name = "infer_shares" if backend == "numpy" else "infer"
    failing = Failing(getattr(chooser.kernels, name))
    failing._calls = int(tokens and name == "infer")
    for home in (chooser.kernels, rows):
        monkeypatch.setattr(home, name, failing)
    with pytest.raises(Stopped):
        stream(x[:, 0] if steps == 1 else x)
    for part, old in zip(arrays([stream.state[0]]), before, strict=True):
        np.testing.assert_array_equal(part, old)


@native
def test_a_nets_stream_goes_back_to_where_a_chunk_began(backend: str) -> None:
    inputs = gatewise.Linear(64, 64, dtype="float64", seed=0)
    layer = gatewise.LSTM(64, 256, dtype="float64", seed=0)
    outputs = gatewise.Linear(256, 8, dtype="float64", seed=0)
    stream = gatewise.Sequential(inputs, layer, outputs, gatewise.Softmax()).stream(32)
    rows = np.random.default_rng(0).standard_normal((32, 6, 64))
    stream(rows[:, :5])
    before, other = stream.state, stream.copy()
    long = np.zeros((32, LONG // (32 * 4 * 256 * 320) // 20, 64))
    with pytest.raises(Stopped):
        interrupted(lambda: stream(long), stop)
    for part, old in zip(stream.state[1], before[1], strict=True):
        np.testing.assert_array_equal(part, old)
    np.testing.assert_array_equal(stream(rows[:, 5]), other(rows[:, 5]))


@native
def test_a_call_in_another_thread_goes_on(
    layer_and_rows: tuple[gatewise.LSTM, Array], backend: str
) -> None:
    (layer, rows), found, ran = layer_and_rows, [], []
    expected = layer(rows)[0]

    def keep_calling() -> None:
        while not ran:
            found.append(layer(rows)[0])

    caller = Thread(target=keep_calling)

    def wait() -> None:
        caller.start()
        while caller.is_alive():
            time.sleep(0.001)

    interrupted(wait, lambda *_: ran.append(get_ident()))
    assert ran == [get_ident()]
    for y in found:
        np.testing.assert_array_equal(y, expected)


CTRL_C = """
import os, signal, threading, time
import numpy as np
import gatewise

layer, x = gatewise.LSTM(2, 1024, seed=0), np.zeros((64, 4000, 2), np.float32)
layer(x[:, :2])  # and with it import what NumPy imports late

def interrupt():
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        layer(x)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""

IN_CHILDREN = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads around

def fork():
    if os.fork() == 0:
        interrupt()
        os._exit(0)
    assert os.wait()[1] == 0

interrupt()
fork()
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""

FORKING_HANDLER = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
parent, small, expected = os.getpid(), x[:4, :9], layer(x[:4, :9])[0]
signal.signal(signal.SIGINT, lambda *_: os.fork() or layer(small))
gatewise.set_num_threads(2)
x = x[:, :400]
try:
    interrupt()
    print("the parent goes on" if os.getpid() == parent else "the child went on")
except RuntimeError as error:
    print("parent" if os.getpid() == parent else "child", error)
np.testing.assert_array_equal(layer(small)[0], expected)
layer(x[:, :9])
if os.getpid() == parent:
    assert os.wait()[1] == 0
"""

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@posix
@native
@pytest.mark.parametrize("threads", ["1", "2"])
def test_control_c_and_children(backend: str, threads: str) -> None:
    # A shell may start it with Ctrl-C ignored.
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{CTRL_C}\n{listen}\n{IN_CHILDREN}"
    done = run(code, GATEWISE_BACKEND=backend, GATEWISE_NUM_THREADS=threads)
    assert done.stdout == 3 * "interrupted\n", done.stderr


@posix
@native
def test_a_handler_that_forks(backend: str) -> None:
    # BLAS has no handlers run in its midst.
    variables = {"GATEWISE_BACKEND": backend, "GATEWISE_PRODUCTS": "own"}
    done = run(CTRL_C + FORKING_HANDLER, **variables)
    child, parent = sorted(done.stdout.splitlines()), "the parent goes on"
    expected = "child a call cannot go on in the child of a handler that forked"
    assert child == [expected, parent], done.stderr
