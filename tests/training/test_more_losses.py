"""Losses with weights, of single labels, and of other kinds: values and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gatewise

Array = np.ndarray[Any, Any]
rng = np.random.default_rng(11)

LOGITS = rng.standard_normal((3, 4, 5))
CLASSES = rng.integers(0, 5, (3, 4))
LABELS = rng.integers(0, 5, 3)
REAL = rng.standard_normal((3, 4, 5))
CHANCES = rng.random((3, 4, 5))
MASK = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]], bool)
WEIGHT = np.array([0.5, 2.0, 0.0])

CASES: dict[str, tuple[Callable[..., Any], Array]] = {
    "cross_entropy": (gatewise.cross_entropy, CLASSES),
    "class weights": (
        functools.partial(gatewise.cross_entropy, class_weight=[1, 2, 0, 0.5, 3]),
        CLASSES,
    ),
    "labels": (gatewise.cross_entropy, LABELS),
    "weighted labels": (
        functools.partial(gatewise.cross_entropy, class_weight=[1, 2, 3, 0.5, 3]),
        LABELS,
    ),
    "binary_cross_entropy": (gatewise.binary_cross_entropy, CHANCES),
    "mse": (gatewise.mse, REAL),
    "huber": (gatewise.huber, REAL),
    "narrow huber": (functools.partial(gatewise.huber, delta=0.3), REAL),
    "quantile": (functools.partial(gatewise.quantile_loss, quantiles=0.8), REAL),
    "quantiles": (
        functools.partial(gatewise.quantile_loss, quantiles=[0.1, 0.3, 0.5, 0.7, 0.9]),
        REAL[..., 0],
    ),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"mask": MASK},
    {"sample_weight": WEIGHT},
    {"mask": MASK, "sample_weight": WEIGHT},
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_are_those_of_the_loss(name: str, options: Any) -> None:
    loss, targets = CASES[name]
    _, gradient = loss(LOGITS, targets, **options)
    assert gradient.shape == LOGITS.shape
    step = 1e-6
    for place in np.ndindex(LOGITS.shape):
        around = []
        for sign in (1, -1):
            moved = LOGITS.copy()
            moved[place] += sign * step
            around.append(loss(moved, targets, **options)[0])
        slope = (around[0] - around[1]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def torch_losses() -> dict[str, Callable[[Any], Any]]:
    """The losses of single values or positions, by PyTorch."""
    torch = pytest.importorskip("torch")
    nn = torch.nn.functional
    real, chances = torch.tensor(REAL), torch.tensor(CHANCES)
    classes = torch.tensor(CLASSES)

    def quantile(x: Any, q: Any, wanted: Any) -> Any:
        return torch.maximum(q * (wanted - x), (q - 1) * (wanted - x))

    levels = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    return {
        "cross_entropy": lambda x: nn.cross_entropy(
            x.movedim(-1, 1), classes, reduction="none"
        ),
        "binary_cross_entropy": lambda x: nn.binary_cross_entropy_with_logits(
            x, chances, reduction="none"
        ),
        "mse": lambda x: nn.mse_loss(x, real, reduction="none"),
        "huber": lambda x: nn.huber_loss(x, real, reduction="none"),
        "narrow huber": lambda x: nn.huber_loss(x, real, reduction="none", delta=0.3),
        "quantile": lambda x: quantile(x, torch.tensor(0.8, dtype=torch.float64), real),
        "quantiles": lambda x: quantile(x, levels, real[..., :1]),
    }


@pytest.mark.parametrize("name", sorted(set(CASES) - {"labels", "weighted labels"}))
@pytest.mark.parametrize("options", OPTIONS)
def test_figures_are_pytorchs(name: str, options: Any) -> None:
    torch = pytest.importorskip("torch")
    loss, targets = CASES[name]
    x = torch.tensor(LOGITS, requires_grad=True)
    weight = torch.ones(3, 4, dtype=torch.float64)
    if "sample_weight" in options:
        weight = weight * torch.tensor(WEIGHT)[:, None]
    if "mask" in options:
        weight = weight * torch.tensor(MASK)
    if name == "class weights":
        table = torch.tensor([1, 2, 0, 0.5, 3], dtype=torch.float64)
        weight = weight * table[torch.tensor(CLASSES)]
        each = torch_losses()["cross_entropy"](x)
    else:
        each = torch_losses()[name](x)
    weight = weight.reshape(weight.shape + (1,) * (each.ndim - 2)).expand(each.shape)
    expected = (each * weight).sum() / weight.sum()
    expected.backward()
    value, gradient = loss(LOGITS, targets, **options)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-9, atol=1e-14)


def test_class_weights_are_pytorchs_own() -> None:
    torch = pytest.importorskip("torch")
    table = [1.0, 2.0, 0.0, 0.5, 3.0]
    expected = torch.nn.CrossEntropyLoss(torch.tensor(table, dtype=torch.float64))(
        torch.tensor(LOGITS[:, 0]), torch.tensor(LABELS)
    )
    value, _ = gatewise.cross_entropy(LOGITS[:, 0], LABELS, class_weight=table)
    assert value == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_equal_weights_are_none(name: str, dtype: str) -> None:
    loss, targets = CASES[name]
    x = LOGITS.astype(dtype)
    value, gradient = loss(x, targets, mask=MASK)
    again, other = loss(x, targets, mask=MASK, sample_weight=np.full(3, 4.0))
    assert again == pytest.approx(value, rel=1e-6)
    assert gradient.dtype == other.dtype == dtype
    np.testing.assert_allclose(other, gradient, rtol=1e-5, atol=1e-8)


def test_a_label_is_what_the_last_step_says() -> None:
    targets = np.full((3, 4), -100)
    targets[np.arange(3), [3, 0, 1]] = LABELS
    expected = gatewise.cross_entropy(LOGITS, targets)
    found = gatewise.cross_entropy(LOGITS, LABELS, mask=MASK)
    assert found[0] == pytest.approx(expected[0], rel=1e-15)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-15, atol=0)
    # A sequence without steps says nothing.
    none = np.zeros((3, 4), bool)
    value, gradient = gatewise.cross_entropy(LOGITS, LABELS, mask=none)
    assert value == 0
    assert not gradient.any()
    value, gradient = gatewise.cross_entropy(np.zeros((3, 0, 5)), LABELS)
    assert value == 0
    assert gradient.shape == (3, 0, 5)


@pytest.mark.parametrize("name", CASES)
def test_what_has_no_weight_may_hold_anything(name: str) -> None:
    loss, targets = CASES[name]
    logits = LOGITS.copy()
    logits[2] = np.nan
    value, gradient = loss(logits, targets, sample_weight=WEIGHT)
    expected, wanted = loss(LOGITS, targets, sample_weight=WEIGHT)
    assert value == expected
    np.testing.assert_array_equal(gradient, wanted)
    assert loss(logits, targets, sample_weight=np.zeros(3))[0] == 0


def test_large_scores_overflow_nothing() -> None:
    x = np.array([1e4, -1e4, 1e4, -1e4], np.float32)
    value, gradient = gatewise.binary_cross_entropy(x, [1, 0, 0, 1])
    assert value == 5000
    np.testing.assert_array_equal(gradient, [0, 0, 0.25, -0.25])
    assert gatewise.softmax_cross_entropy is gatewise.cross_entropy


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gatewise.mse(REAL, REAL, sample_weight=np.ones(4)),
            ValueError,
            r"sample_weight should have shape \(3, 4, 5\), or its first axes, got \(4,\)",
        ),
        (
            lambda: gatewise.mse(REAL, REAL, sample_weight=[1, -1, 1]),
            ValueError,
            r"sample_weight should be finite and at least 0, got -1.0",
        ),
        (
            lambda: gatewise.mse(REAL, REAL, sample_weight=[1, np.nan, 1]),
            ValueError,
            r"sample_weight should be finite and at least 0, got nan",
        ),
        (
            lambda: gatewise.huber(REAL, REAL, sample_weight=["a", "b", "c"]),
            TypeError,
            r"sample_weight should be real numbers, got <U1",
        ),
        (
            lambda: gatewise.huber(REAL, REAL, delta=0),
            ValueError,
            r"delta should be above 0, got 0",
        ),
        (
            lambda: gatewise.huber(REAL, REAL, delta="1"),  # type: ignore[arg-type]
            TypeError,
            r"delta should be a number, got '1'",
        ),
        (
            lambda: gatewise.quantile_loss(REAL, REAL, quantiles=1.5),
            ValueError,
            r"quantiles should be above 0 and below 1, got 1.5",
        ),
        (
            lambda: gatewise.quantile_loss(REAL, REAL[..., 0], quantiles=[0.5, 0.9]),
            ValueError,
            r"predictions should have shape \(..., 2\), .* got \(3, 4, 5\)",
        ),
        (
            lambda: gatewise.quantile_loss(REAL, REAL, quantiles="a"),
            TypeError,
            r"quantiles should be numbers, got 'a'",
        ),
        (
            lambda: gatewise.quantile_loss(REAL, REAL[0]),
            ValueError,
            r"targets should have the shape of predictions without their quantiles, \(3",
        ),
        (
            lambda: gatewise.binary_cross_entropy(REAL, REAL),
            ValueError,
            r"targets should lie from 0 to 1, got",
        ),
        (
            lambda: gatewise.binary_cross_entropy(REAL, CLASSES),
            ValueError,
            r"targets should have the shape of logits, \(3, 4, 5\), got \(3, 4\)",
        ),
        (
            lambda: gatewise.cross_entropy(LOGITS, CLASSES, class_weight=[1, 2]),
            ValueError,
            r"class_weight should have shape \(5,\), one for each class, got \(2,\)",
        ),
        (
            lambda: gatewise.cross_entropy(LOGITS, CLASSES, class_weight=[1, 2, 3, 4, -1]),
            ValueError,
            r"class_weight should be finite and at least 0",
        ),
        (
            lambda: gatewise.cross_entropy(LOGITS, [0, 1, 5]),
            ValueError,
            r"targets should lie in 0..4, got 5",
        ),
        (
            lambda: gatewise.cross_entropy(LOGITS, LABELS, mask=MASK[:, :2]),
            ValueError,
            r"mask should have shape \(3, 4\), got \(3, 2\)",
        ),
    ],
)
def test_bad_input_is_refused(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()
