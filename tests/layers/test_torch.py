"""The recurrent layers against PyTorch: its stored figures, and itself if installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import layers_reference as reference

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


@cache
def figures() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "data" / reference.FIGURES) as stored:
        return dict(stored)


def test_the_figures_are_those_of_the_cases() -> None:
    names = [case.name for case in reference.CASES]
    assert len(set(names)) == len(names)
    assert sorted(figures()) == sorted(names)


def allowed(
    case: reference.Case, dtype: str, name: str, results: dict[str, np.ndarray]
) -> float:
    """How far a result may be off: the tolerance times the largest value.

    In float64 that is the largest of this result. In float32 it is the largest of all
    outputs and states, or of all gradients, those from above included, and with relu of the
    input: where terms of a sum cancel, fewer digits of it are left than float32 has.
    """
    among = [results[name]]
    if dtype == "float32":
        forward = ("y", "state[0]", "state[1]")
        among = [results[n] for n in results if (n in forward) == (name in forward)]
        if name not in forward:
            among.append(case.arguments()["dy"])
        elif case.options.get("nonlinearity") == "relu":
            # Of one unit, all that is left of a sum may be what did not cancel.
            among.append(case.arguments()["x"])
    return TOLERANCE[dtype] * max(np.abs(array).max(initial=0) for array in among)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", reference.CASES, ids=lambda case: case.name)
def test_stored_figures(case: reference.Case, dtype: str, backend: str) -> None:
    stored = figures()[case.name]
    results = reference.run_layer(case, dtype)
    for name, array in results.items():
        assert array.dtype == dtype
        found = reference.digest(array)
        expected, stored = stored[: len(found)], stored[len(found) :]
        # A sum of n numbers may be off by more than one of them.
        terms = max(1, array.size / reference.KEPT) ** 0.5
        tolerance = allowed(case, dtype, name, results) * terms
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)
    assert not len(stored)


@cache
def from_torch(case: reference.Case) -> dict[str, np.ndarray]:
    return reference.run_torch(case)


def live_cases(kind: str, options: dict[str, Any]) -> list[reference.Case]:
    sizes = [
        (hidden_size, batch, time)
        for hidden_size in (1, 3, 8, 17, 64)
        for batch in (1, 2, 7)
        for time in (1, 2, 7)
        if hidden_size > options.get("proj_size", 0)
    ]
    return [reference.Case(kind, *size, (sum(size) % 2) > 0, options) for size in sizes]


@pytest.mark.parametrize("options", reference.OPTIONS, ids=str)
@pytest.mark.parametrize(("kind", "own"), reference.KINDS, ids=str)
def test_torch_itself(
    kind: str, own: dict[str, Any], options: dict[str, Any], backend: str
) -> None:
    pytest.importorskip("torch", reason="torch is not installed; stored figures stand in")
    for case in live_cases(kind, own | options):
        expected = from_torch(case)
        for dtype in TOLERANCE:
            for name, array in reference.run_layer(case, dtype).items():
                assert array.shape == expected[name].shape
                np.testing.assert_allclose(
                    array,
                    expected[name],
                    rtol=0,
                    atol=allowed(case, dtype, name, expected),
                    err_msg=f"{name} of {case.name} in {dtype}",
                )


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_names_and_shapes_are_those_of_torch(kind: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    import gatewise

    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    if kind == "LSTM":
        options["proj_size"] = 2
    ours = getattr(gatewise, kind)(3, 5, **options)
    theirs = getattr(torch.nn, kind)(3, 5, **options)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert list(ours.parameters()) == list(shapes)
    assert {name: value.shape for name, value in ours.parameters().items()} == shapes
    ours.load_state_dict(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.parameters()[name], value.numpy())
