"""Optimizers: PyTorch's figures, state that can be taken up again, and bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gatewise
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
    gradients = {
        "a": np.array([np.nan, 1.0]),
        "b": np.array([1.0]),
        "c": np.array([np.inf]),
    }
    assert np.isnan(clip_grad_norm(gradients, 1.0))
    for array in gradients.values():
        assert np.isnan(array).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_grad_norm_shows_infinity_as_pytorch_does(dtype: Any) -> None:
    gradients = {"a": np.array([np.inf, 1, -np.inf], dtype), "b": np.array([3e38], dtype)}
    assert clip_grad_norm(gradients, 1.0) == math.inf
    np.testing.assert_array_equal(gradients["a"], [np.nan, 0, np.nan])
    np.testing.assert_array_equal(gradients["b"], 0)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        *((np.float32, size) for size in (3e38, 1e30, 1e20, 1e10, 1e-20, 1e-38)),
        *((np.float64, size) for size in (1e308, 1e300, 1e160, 1e30, 1e-160, 1e-300)),
        *((np.float16, size) for size in (6e4, 1e3, 1e-3)),
    ],
)
def test_clip_grad_norm_is_right_for_gradients_of_any_size(dtype: Any, size: float) -> None:
    direction = np.array([1.0, -0.5, 0.25, 0.0])
    gradients = {
        "a": (size * direction).astype(dtype),
        "b": np.full((2, 3), size, dtype),
        "none": np.zeros((0, 4), dtype),
    }
    ratio = math.sqrt(1 + 0.25 + 0.0625 + 6)
    kept = {name: array.astype(np.float64) for name, array in gradients.items()}
    found = clip_grad_norm(gradients, 0.5 * size)
    assert found == pytest.approx(size * ratio, rel=1e-3)
    # In between, 1e-6 is added to the norm as in PyTorch.
    scale = 0.5 / ratio
    if 1e-30 < size < 1e30:
        scale = 0.5 * size / (size * ratio + 1e-6)
    for name, array in gradients.items():
        assert array.dtype == dtype
        np.testing.assert_allclose(array.astype(float), scale * kept[name], rtol=2e-3)


def test_the_norm_of_many_small_gradients_is_exact() -> None:
    gradients = {"a": np.full(10**6, np.float32(1.1e-3))}
    assert clip_grad_norm(gradients, 100.0) == pytest.approx(
        1e3 * float(np.float32(1.1e-3)), rel=1e-12
    )


def make_layer() -> gatewise.Linear:
    layer = gatewise.Linear(2, 1)
    layer.set_parameters({"weight": [[1.0, 2.0]], "bias": [0.5]})
    return layer


@pytest.mark.parametrize("make", [make for make, _ in FIGURES])
def test_a_layer_steps_as_its_parameters_would(make: Any, backend: str) -> None:
    model = gatewise.Sequential(gatewise.GRU(2, 2, seed=0), make_layer())
    optimizer, expected = make(), make()
    parameters = model.state_dict()
    for t in range(3):
        gradients = {
            name: (t + 1) * np.cos(np.arange(array.size)).reshape(array.shape)
            for name, array in parameters.items()
            if name != "1.bias" or t
        }
        expected.step(parameters, gradients)
        optimizer.step(model, gradients)
        for name, array in model.state_dict().items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, parameters[name])


def test_a_layer_is_changed_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer()
    written = []
    real = layer.set_parameters
    # A layer lets nothing of its own be replaced.
    monkeypatch.setattr(
        type(layer),
        "set_parameters",
        lambda self, values: (written.append(sorted(values)), real(values)),
    )
    SGD(0.5).step(layer, {"weight": np.ones((1, 2)), "bias": np.ones(1)})
    SGD(0.5).step(layer, {"bias": np.ones(1)})
    assert written == [["bias", "weight"], ["bias"]]
    np.testing.assert_array_equal(layer.state_dict()["weight"], [[0.5, 1.5]])


def test_a_refused_step_leaves_the_layer_and_the_optimizer() -> None:
    layer, optimizer = make_layer(), Adam(0.5)
    before = layer.state_dict()
    for gradients, error in [
        ({"weight": np.ones((1, 2)), "bias": np.ones(2)}, ValueError),
        ({"weight": np.ones((1, 2)), "other": np.ones(2)}, KeyError),
        ({"weight": np.ones((1, 2)), "bias": np.array(["x"])}, TypeError),
    ]:
        with pytest.raises(
            error, match=r"gradients(\['bias'\] should| should have .*, got 'other')"
        ):
            optimizer.step(layer, gradients)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert optimizer.state_dict() == {}


def read_only(value: float = 1.0) -> np.ndarray:
    array = np.full(2, value)
    array.setflags(write=False)
    return array


STATE = {"steps.a": 3, "mean.a": np.ones(2), "square.a": np.ones(2)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Adam(-1),
            ValueError,
            "learning_rate should be a finite number of at least 0, got -1",
        ),
        (lambda: Adam(float("nan")), ValueError, "learning_rate"),
        (lambda: Adam("x"), TypeError, "learning_rate should be a number, got 'x'"),
        (lambda: Adam(None), TypeError, "learning_rate should be a number, got None"),
        (lambda: Adam([0.1]), TypeError, "learning_rate should be a number, got a list"),
        (lambda: Adam(1j), TypeError, "learning_rate should be a number, got 1j"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, r"two numbers in \[0, 1\)"),
        (lambda: Adam(betas=(0.9,)), ValueError, "betas should be two numbers"),
        (lambda: Adam(betas=0.9), TypeError, "betas should be two numbers, got 0.9"),
        (
            lambda: Adam(betas=("0.9", "0.99")),
            TypeError,
            r"betas\[0\] should be a number, got '0.9'",
        ),
        (lambda: Adam(epsilon=-1e-8), ValueError, "epsilon"),
        (lambda: AdamW(weight_decay=-1), ValueError, "weight_decay"),
        (lambda: SGD(momentum=-0.1), ValueError, "momentum"),
        (lambda: SGD(momentum="a"), TypeError, "momentum should be a number, got 'a'"),
        (lambda: SGD(nesterov=True), ValueError, "momentum should be above 0 with nest"),
        (lambda: clip_grad_norm({}, -1.0), ValueError, "max_norm"),
        (
            lambda: clip_grad_norm({}, "1"),
            TypeError,
            "max_norm should be a number, got '1'",
        ),
        (
            lambda: clip_grad_norm([np.ones(2)], 1.0),
            TypeError,
            "gradients should map names to arrays, got a list",
        ),
        (
            lambda: clip_grad_norm({"a": np.ones(2), "b": read_only()}, 1.0),
            ValueError,
            r"gradients\['b'\] should be writable, got a read-only array",
        ),
        (
            lambda: clip_grad_norm({"a": np.ones(2, int)}, 1.0),
            TypeError,
            r"gradients\['a'\] should be an array of real numbers, got int(64|32)",
        ),
        (
            lambda: SGD().step({"a": np.ones(2)}, {"a": np.ones(3)}),
            ValueError,
            r"gradients\['a'\] should have shape \(2,\), got \(3,\)",
        ),
        (
            lambda: SGD().step({"a": read_only()}, {"a": np.ones(2)}),
            ValueError,
            r"parameters\['a'\] should be writable, .* give the layer: step\(layer, grad",
        ),
        (
            lambda: Adam().step(make_layer().parameters(), {"bias": np.ones(1)}),
            ValueError,
            r"parameters\['bias'\] should be writable, .* give the layer: step\(layer, gr",
        ),
        (
            lambda: SGD().step({"a": np.ones(2, int)}, {"a": np.ones(2)}),
            TypeError,
            r"parameters\['a'\] should be an array of real numbers, got int(64|32)",
        ),
        (
            lambda: SGD().step({"a": [1.0, 2.0]}, {"a": np.ones(2)}),
            TypeError,
            r"parameters\['a'\] should be an array of real numbers, got a list",
        ),
        (
            lambda: SGD().step(gatewise.GRU, {"a": np.ones(2)}),
            TypeError,
            "parameters should be a layer, or map names to arrays, got the class GRU",
        ),
        (
            lambda: SGD().step({"a": np.ones(2)}, (None, {"a": np.ones(2)})),
            TypeError,
            "gradients should map names to arrays, got a tuple",
        ),
        (
            lambda: SGD().step({"a": np.ones(2)}, {"a": np.ones(2, complex)}),
            TypeError,
            r"gradients\['a'\] should hold real numbers, got complex128",
        ),
        (
            lambda: SGD().load_state_dict({"square.a": np.ones(2)}),
            ValueError,
            "state should be SGD's, got 'square.a'",
        ),
        (
            lambda: Adam().load_state_dict([1]),
            TypeError,
            "state should map names to arrays",
        ),
        *(
            (lambda change=change: Adam().load_state_dict(STATE | change), ValueError, text)
            for change, text in [
                ({"mean.a": np.ones(3)}, r"should be float64 \(2,\), got float64 \(3,\)|"),
                ({"mean.a": np.array(["x", "y"])}, "real numbers, got <U1"),
                ({"steps.a": 1.5}, "an integer, got float64"),
                ({"steps.a": [1]}, r"an integer, got int(64|32) \(1,\)"),
                ({"steps.a": True}, "an integer, got bool"),
                ({"steps.a": -1}, "should be at least 0, got -1"),
                ({"steps.a": np.inf}, "an integer"),
                ({"steps.b": 1}, r"should have 'mean\.b'"),
                ({"mean.b": np.ones(2)}, r"should have 'steps\.b'"),
                ({"other.a": np.ones(2)}, "should be Adam's, got 'other.a'"),
            ]
        ),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_state_of_other_shapes_is_refused_before_anything_changes() -> None:
    optimizer = Adam()
    optimizer.load_state_dict(STATE)
    weights = {"b": np.ones(3), "a": np.ones(3)}
    with pytest.raises(ValueError, match=r"shape \(2,\), that of its mean in earlier"):
        optimizer.step(weights, {"b": np.ones(3), "a": np.ones(3)})
    np.testing.assert_array_equal(weights["b"], 1)


def test_numbers_of_numpy_are_numbers() -> None:
    optimizer = Adam(np.float32(0.5), betas=np.array([0.8, 0.9]), epsilon=np.array(1e-3))
    assert (optimizer.learning_rate, optimizer.betas) == (0.5, (0.8, 0.9))
    weights = {"a": np.ones(2)}
    SGD(1).step(weights, {"a": [1, 2]})
    np.testing.assert_array_equal(weights["a"], [0, -1])


def test_a_gradient_without_a_parameter_changes_nothing() -> None:
    weight = np.ones(2)
    with pytest.raises(KeyError, match="should have names of parameters, got 'b'"):
        SGD().step({"a": weight}, {"a": np.ones(2), "b": np.ones(2)})
    np.testing.assert_array_equal(weight, 1)
