"""Optimizers: PyTorch's figures, state that can be taken up again, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewise import SGD, Adam, AdamW, clip_grad_norm

START = [0.5, -1.0, 2.0, 0.01]

# After six steps from START against `gradient(t)`; from PyTorch 2.13 in float64.
FIGURES = [
    (
        lambda: SGD(0.1),
        [0.25229182936586897, -1.230252670549623, 2.0235389706702187, 0.010148958208681204],
    ),
    (
        lambda: SGD(0.1, momentum=0.9),
        [
            -0.36520891136624306,
            -7.4648543923760045,
            2.051934071592842,
            0.010924331505573415,
        ],
    ),
    (
        lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        [-0.532143427495654, -6.942766006320746, 2.0263537278223565, 0.010752808726109859],
    ),
    (
        lambda: Adam(0.05),
        [0.3012805617290654, -1.1822455323513443, 2.0455447036033965, 0.2439568263290835],
    ),
    (
        lambda: Adam(0.05, betas=(0.8, 0.95), epsilon=1e-3, weight_decay=0.1),
        [
            0.24433196755454026,
            -1.1583414229760616,
            1.7276464945525887,
            -0.019887056129233756,
        ],
    ),
    (
        lambda: AdamW(0.05, weight_decay=0.3),
        [0.2639975604110199, -1.0858166342500275, 1.8748602850809124, 0.23253058238508023],
    ),
]


def gradient(t: int) -> np.ndarray:
    return np.sin(np.arange(4) * 1.3 + t * 0.7) * [1, 10, 0.1, 1e-3]


@pytest.mark.parametrize(("make", "expected"), FIGURES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_six_steps_have_the_figures_of_pytorch(
    make: Any, expected: Any, dtype: Any
) -> None:
    optimizer = make()
    weight = np.array(START, dtype)
    for t in range(6):
        optimizer.step({"weight": weight}, {"weight": gradient(t).astype(dtype)})
    assert weight.dtype == dtype
    np.testing.assert_allclose(
        weight, expected, rtol=1e-13 if dtype == np.float64 else 2e-6
    )


@pytest.mark.parametrize("index", range(len(FIGURES)))
def test_many_steps_agree_with_the_installed_pytorch(index: int) -> None:
    torch = pytest.importorskip("torch")
    ours = FIGURES[index][0]()
    options: dict[str, Any] = {"lr": ours.learning_rate, "weight_decay": ours.weight_decay}
    if isinstance(ours, SGD):
        options |= {"momentum": ours.momentum, "nesterov": ours.nesterov}
    else:
        options |= {"betas": ours.betas, "eps": ours.epsilon}
    rng = np.random.default_rng(index)
    start = {"a": rng.standard_normal((3, 4)), "b": rng.standard_normal(5)}
    weights = {name: array.copy() for name, array in start.items()}
    tensors = {
        name: torch.tensor(array, requires_grad=True) for name, array in start.items()
    }
    theirs = getattr(torch.optim, type(ours).__name__)(list(tensors.values()), **options)
    for _ in range(50):
        gradients = {
            name: rng.standard_normal(array.shape) for name, array in start.items()
        }
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(gradients[name])
        theirs.step()
        ours.step(weights, gradients)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(weights[name], tensor.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize("make", [make for make, _ in FIGURES])
def test_a_stored_state_goes_on_exactly(make: Any) -> None:
    weights = {"a": np.array(START), "b": np.ones((2, 2))}

    def advance(optimizer: Any, weights: dict[str, np.ndarray], times: range) -> None:
        for t in times:
            # "b" joins late, so its steps count from elsewhere.
            some = {"a": gradient(t)} | ({"b": np.full((2, 2), 0.3)} if t > 1 else {})
            optimizer.step(weights, some)

    whole = make()
    advance(whole, weights, range(6))
    resumed_weights = {"a": np.array(START), "b": np.ones((2, 2))}
    first, second = make(), make()
    advance(first, resumed_weights, range(3))
    state = first.state_dict()
    advance(
        first, {name: array.copy() for name, array in resumed_weights.items()}, range(2)
    )
    second.load_state_dict(state)
    advance(second, resumed_weights, range(3, 6))
    for name, array in weights.items():
        np.testing.assert_array_equal(resumed_weights[name], array)
    assert second.state_dict().keys() == whole.state_dict().keys()


def test_a_step_writes_in_place_and_leaves_gradients_alone() -> None:
    for make, _ in FIGURES:
        weight, other = np.array(START), np.ones(2)
        weight_gradient = gradient(1)
        weight_gradient.setflags(write=False)
        make().step({"weight": weight, "other": other}, {"weight": weight_gradient})
        assert not np.array_equal(weight, START)
        np.testing.assert_array_equal(other, 1)


def test_clip_grad_norm_has_the_figures_of_pytorch() -> None:
    gradients = {"a": np.array([1.0, 2.0, -3.0]), "b": np.array([[0.5]])}
    assert clip_grad_norm(gradients, 1.5) == pytest.approx(3.774917217635375, rel=1e-15)
    np.testing.assert_allclose(
        gradients["a"], [0.3973596018563831, 0.7947192037127662, -1.1920788055691491]
    )
    np.testing.assert_allclose(gradients["b"], [[0.19867980092819154]])


def test_clip_grad_norm_leaves_small_gradients() -> None:
    transposed = np.arange(6.0).reshape(2, 3).T
    gradients = {"a": transposed}
    assert clip_grad_norm(gradients, 100.0) == pytest.approx(np.linalg.norm(transposed))
    np.testing.assert_array_equal(transposed, np.arange(6.0).reshape(2, 3).T)
    assert clip_grad_norm({}, 1.0) == 0


def test_clip_grad_norm_does_not_hide_nan() -> None:
    gradients = {"a": np.array([np.nan, 1.0]), "b": np.array([1.0])}
    assert np.isnan(clip_grad_norm(gradients, 1.0))
    assert np.isnan(gradients["b"]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Adam(-1), "learning_rate must be a finite number of at least 0, got -1"),
        (lambda: Adam(float("nan")), "learning_rate"),
        (lambda: Adam(betas=(0.9, 1.0)), "betas must be two numbers"),
        (lambda: Adam(epsilon=-1e-8), "epsilon"),
        (lambda: AdamW(weight_decay=-1), "weight_decay"),
        (lambda: SGD(momentum=-0.1), "momentum"),
        (lambda: SGD(nesterov=True), "nesterov needs a momentum"),
        (lambda: clip_grad_norm({}, -1.0), "max_norm"),
        (lambda: SGD().step({"a": np.ones(2)}, {"a": np.ones(3)}), r"\(2,\), got \(3,\)"),
        (lambda: SGD().load_state_dict({"square.a": np.ones(2)}), "which SGD has not"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_gradient_without_a_parameter_changes_nothing() -> None:
    weight = np.ones(2)
    with pytest.raises(KeyError, match="'b', which parameters has not"):
        SGD().step({"a": weight}, {"a": np.ones(2), "b": np.ones(2)})
    np.testing.assert_array_equal(weight, 1)
