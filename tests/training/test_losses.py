"""Losses: PyTorch's figures, finite differences, what does not count, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewise import mse, softmax_cross_entropy

rng = np.random.default_rng(3)


def differences(function: Any, point: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the gradient of `function` at `point` by central differences."""
    gradient = np.empty_like(point)
    for place in np.ndindex(point.shape):
        ahead, behind = point.copy(), point.copy()
        ahead[place] += step
        behind[place] -= step
        gradient[place] = (function(ahead) - function(behind)) / (2 * step)
    return gradient


def test_cross_entropy_has_the_figures_of_pytorch() -> None:
    logits = [[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 2.0, 2.0], [5.0, -5.0, 0.0]]
    loss, gradient = softmax_cross_entropy(logits, [2, 1, -100, 0])
    assert loss == pytest.approx(0.35908041654894457, rel=1e-14)
    expected = [
        [0.20124963204954194, 0.010019629189858006, -0.21126926123939993],
        [0.01553754085932463, -0.021253482707831412, 0.005715941848506796],
        [0.0, 0.0, 0.0],
        [-0.002245881052608515, 1.5031347078784969e-05, 0.0022308497055297614],
    ]
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_agree_with_the_installed_pytorch(dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    logits = (rng.standard_normal((3, 5, 7)) * 10).astype(dtype)
    targets = rng.integers(7, size=(3, 5))
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        theirs.reshape(-1, 7), torch.tensor(targets.reshape(-1))
    )
    expected.backward()
    loss, gradient = softmax_cross_entropy(logits, targets)
    tolerance = 1e-6 if dtype is np.float32 else 1e-14
    assert gradient.dtype == dtype
    assert loss == pytest.approx(expected.item(), rel=tolerance)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=tolerance)

    goal = rng.standard_normal((3, 5, 7)).astype(dtype)
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.mse_loss(theirs, torch.tensor(goal))
    expected.backward()
    loss, gradient = mse(logits, goal)
    assert gradient.dtype == dtype
    assert loss == pytest.approx(expected.item(), rel=tolerance)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-6)


def test_cross_entropy_by_finite_differences() -> None:
    logits = rng.standard_normal((2, 3, 4))
    targets = rng.integers(4, size=(2, 3))
    mask = np.array([[True, False, True], [True, True, False]])
    _, gradient = softmax_cross_entropy(logits, targets, mask=mask)
    expected = differences(
        lambda point: softmax_cross_entropy(point, targets, mask=mask)[0], logits
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_mse_by_finite_differences(masked: bool) -> None:
    predictions, targets = rng.standard_normal((2, 2, 3, 2))
    mask = np.array([[True, False, True], [False, True, True]]) if masked else None
    _, gradient = mse(predictions, targets, mask=mask)
    expected = differences(lambda point: mse(point, targets, mask=mask)[0], predictions)
    np.testing.assert_allclose(gradient, expected, atol=1e-9)


def test_what_is_masked_does_not_count() -> None:
    logits = rng.standard_normal((2, 3, 4)).astype(np.float32)
    targets = rng.integers(4, size=(2, 3))
    mask = np.array([[True, True, False], [True, False, False]])
    spoiled = np.where(mask[..., None], logits, np.nan).astype(np.float32)
    loss, gradient = softmax_cross_entropy(spoiled, np.where(mask, targets, 99), mask=mask)
    expected, expected_gradient = softmax_cross_entropy(logits[mask], targets[mask])
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(gradient[~mask], 0)
    np.testing.assert_allclose(gradient[mask], expected_gradient, rtol=1e-6)

    loss, gradient = mse(spoiled, np.zeros_like(logits), mask=mask)
    assert loss == pytest.approx(mse(logits[mask], np.zeros_like(logits[mask]))[0])
    np.testing.assert_array_equal(gradient[~mask], 0)


def test_nothing_counts() -> None:
    loss, gradient = softmax_cross_entropy(np.ones((2, 3)), [-100, -100])
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)
    loss, gradient = softmax_cross_entropy(np.ones((0, 3)), np.zeros(0, int))
    assert loss == 0
    assert gradient.shape == (0, 3)
    assert mse(np.ones(2), np.zeros(2), mask=[False, False])[0] == 0
    assert mse(np.ones((0, 2)), np.ones((0, 2)))[0] == 0


