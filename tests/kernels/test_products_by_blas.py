"""The large products, by BLAS or by the kernels: who chooses, and that both agree."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gatewise
from gatewise.kernels import chooser, products

Array = NDArray[Any]
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}

# The variable is for a process of its own.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != products.VARIABLE}


def arrays_in(results: Any) -> list[Array]:
    """All arrays in tuples and dictionaries, in their order."""
    if results is None:
        return []
    if isinstance(results, np.ndarray):
        return [results]
    parts = results.values() if isinstance(results, dict) else results
    return [array for part in parts for array in arrays_in(part)]


def both_ways(
    compute: Callable[[], Any], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Compare what comes with either; return how many products BLAS did."""
    count = 0

    def counted(multiply: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            return multiply(*arguments, **options)

        return wrapper

    with products.use("own"):
        wanted = arrays_in(compute())
    monkeypatch.setattr(products, "_times", counted(products._times))
    monkeypatch.setattr(products.by_numpy, "outer", counted(products.by_numpy.outer))
    with products.use("blas"):
        got = arrays_in(compute())
    assert len(got) == len(wanted) > 0
    for array, other in zip(got, wanted, strict=True):
        assert (array.shape, array.dtype) == (other.shape, other.dtype)
        scale = float(np.abs(other).max(initial=1))
        np.testing.assert_allclose(array, other, rtol=0, atol=TOLERANCE[dtype] * scale)
    return count


KINDS: dict[str, Callable[..., Any]] = {
    "RNN": gatewise.RNN,
    "LSTM": gatewise.LSTM,
    "LSTM peepholes": lambda *sizes, **options: gatewise.LSTM(
        *sizes, peepholes=True, proj_size=3, **options
    ),
    "GRU": gatewise.GRU,
    "GRU reset before": lambda *sizes, **options: gatewise.GRU(
        *sizes, reset_after=False, **options
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("given", ["features", "time first", "ragged", "tokens", "none"])
@pytest.mark.parametrize("zoneout", [0.0, 0.3])
def test_layers(
    kind: str,
    dtype: str,
    given: str,
    zoneout: float,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    time = 0 if given == "none" else 9
    x, lengths = random.standard_normal((5, time, 6)).astype(dtype), None
    if given == "time first":
        x = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    elif given == "tokens":
        x = random.integers(0, 6, (5, time))
    elif given == "ragged":
        lengths = [3, 9, 1, 9, 0]
    dy = random.standard_normal((5, time, 2 * (3 if kind == "LSTM peepholes" else 7)))

    def compute() -> Any:
        layer = KINDS[kind](
            6,
            7,
            2,
            bidirectional=True,
            zoneout=zoneout,
            tokens=given == "tokens",
            dtype=dtype,
            seed=0,
        )
        y, state, tape = layer.forward(x, lengths=lengths)
        return layer(x, lengths=lengths), y, state, layer.backward(tape, dy)

    assert both_ways(compute, dtype, monkeypatch) > 0 or time == 0


@pytest.mark.parametrize("weight_format", ["float16", "int8"])
def test_narrow_weights_stay_with_the_kernels(
    weight_format: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = gatewise.LSTM(6, 7, seed=0).quantize(weight_format)
    x = np.random.default_rng(0).standard_normal((5, 9, 6)).astype("float32")
    assert both_ways(lambda: layer(x), "float32", monkeypatch) == 0


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(6,), (40, 6), (5, 9, 6), (0, 6), (2, 0, 6)], ids=str)
def test_linear(
    shape: tuple[int, ...],
    bias: bool,
    dtype: str,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = gatewise.Linear(6, 4, bias=bias, dtype=dtype, seed=0)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)

    def compute() -> Any:
        y, tape = layer.forward(x)
        return y, layer(x.tolist()) if x.size else y, layer.backward(tape, y)

    assert both_ways(compute, dtype, monkeypatch) > 0


def test_linear_refuses_the_same(backend: str) -> None:
    layer = gatewise.Linear(6, 4, seed=0)
    for x in (np.ones((3, 5)), np.ones(()), np.ones((3, 6), complex), "six"):
        said = []
        for wanted in ("own", "blas"):
            with products.use(wanted), pytest.raises((TypeError, ValueError)) as raised:
                layer(x)
            said.append((raised.type, str(raised.value)))
        assert said[0] == said[1]


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_warns_of_nothing(backend: str) -> None:
    layer, x = gatewise.LSTM(6, 7, seed=0), np.full((5, 9, 6), 1e38, "float32")
    x[:, 3] = np.inf
    with products.use("blas"):
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
        gatewise.Linear(6, 4, seed=0)(x)


def test_large_products_go_to_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_blas_name", lambda: "Accelerate")
    with products.use("auto"), chooser.use("numpy"):
        assert products.describe() == "blas: the NumPy backend has no others"
    with products.use("auto"):
        assert 0 < products.blas_from < math.inf
    monkeypatch.setattr(products, "_blas_name", lambda: "openblas64")
    with products.use("auto"):
        assert products.blas_from == math.inf


@pytest.mark.usefixtures("native")
def test_it_says_which_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in ("own", "blas"):
        with products.use(wanted):
            expected = f"{wanted}: GATEWISE_PRODUCTS={wanted} asks for it"
            assert products.describe() == expected
    for name, said in (("accelerate", "blas where"), ("openblas", "own"), ("", "own")):
        monkeypatch.setattr(products, "_blas_name", lambda name=name: name)
        with products.use("auto"):
            assert products.describe().startswith(said)
            assert (name or "unknown") in products.describe()


def run(code: list[str], wanted: str) -> subprocess.CompletedProcess[str]:
    environment = ENVIRONMENT | {products.VARIABLE: wanted}
    return subprocess.run(
        [sys.executable, *code], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("wanted", "expected"), [("", "inf"), ("own", "inf"), ("blas", "0")]
)
def test_the_variable_chooses(wanted: str, expected: str) -> None:
    if not wanted and "accelerate" in products._blas_name().lower():
        expected = str(products._LARGE)
    code = "from gatewise.kernels import products; print(products.blas_from)"
    assert run(["-c", code], wanted).stdout == f"{expected}\n"


def test_a_wrong_value_is_refused() -> None:
    message = "GATEWISE_PRODUCTS should be one of auto, own, blas, got 'mkl'"
    assert f"ValueError: {message}" in run(["-c", "import gatewise"], "mkl").stderr
    done = run(["-m", "gatewise", "info"], "mkl")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == f"gatewise: error: {message}"
