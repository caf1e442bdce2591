"""Whatever public functions are given, both backends do the same.

``python -m tests.hostile_calls --count 20000`` draws so many calls: arrays that are empty,
huge along one axis, overlapping, of odd strides, dtypes and subclasses, with NaN and
infinity, and what is no array at all. A call gives results of the same shapes and dtypes on
both backends, or an exception of the same type and text, of a type that is documented.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import gatewise
from gatewise.kernels import chooser

Array = np.ndarray[Any, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

REFUSALS = (TypeError, ValueError, KeyError, MemoryError, RuntimeError)
# For which no machine has memory, and whose products with others overflow.
HUGE = (2**40, 2**61)
DTYPES = ("f4", "f8", ">f4", "f2", "i4", "i8", "u1", "?", "c16", "O", "U3", "M8[s]", "g")
OTHERS = (None, "text", 3.5, [[1], [1, 2]], {}, object, b"x", ())


class Subclass(np.ndarray[Any, Any]):
    """Knows another way to add."""

    def __add__(self, other: Any) -> Any:
        raise AssertionError("a subclass should be taken as the array that it is")


def values(draw: Draw, shape: tuple[int, ...], dtype: str) -> Array:
    """An array of this shape, ordinary as a rule."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    floats = generator.standard_normal(shape)
    match draw(st.sampled_from(["", "", "", "nan", "inf", "large", "small"])):
        case "nan":
            floats[generator.random(shape) < 0.2] = np.nan
        case "inf":
            floats[generator.random(shape) < 0.2] = np.inf
        case "large":
            floats = floats * 1e300
        case "small":
            floats = floats * 1e-310
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if dtype.startswith("M"):
            return (1000 * np.nan_to_num(floats)).clip(-9e9, 9e9).astype("i8").astype(dtype)
        if dtype in ("i4", "i8", "u1"):
            return generator.integers(0, 3, shape).astype(dtype)
        return np.asarray(floats).astype(dtype)


