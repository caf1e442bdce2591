"""The compiled kernels against those in NumPy: the same arrays out of the same arrays.

Each case runs on arrays with strides of their own, and both backends get equal copies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from gatewise.kernels import cells, formats
from gatewise.kernels import numpy as fallback
from gatewise.kernels.activations import STANDARD, Activation
from gatewise.kernels.resets import Resets

Array = np.ndarray[Any, Any]

RELU = STANDARD._replace(candidate=Activation("relu"))
CELLS = (*cells.CELLS, "rnn relu", "lstm projected", "lstm peepholes", "lstm both")
TOLERANCE = {"float32": 4e-6, "float64": 1e-12}


class Shape(NamedTuple):
    """The sizes of a case; `lengths` makes it a ragged one."""

    time: int
    batch: int
    inputs: int
    hidden: int
    lengths: tuple[int, ...] | None = None

    @property
    def rows(self) -> tuple[int, int]:
        return (self.time, self.batch) if self.lengths is None else (1, sum(self.lengths))

    @property
    def batch_sizes(self) -> Array | None:
        if self.lengths is None:
            return None
        sizes = [sum(n > t for n in self.lengths) for t in range(max(self.lengths))]
        return np.array(sizes, np.int64)


class Case:
    """Weights, inputs and everything that a forward and a backward pass need."""

    def __init__(
        self,
        cell: str,
        shape: Shape,
        dtype: str,
        order: str = "time",
        threads: int = 1,
        narrow: str | None = None,
        resets: float | None = None,
    ) -> None:
        self.random = np.random.default_rng([len(cell), *shape[:4]])
        self.threads = threads
        self.dtype, self.order, self.shape = dtype, order, shape
        self.cell, _, variant = cell.partition(" ")
        hidden = shape.hidden
        self.gates = cells.look_up(self.cell).gates * hidden
        projected = variant in ("projected", "both")
        self.outputs = max(1, hidden // 2) if projected else hidden
        scale = hidden**-0.5
        draw = self.draw
        self.weights = (
            scale * draw(self.gates, shape.inputs),
            scale * draw(self.gates, self.outputs),
            scale * draw(self.gates),
        )
        self.options = {
            "bias_hn": scale * draw(hidden) if self.cell == "gru" else None,
            "w_hr": scale * draw(self.outputs, hidden) if projected else None,
            "peepholes": draw(3, hidden) if variant in ("peepholes", "both") else None,
            "activations": RELU if variant == "relu" else STANDARD,
            "weight_format": narrow or dtype,
        }
        if narrow is not None:
            self.narrow(narrow)
        self.x = self.rows(shape.inputs)
        self.state = [draw(shape.batch, self.outputs)]
        if self.cell == "lstm":
            self.state.append(draw(shape.batch, hidden))
        self.resets: Resets | None = None
        if resets is not None:
            start = tuple(draw(part.shape[1]) for part in self.state)
            self.resets = Resets(self.random.random(shape.rows) < resets, start)

    def draw(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(self.dtype)

    def rows(self, features: int) -> Array:
        """Random rows, whose steps and examples lie in memory as `order` says."""
        time, batch = self.shape.rows
        if self.order == "time":
            return self.draw(time, batch, features)
        if self.order == "batch":
            return self.draw(batch, time, features).swapaxes(0, 1)
        # Every other row, and of it the middle.
        return self.draw(2 * time, 3 * batch, features + 4)[::2, ::3, 2 : features + 2]

    def narrow(self, weight_format: str) -> None:
        """Keep the matrices in this format, integers with a scale for each row."""
        dtype = formats.look_up(weight_format).dtype
        matrices: list[Any] = [*self.weights[:2], self.options["w_hr"]]
        scales: list[Any] = [None, None, None]
        for k, matrix in enumerate(matrices):
            if matrix is not None and dtype == np.int8:
                scales[k] = 0.01 + 0.001 * np.abs(self.draw(len(matrix)))
                matrix = 50 * matrix
            matrices[k] = None if matrix is None else matrix.astype(dtype)
        self.weights = (matrices[0], matrices[1], self.weights[2])
        self.options |= {"w_hr": matrices[2], "scales": tuple(scales)}

    def pack(self, kernels: Any) -> Any:
        return kernels.pack(self.cell, *self.weights, **self.options)

    def infer(self, kernels: Any, reverse: bool) -> dict[str, Any]:
        y, cells = self.blank(self.outputs), None
        if self.cell == "lstm":
            cells = self.blank(self.shape.hidden)
        state = tuple(array.copy() for array in self.state)
        before = self.x.copy()
        options = self.how(reverse)
        kernels.infer(self.pack(kernels), self.x, state, y, cells=cells, **options)
        np.testing.assert_array_equal(self.x, before)
        return {"y": y, "cells": cells, **dict(zip(("h", "c"), state, strict=False))}

    def how(self, reverse: bool) -> dict[str, Any]:
        sizes, threads = self.shape.batch_sizes, self.threads
        resets = {} if self.resets is None else {"resets": self.resets}
        options = {"batch_sizes": sizes, "reverse": reverse, "num_threads": threads}
        return options | resets

    def forward(self, kernels: Any, reverse: bool, projects: bool) -> dict[str, Any]:
        """Run forward; `projects` leaves the product with x to the kernel."""
        x, gates = self.x, self.blank(self.gates)
        if not projects:
            x, gates = None, self.like(self.x @ self.weights[0].T + self.weights[2])
        rnn = not cells.look_up(self.cell).keeps_gates
        y = gates if rnn else self.blank(self.outputs)
        extra = None if rnn else self.blank(self.shape.hidden)
        state = tuple(array.copy() for array in self.state)
        options = self.how(reverse)
        kernels.forward(self.pack(kernels), gates, state, y, extra, x=x, **options)
        names = dict(zip(("h", "c"), state, strict=False))
        return {"gates": gates, "y": y, "extra": extra, **names}

    def backward(
        self, kernels: Any, reverse: bool, tape: dict[str, Any], in_place: bool
    ) -> dict[str, Any]:
        gates, y, extra = (
            None if tape[name] is None else self.like(tape[name])
            for name in ("gates", "y", "extra")
        )
        if self.cell == "rnn":
            y = gates if not in_place else y
        dgates = gates if in_place else self.blank(self.gates)
        dextra = None
        if self.options["w_hr"] is not None:
            dextra = self.blank(self.outputs)
        elif self.cell == "gru":
            dextra = self.blank(self.shape.hidden)
        self.random = np.random.default_rng(1)
        dy = self.rows(self.outputs)
        dstate = tuple(self.draw(*array.shape) for array in self.state)
        initial = tuple(array.copy() for array in self.state)
        options = self.how(reverse)
        dresets: tuple[Array, ...] = ()
        if self.resets is not None and not in_place:
            dresets = tuple(np.ones_like(part) for part in dstate)
            options["dresets"] = dresets
        packed = self.pack(kernels)
        kernels.backward(
            packed, gates, extra, y, initial, dy, dstate, dgates, dextra, **options
        )
        names = dict(zip(("dh", "dc"), dstate, strict=False))
        names |= dict(zip(("dreset_h", "dreset_c"), dresets, strict=False))
        return {"dgates": dgates, "dextra": dextra, **names}

    def blank(self, features: int) -> Array:
        """Rows to be written, full of what should not be left."""
        rows = self.rows(features)
        rows[...] = np.nan
        return rows

    def like(self, values: Array) -> Array:
        rows = self.rows(values.shape[2])
        rows[...] = values
        return rows


def assert_alike(
    got: dict[str, Any],
    wanted: dict[str, Any],
    dtype: str,
    tolerance: float | None = None,
) -> None:
    assert list(got) == list(wanted)
    # Where sums cancel, an array can be small beside what it was made of.
    scale = max(
        float(np.abs(a).max(initial=1e-30)) for a in wanted.values() if a is not None
    )
    for name, array in got.items():
        other = wanted[name]
        if other is None:
            assert array is None
            continue
        assert (array.shape, array.dtype) == (other.shape, other.dtype), name
        assert array.dtype == dtype
        np.testing.assert_allclose(
            array,
            other,
            rtol=0,
            atol=(tolerance or TOLERANCE[dtype]) * scale,
            err_msg=name,
        )


def compare(case: Case, native: Any, reverse: bool) -> None:
    """Run all kernels of both backends on `case`."""
    assert_alike(case.infer(native, reverse), case.infer(fallback, reverse), case.dtype)
    tape = case.forward(fallback, reverse, False)
    for kernels, projects in ((native, False), (native, True), (fallback, True)):
        assert_alike(case.forward(kernels, reverse, projects), tape, case.dtype)
    for in_place in (False, True):
        got, wanted = (
            case.backward(kernels, reverse, tape, in_place)
            for kernels in (native, fallback)
        )
        assert_alike(got, wanted, case.dtype)


every_case = [
    pytest.mark.parametrize("cell", CELLS),
    pytest.mark.parametrize("dtype", ["float32", "float64"]),
    pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"]),
]


def everywhere(test: Callable[..., None]) -> Callable[..., None]:
    for mark in every_case:
        test = mark(test)
    return test


@everywhere
@pytest.mark.parametrize("hidden", [1, 3, 5, 8, 17, 33, 64, 100])
def test_hidden_sizes(
    native: Any, cell: str, dtype: str, reverse: bool, hidden: int
) -> None:
    for batch in (1, 2, 7):
        compare(Case(cell, Shape(3, batch, 4, hidden), dtype), native, reverse)


@everywhere
@pytest.mark.parametrize("order", ["time", "batch", "gaps"])
def test_sizes_and_strides(
    native: Any, cell: str, dtype: str, reverse: bool, order: str
) -> None:
    for time in (0, 1, 2, 7):
        for batch in (0, 1, 2, 7):
            for inputs, hidden in ((0, 5), (1, 1), (9, 12)):
                shape = Shape(time, batch, inputs, hidden)
                compare(Case(cell, shape, dtype, order), native, reverse)


@everywhere
@pytest.mark.parametrize(
    "lengths", [(1,), (4, 4, 4), (7, 5, 5, 2, 1), (9, 1, 1), (3, 3, 2, 2, 2, 2, 1, 1, 1)]
)
def test_ragged_batches(
    native: Any, cell: str, dtype: str, reverse: bool, lengths: tuple[int, ...]
) -> None:
    for hidden in (5, 16, 33):
        shape = Shape(max(lengths), len(lengths), 3, hidden, lengths)
        compare(Case(cell, shape, dtype), native, reverse)


@everywhere
@pytest.mark.parametrize("threads", [1, 2])
def test_larger_batches(
    native: Any, cell: str, dtype: str, reverse: bool, threads: int
) -> None:
    lengths = tuple(range(9, 0, -1)) + (1,) * 24
    for ragged in (None, lengths):
        shape = Shape(9 if ragged else 4, 33, 20, 130, ragged)
        compare(Case(cell, shape, dtype, threads=threads), native, reverse)


@everywhere
@pytest.mark.parametrize("threads", [1, 2])
def test_resets(native: Any, cell: str, dtype: str, reverse: bool, threads: int) -> None:
    ragged = (9, 7, 7, 4, 1)
    # The last two share their units, or their rows, between threads.
    for shape in (
        Shape(0, 2, 3, 5),
        Shape(1, 1, 3, 5),
        Shape(9, 5, 3, 17),
        Shape(9, 5, 3, 17, ragged),
        Shape(5, 2, 20, 130),
        Shape(5, 5, 20, 130),
    ):
        for share in (0.3, 1.0) if shape.hidden < 130 else (0.3,):
            case = Case(cell, shape, dtype, threads=threads, resets=share)
            compare(case, native, reverse)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("narrow", ["float16", "int8", "int8_8"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_narrow_weights(native: Any, cell: str, narrow: str, reverse: bool) -> None:
    ragged = (7, 5, 5, 2, 1)
    for hidden, lengths, threads in (
        (1, None, 1),
        (5, ragged, 1),
        (17, None, 2),
        (100, ragged, 2),
    ):
        shape = Shape(7, 5, 9, hidden, lengths)
        case = Case(cell, shape, "float32", "gaps", threads, narrow)
        got, wanted = (case.infer(kernels, reverse) for kernels in (native, fallback))
        # What differs in the last bit may be rounded to another step.
        tolerance = {"float16": None, "int8": 1e-4, "int8_8": 2e-2}[narrow]
        assert_alike(got, wanted, "float32", tolerance)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["time", "batch", "gaps"])
def test_shares_of_the_gates(native: Any, cell: str, dtype: str, order: str) -> None:
    for lengths in (None, (7, 5, 5, 2, 1)):
        case = Case(cell, Shape(7, 5, 9, 17, lengths), dtype, order)
        wanted = case.infer(native, False)
        for kernels in (native, fallback):
            shares = case.like(case.x @ case.weights[0].T + case.weights[2])
            state = tuple(array.copy() for array in case.state)
            y, cells = case.blank(case.outputs), None
            if case.cell == "lstm":
                cells = case.blank(17)
            options = {"cells": cells, **case.how(False)}
            kernels.infer_shares(case.pack(kernels), shares, state, y, **options)
            names = dict(zip(("h", "c"), state, strict=False))
            assert_alike({"y": y, "cells": cells, **names}, wanted, dtype)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["time", "batch", "gaps"])
@pytest.mark.parametrize("threads", [1, 2])
def test_products_of_the_way_back(
    native: Any, cell: str, dtype: str, order: str, threads: int
) -> None:
    for time, batch, inputs, hidden in (
        (0, 2, 3, 5),
        (1, 1, 1, 1),
        (3, 5, 9, 17),
        (40, 7, 50, 33),
    ):
        case = Case(cell, Shape(time, batch, inputs, hidden), dtype, order)
        dgates, results = case.rows(case.gates), []
        for kernels in (native, fallback):
            dx, out = case.blank(inputs), np.ones((case.gates, inputs + 3), dtype)
            kernels.project_back(case.pack(kernels), dgates, dx, num_threads=threads)
            kernels.outer(dgates, case.x, out[:, 1:-2], num_threads=threads)
            results.append({"dx": dx, "out": out})
        assert_alike(*results, dtype)


@pytest.mark.parametrize("in_bfloat16", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_two_products_with_the_same_rows(
    native: Any, in_bfloat16: bool, threads: int
) -> None:
    """Together they give the bits that each gives alone."""
    generator = np.random.default_rng(0)
    options = {"in_bfloat16": in_bfloat16, "num_threads": threads}
    for time, batch, rows, one, other in (
        (0, 2, 3, 5, 2),
        (1, 1, 1, 1, 1),
        (3, 5, 20, 9, 17),
        (9, 31, 70, 65, 3),
        (60, 9, 130, 33, 80),
    ):
        a, b, c = (
            generator.standard_normal((time, batch, n + 3), dtype=np.float32)[
                ..., 1 : n + 1
            ]
            for n in (rows, one, other)
        )
        alone, both = (
            [np.ones((rows, one), np.float32), np.ones((rows, other), np.float32)]
            for _ in range(2)
        )
        native.outer(a, b, alone[0], **options)
        native.outer(a, c, alone[1], **options)
        native.outer(a, b, both[0], second=(c, both[1]), **options)
        wanted = [np.ones_like(each) for each in alone]
        fallback.outer(a, b, wanted[0], second=(c, wanted[1]), **options)
        for got, single, by_numpy in zip(both, alone, wanted, strict=True):
            np.testing.assert_array_equal(got, single)
            tolerance = 2.0**-6 * max(1, time * batch) ** 0.5 if in_bfloat16 else 1e-4
            np.testing.assert_allclose(got, by_numpy, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_rows(native: Any, dtype: str) -> None:
    """One after the other, so that the bits are known."""
    generator = np.random.default_rng(0)
    for time, batch, features in ((0, 2, 3), (1, 1, 1), (3, 5, 17), (40, 7, 330)):
        whole = generator.standard_normal((time, batch, features + 5)).astype(dtype)
        rows = whole[..., 2 : features + 2]
        expected = np.full(features, 0.5, dtype)
        for row in rows.reshape(-1, features):
            expected += row
        got, by_numpy = (np.full(features, 0.5, dtype) for _ in range(2))
        native.add_rows(rows, got)
        np.testing.assert_array_equal(got, expected)
        fallback.add_rows(rows, by_numpy)
        np.testing.assert_allclose(by_numpy, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite(native: Any, cell: str, value: float, dtype: str) -> None:
    case = Case(cell, Shape(4, 3, 4, 9), dtype)
    case.x[1, 1, :] = value
    with np.errstate(all="ignore"):
        got, wanted = (case.infer(kernels, False) for kernels in (native, fallback))
    for name, array in got.items():
        if array is not None:
            np.testing.assert_array_equal(
                np.isfinite(array), np.isfinite(wanted[name]), err_msg=name
            )
            finite = np.isfinite(array)
            largest = np.abs(array[finite]).max(initial=1.0)
            np.testing.assert_allclose(
                array[finite],
                wanted[name][finite],
                rtol=10 * TOLERANCE[dtype],
                atol=TOLERANCE[dtype] * min(largest, 1.0),
            )


@pytest.mark.parametrize("name", ["relu", "sigmoid", "softmax", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations(native: Any, name: str, dtype: str) -> None:
    random = np.random.default_rng(0)
    shapes = [(n,) for n in (0, 1, 7, 8, 33)]
    if name == "softmax":
        shapes = [(rows, classes) for rows in (0, 1, 5) for classes in (1, 2, 3, 8, 17, 40)]
    for shape in shapes:
        for scale in (1, 100, 1e30):
            z = (scale * random.standard_normal(shape)).astype(dtype)
            got, wanted = np.full_like(z, np.nan), np.full_like(z, np.nan)
            getattr(native, name)(z, got)
            getattr(fallback, name)(z, wanted)
            np.testing.assert_allclose(got, wanted, rtol=TOLERANCE[dtype], atol=1e-37)


def test_packed_weights_do_not_follow_their_arrays(native: Any) -> None:
    case = Case("lstm", Shape(3, 2, 4, 9), "float64")
    packed = case.pack(native)
    wanted = case.infer(native, False)
    for array in case.weights:
        array[...] = np.nan
    y = np.empty_like(wanted["y"])
    state = tuple(array.copy() for array in case.state)
    native.infer(packed, case.x, state, y)
    np.testing.assert_array_equal(y, wanted["y"])


def test_both_have_the_same_face(native: Any) -> None:
    for name in fallback.__all__:
        ours, theirs = getattr(fallback, name), getattr(native, name)
        assert inspect.getdoc(ours) == inspect.getdoc(theirs), name
        if not name.startswith("Packed"):
            parameters = [
                [
                    (p.name, p.kind, p.default)
                    for p in inspect.signature(f).parameters.values()
                ]
                for f in (ours, theirs)
            ]
            assert parameters[0] == parameters[1], name