def test_extreme_scores_do_not_overflow() -> None:
    loss, gradient = softmax_cross_entropy(
        np.float32([[3e38, -3e38], [-3e38, 3e38]]), [0, 1]
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_what_overflows_or_is_not_finite_warns_of_nothing() -> None:
    largest = np.float32([3e38])
    assert mse(largest, np.zeros(1))[0] == pytest.approx(9e76)
    assert mse(largest, -largest)[0] == np.inf
    assert mse(np.float32([1]), [1e300])[0] == np.inf
    assert np.isnan(mse([np.inf], [np.inf])[0])
    for logits in ([[np.inf, 1.0]], [[-np.inf, -np.inf]], [[np.nan, 1.0]]):
        assert np.isnan(softmax_cross_entropy(logits, [0])[0])


def test_a_single_number_has_an_array_for_its_gradient() -> None:
    loss, gradient = mse(1.0, 3.0)
    assert loss == 4
    assert isinstance(gradient, np.ndarray)
    assert gradient.shape == ()
    assert gradient == -4


def test_the_other_byte_order_is_taken() -> None:
    for call in (mse, lambda values, _: softmax_cross_entropy(values[None], [1])):
        values = np.array([1.0, 2.0], np.float32)
        loss, gradient = call(values.astype(values.dtype.newbyteorder()), [1.0, 1.0])
        expected, expected_gradient = call(values, [1.0, 1.0])
        assert loss == expected
        assert gradient.dtype == np.float32
        np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.parametrize("dtype", "bBhHiIlLqQ")
def test_classes_of_any_integers(dtype: str) -> None:
    logits = rng.standard_normal((3, 4))
    expected = softmax_cross_entropy(logits, [3, 0, 1])[0]
    assert softmax_cross_entropy(logits, np.array([3, 0, 1], dtype))[0] == expected
    # No integer turns into the one that does not count.
    wrong = np.array([3, np.iinfo(dtype).max - 99, 1], dtype)
    with pytest.raises(ValueError, match=rf"targets should lie in 0\.\.3, got {wrong[1]}"):
        softmax_cross_entropy(logits, wrong)


def test_inputs_stay_as_they_are() -> None:
    logits, targets = rng.standard_normal((2, 3)), np.array([1, 2])
    kept = logits.copy()
    logits.setflags(write=False)
    targets.setflags(write=False)
    softmax_cross_entropy(logits, targets)
    mse(logits, kept)
    np.testing.assert_array_equal(logits, kept)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: softmax_cross_entropy([[1, 2]], [0]),
            TypeError,
            "logits should be float32",
        ),
        (lambda: softmax_cross_entropy(1.0, 0), ValueError, "logits should have shape"),
        (lambda: softmax_cross_entropy(np.ones((2, 0)), [0, 0]), ValueError, "one class"),
        (
            lambda: softmax_cross_entropy([[1.0]], [0, 0]),
            ValueError,
            r"shape \(1,\).*got \(2,\)",
        ),
        (lambda: softmax_cross_entropy([[1.0]], [0.5]), TypeError, "integers, got float64"),
        (lambda: softmax_cross_entropy([[1.0]], [1]), ValueError, r"in 0\.\.0, got 1"),
        (lambda: softmax_cross_entropy([[1.0]], [-1]), ValueError, r"in 0\.\.0, got -1"),
        (
            lambda: softmax_cross_entropy([[1.0]], [0], mask=[1]),
            TypeError,
            "mask should be bool",
        ),
        (
            lambda: softmax_cross_entropy([[1.0]], [0], mask=[[True]]),
            ValueError,
            r"mask should have shape \(1,\), got \(1, 1\)",
        ),
        (lambda: mse([1.0], [1.0, 2.0]), ValueError, r"targets should have the shape"),
        (lambda: mse([1], [1]), TypeError, "predictions should be float32"),
        (lambda: mse([1.0], ["a"]), TypeError, "targets should be real"),
        (lambda: mse([1.0], [1.0], mask=[True, False]), ValueError, "mask should have"),
        (lambda: mse([[1.0], []], [1.0]), ValueError, "predictions should be an array: "),
        (lambda: mse([1.0], [[1.0], []]), ValueError, "targets should be an array: "),
        (
            lambda: softmax_cross_entropy([[1.0]], [0], ignore_index="a"),
            TypeError,
            "ignore_index should be an integer, got 'a'",
        ),
        (
            lambda: softmax_cross_entropy([[1.0]], [0], ignore_index=None),
            TypeError,
            "ignore_index should be an integer, got None",
        ),
        (
            lambda: softmax_cross_entropy([[1.0]], [0], mask=[[True], []]),
            ValueError,
            "mask should be an array: ",
        ),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("options", [{}, {"sample_weight": [2.0]}])
def test_what_is_certain_costs_nothing(options: Any, backend: str) -> None:
    loss, _ = softmax_cross_entropy(np.array([[1e30, 0.0]]), [0], **options)
    assert str(loss) == "0.0"