def laid_out(draw: Draw, array: Array) -> Any:
    """The same values, in memory in some other way, or nearly the same."""
    way = draw(st.integers(0, 14))
    if way == 1:
        return np.asfortranarray(array)
    if way == 2 and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if way == 3 and array.ndim:
        return array[::-1]
    if way == 4:
        memory = np.zeros(array.nbytes + 1, np.uint8)
        if array.dtype.hasobject:
            return array
        moved = memory[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    if way == 5:
        array.setflags(write=False)
    if way == 6 and array.ndim and array.size:
        # All rows in the same memory, one element apart.
        strides = (*[array.itemsize] * array.ndim,)
        flat = np.resize(array, sum(array.shape) + 1)
        return as_strided(flat, array.shape, strides)
    if way == 7 and array.size:
        return np.broadcast_to(array.reshape(-1)[0], array.shape)
    if way == 8:
        return array.view(Subclass)
    if way == 9:
        return np.ma.array(array)
    if way == 10:
        return array.tolist()
    return array


def shaped(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape near that one."""
    sizes = list(shape)
    if draw(st.integers(0, 3)) == 0:
        return tuple(sizes[1:] if draw(st.booleans()) else [*sizes, 1])
    axis = draw(st.integers(0, len(sizes) - 1))
    sizes[axis] = draw(st.sampled_from([0, 0, 1, sizes[axis] + 1, *HUGE]))
    return tuple(sizes)


def array(draw: Draw, *shape: int, kind: str = "") -> Any:
    """Something in place of an array of this shape."""
    dtype = kind or draw(st.sampled_from(["f4", "f8"]))
    found = shape
    match draw(st.integers(0, 15)):
        case 13:
            dtype = draw(st.sampled_from(DTYPES))
        case 14:
            found = shaped(draw, shape)
        case 15:
            return draw(st.sampled_from(OTHERS))
    if not any(size in HUGE for size in found):
        return laid_out(draw, values(draw, found, dtype))
    one = values(draw, (1,) * len(found), dtype)
    try:
        return np.broadcast_to(one, found)
    except ValueError:  # larger than an array can be
        return one


def number(draw: Draw, usual: int) -> Any:
    """Something in place of a size."""
    if draw(st.integers(0, 9)):
        return usual
    return draw(
        st.sampled_from(
            [
                0,
                -1,
                1,
                2**31,
                2**62,
                2**70,
                1.0,
                2.5,
                float("nan"),
                None,
                "3",
                True,
                np.int8(3),
            ]
        )
    )


def layer_call(draw: Draw) -> Callable[[], Any]:
    """A layer, made and called, forward and back."""
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU", "Linear", "Conv1d", "Embedding"]))
    inputs, hidden = number(draw, 4), number(draw, 3)
    options: dict[str, Any] = {}
    if kind in ("RNN", "LSTM", "GRU"):
        options["num_layers"] = number(draw, 1)
    if kind == "Conv1d":
        options["kernel_size"] = number(draw, 2)
    x = array(draw, 2, 5, 4, kind="i8" if kind == "Embedding" else "")
    dy = array(draw, 2, 4 if kind == "Conv1d" else 5, 3)
    called: dict[str, Any] = {}
    if kind in ("RNN", "LSTM", "GRU") and draw(st.integers(0, 2)) == 0:
        called["lengths"] = array(draw, 2, kind="i8")
    if kind in ("RNN", "GRU") and draw(st.integers(0, 2)) == 0:
        called["state"] = array(draw, 1, 2, 3)

    def run() -> Any:
        layer = getattr(gatewise, kind)(inputs, hidden, **options, seed=0)
        y = layer(x, **called)
        *_, tape = layer.forward(x, **called)
        return y, layer.backward(tape, dy)

    return run


def stream_call(draw: Draw) -> Callable[[], Any]:
    """A stream's steps and chunks."""
    rows, x, step = number(draw, 2), array(draw, 2, 5, 4), array(draw, 2, 4)

    def run() -> Any:
        model = gatewise.Sequential(
            gatewise.Linear(4, 4, seed=0), gatewise.Tanh(), gatewise.GRU(4, 3, seed=0)
        )
        stream = model.stream(rows)
        return np.array(stream(step)), np.array(stream(x))

    return run


def notebook_call(draw: Draw) -> Callable[[], Any]:
    """The notebook's functions, forward and back."""
    cell = draw(st.sampled_from(["rnn", "lstm", "gru"]))
    names = {
        "rnn": [("Wax", 3, 4), ("Waa", 3, 3), ("ba", 3, 1)],
        "lstm": [(f"W{g}", 3, 7) for g in "fico"] + [(f"b{g}", 3, 1) for g in "fico"],
        "gru": [(f"W{g}", 3, 7) for g in "urc"] + [(f"b{g}", 3, 1) for g in "urc"],
    }[cell]
    shapes: dict[str, tuple[int, ...]] = {
        name: (rows, columns) for name, rows, columns in names
    }
    shapes |= {"Wya" if cell == "rnn" else "Wy": (2, 3), "by": (2, 1)}
    # As a rule at most one of so many is strange.
    strange = draw(st.sampled_from([None, None, None, *shapes]))
    parameters = {
        name: array(draw, *shape)
        if name == strange
        else laid_out(draw, values(draw, shape, draw(st.sampled_from(["f4", "f8"]))))
        for name, shape in shapes.items()
    }
    if draw(st.integers(0, 9)) == 0:
        parameters.popitem()
    x, a0, da = array(draw, 4, 2, 5), array(draw, 3, 2), array(draw, 3, 2, 5)
    xt, da_step = array(draw, 4, 2), array(draw, 3, 2)

    def run() -> Any:
        a, *_, caches = getattr(gatewise, f"{cell}_forward")(x, a0, parameters)
        back = getattr(gatewise, f"{cell}_backward")(da, caches)
        states = (a0, a0) if cell == "lstm" else (a0,)
        one, *_, cache = getattr(gatewise, f"{cell}_cell_forward")(xt, *states, parameters)
        steps = (da_step,) * len(states)
        return a, back, one, getattr(gatewise, f"{cell}_cell_backward")(*steps, cache)

    return run


def function_call(draw: Draw) -> Callable[[], Any]:
    """Losses, clipping, an optimizer and the functions of arrays."""
    logits, targets = array(draw, 4, 5, 3), array(draw, 4, 5, kind="i8")
    predictions, mask = array(draw, 4, 5, 3), array(draw, 4, 5, kind="?")
    wrong = st.sampled_from([0.0, -1.0, float("nan"), float("inf"), None, "1"])
    norm = draw(st.just(1.0) | wrong)
    calls: list[Callable[[], Any]] = [
        lambda: gatewise.sigmoid(logits),
        lambda: gatewise.softmax(logits),
        lambda: gatewise.softmax_cross_entropy(logits, targets),
        lambda: gatewise.softmax_cross_entropy(logits, targets, mask=mask),
        lambda: gatewise.mse(logits, predictions),
        lambda: gatewise.mse(logits, predictions, mask=mask),
        lambda: gatewise.clip_grad_norm({"a": np.array(logits)}, norm),
        lambda: gatewise.Adam(norm).step({"a": np.array(logits)}, {"a": predictions}),
        lambda: [
            getattr(gatewise, n)()(logits) for n in ("ReLU", "Tanh", "Sigmoid", "Softmax")
        ],
        lambda: gatewise.set_num_threads(norm),
    ]
    return draw(st.sampled_from(calls))


KINDS = {
    "layers": layer_call,
    "streams": stream_call,
    "notebook": notebook_call,
    "functions": function_call,
}


def form(result: Any) -> Any:
    """What has to be the same of a result."""
    if isinstance(result, dict):
        return {name: form(value) for name, value in result.items()}
    if isinstance(result, (tuple, list)):
        return [form(value) for value in result]
    if isinstance(result, np.ndarray):
        assert type(result) is np.ndarray
        return result.shape, result.dtype.str
    return type(result).__name__


def outcome(run: Callable[[], Any], backend: str) -> Any:
    """The form of a call's result, or the exception's type and text."""
    with chooser.use(backend), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return form(run())
        except REFUSALS as error:
            if isinstance(error, MemoryError):
                return "no memory"
            return type(error).__name__, str(error)


def check(draw: Draw, kind: str) -> Any:
    """Make one call on both backends; return how it ended."""
    run = KINDS[kind](draw)
    first = outcome(run, "native")
    second = outcome(run, "numpy")
    assert first == second, (first, second)
    return first


def explore(kind: str, count: int) -> tuple[int, int]:
    """Draw calls of a kind; return how many there were, and how many were refused."""
    tried = refused = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def explored(data: Any) -> None:
        nonlocal tried, refused
        found = check(data.draw, kind)
        tried += 1
        refused += isinstance(found, (tuple, str))

    explored()
    return tried, refused


def main() -> None:
    """Draw as many calls as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    total = refusals = 0
    for kind in KINDS:
        tried, refused = explore(kind, options.count // len(KINDS))
        print(f"{kind}: {tried} calls, {refused} of them refused")
        total, refusals = total + tried, refusals + refused
    print(f"{total} calls on two backends, {refusals} refused, 0 differ")


if __name__ == "__main__":
    main()
