"""Whatever public functions are given, both backends do the same.

``python -m tests.hostile_calls --count 20000`` draws so many calls with the arguments of
`tests.hostile_arguments`. A call gives results of the same shapes and dtypes on both
backends, or an exception of the same type and text, of a type that is documented.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import gatewise
from gatewise.kernels import chooser
from gatewise.training import minibatches
from tests.hostile_arguments import Draw, array, laid_out, number, values

REFUSALS = (TypeError, ValueError, KeyError, MemoryError, RuntimeError)


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


def precision(draw: Draw, *usual: Any) -> Any:
    """Something in place of the name of a format or a precision, or of a number of bits."""
    if draw(st.integers(0, 9)):
        return draw(st.sampled_from(usual))
    return draw(st.sampled_from(["int4", "bfloat", 16, 8.0, True, None, b"int8", np.int8]))


def narrow_call(draw: Draw) -> Callable[[], Any]:
    """A layer with narrow weights: made, called, streamed and given others."""
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU", "Linear", "Sequential"]))
    weight_format = precision(draw, "int8", "int8", "bfloat16", "bfloat16", "float16")
    activations = precision(draw, *((None, 15, 8) if weight_format == "int8" else (None,)))
    dtype = draw(st.sampled_from(["f4"] * 7 + ["f8"]))
    weight = values(draw, (9 if kind == "GRU" else 3, 4), "f4")
    is_changed = draw(st.integers(0, 2)) == 0
    x, step = array(draw, 2, 5, 4), array(draw, 2, 4)
    called: dict[str, Any] = {}
    if kind in ("RNN", "LSTM", "GRU") and draw(st.integers(0, 2)) == 0:
        called["lengths"] = array(draw, 2, kind="i8")
    if kind in ("RNN", "GRU") and draw(st.integers(0, 2)) == 0:
        called["state"] = array(draw, 1, 2, 3)
    # As a rule nothing, since it seldom fits.
    names = ["weight", "weight_scale", "weight_hh_l0", "weight_hh_l0_scale"]
    given = draw(st.sampled_from(["", *names])) if draw(st.integers(0, 3)) == 0 else ""
    other = array(draw, 3, 4, kind="i1")

    def run() -> Any:
        layer: Any
        if kind == "Sequential":
            layer = gatewise.Sequential(
                gatewise.Linear(4, 4, dtype=dtype, seed=0), gatewise.GRU(4, 3, dtype=dtype)
            )
        else:
            layer = getattr(gatewise, kind)(4, 3, dtype=dtype, seed=0)
        if is_changed and kind in ("RNN", "GRU", "Linear"):
            name = "weight" if kind == "Linear" else "weight_ih_l0"
            layer.set_parameters({**layer.state_dict(), name: weight.astype(dtype)})
        narrow = layer.quantize(weight_format, activations=activations)
        y = narrow(x, **called)
        found = [y]
        if kind != "Linear":
            stream = narrow.stream(2)
            found += [np.array(stream(step)), np.array(stream(x))]
        if given:
            narrow.set_parameters({**narrow.state_dict(), given: other})
        return found, narrow(x)

    return run


def rounded_call(draw: Draw) -> Callable[[], Any]:
    """Training in products of bfloat16: a step of a layer, and a fit."""
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU", "Sequential", "fit"]))
    compute = precision(draw, "bfloat16", "bfloat16", "float32", None)
    dtype = draw(st.sampled_from(["f4"] * 7 + ["f8"]))
    x, dy = array(draw, 2, 5, 4), array(draw, 2, 5, 3)
    called: dict[str, Any] = {}
    if draw(st.integers(0, 2)) == 0:
        called["lengths"] = array(draw, 2, kind="i8")

    def run() -> Any:
        layer: Any
        if kind in ("Sequential", "fit"):
            layer = gatewise.Sequential(
                gatewise.GRU(4, 4, dtype=dtype, seed=0),
                gatewise.Linear(4, 3, dtype=dtype, seed=0),
            )
        else:
            layer = getattr(gatewise, kind)(4, 3, dtype=dtype, seed=0)
        if kind == "fit":
            batches = minibatches(x, dy, called.get("lengths"), batch_size=2)
            options: dict[str, Any] = {"epochs": 2, "compute": compute, "progress": False}
            history = gatewise.fit(layer, batches, gatewise.mse, gatewise.Adam(), **options)
            return len(history), layer.state_dict()
        y, *_, tape = layer.forward(x, compute=compute, **called)
        return y, layer.backward(tape, dy)

    return run


def estimator_call(draw: Draw) -> Callable[[], Any]:
    """An estimator, fitted and asked."""
    from gatewise import sklearn

    kind = draw(st.sampled_from(["Classifier", "Regressor", "Forecaster"]))
    options = {
        "hidden_size": number(draw, 3),
        "num_layers": number(draw, 1),
        "batch_size": number(draw, 4),
        "max_iter": 1,
        "random_state": 0,
    }
    # scikit-learn looks at every value of what is huge and takes no memory.
    x, asked = array(draw, 6, 5, 2, huge=False), array(draw, 3, 5, 2, huge=False)
    if draw(st.booleans()) and isinstance(x, np.ndarray) and x.ndim == 3:
        x = [sequence[: 1 + place % 5] for place, sequence in enumerate(x)]
    y = array(draw, 6, kind="i8" if kind == "Classifier" else "", huge=False)

    def run() -> Any:
        made = getattr(sklearn, f"Recurrent{kind}")(**options)
        made.fit(x) if kind == "Forecaster" else made.fit(x, y)
        return made.predict(asked)

    return run


KINDS = {
    "layers": layer_call,
    "narrow layers": narrow_call,
    "bfloat16": rounded_call,
    "streams": stream_call,
    "notebook": notebook_call,
    "functions": function_call,
}
if find_spec("sklearn"):
    KINDS["estimators"] = estimator_call


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
            return {"gives": form(run())}
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
        refused += not isinstance(found, dict)

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
