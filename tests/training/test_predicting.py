"""What a model says of many sequences, in batches of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import evaluate, minibatches, predict, sequence_batches

rng = np.random.default_rng(4)
SEQUENCES = [rng.standard_normal((n, 3)).astype(np.float32) for n in (5, 1, 9, 3, 9, 2, 30)]
X = rng.standard_normal((7, 5, 3)).astype(np.float32)


def models() -> dict[str, Any]:
    return {
        "steps": gatewise.Sequential(
            gatewise.GRU(3, 4, bidirectional=True, seed=0), gatewise.Linear(8, 2, seed=1)
        ),
        "pooled": gatewise.Sequential(
            gatewise.LSTM(3, 4, seed=0), gatewise.AttentionPool(4, seed=1)
        ),
        "convolved": gatewise.Sequential(
            gatewise.Conv1d(3, 4, 3, padding=1, stride=2, seed=0),
            gatewise.GRU(4, 2, seed=1),
        ),
        "recurrent": gatewise.LSTM(3, 2, seed=0),
        "linear": gatewise.Linear(3, 2, seed=0),
        "pool": gatewise.MaxPool(),
    }


def alone(model: Any, x: Any) -> Any:
    y = model(x[None])
    return (y[0] if isinstance(y, tuple) else y)[0]


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batches_do_not_matter(name: str, batch_size: int, backend: str) -> None:
    model = models()[name]
    found = predict(model, SEQUENCES, batch_size=batch_size)
    assert isinstance(found, np.ndarray) == (name in ("pooled", "pool"))
    assert len(found) == len(SEQUENCES)
    for y, x in zip(found, SEQUENCES, strict=True):
        np.testing.assert_allclose(y, alone(model, x), rtol=0, atol=1e-6)
    whole = predict(model, X, batch_size=batch_size)
    assert isinstance(whole, np.ndarray)
    for y, x in zip(whole, X, strict=True):
        np.testing.assert_allclose(y, alone(model, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["steps", "pooled", "convolved", "recurrent"])
def test_compiled_they_change_no_bit(name: str, native: Any, own_products: None) -> None:
    model = models()[name]
    first = predict(model, SEQUENCES, batch_size=1)
    for size in (2, 3, 7):
        for y, other in zip(predict(model, SEQUENCES, batch_size=size), first, strict=True):
            assert y.tobytes() == other.tobytes()


def test_arrays_may_have_lengths(backend: str) -> None:
    model, lengths = models()["pooled"], [5, 0, 2, 3, 1, 5, 4]
    found = predict(model, X, lengths=lengths, batch_size=3)
    np.testing.assert_allclose(found, model(X, lengths=lengths)[0], rtol=0, atol=1e-6)


def test_tokens_and_whatever_is_indexed(backend: str) -> None:
    model = gatewise.Sequential(
        gatewise.Embedding(9, 4, seed=0), gatewise.GRU(4, 3, seed=0)
    )
    found = predict(model, [[1, 2, 3], [8], [4, 5]], batch_size=2)
    assert [y.shape for y in found] == [(3, 3), (1, 3), (2, 3)]
    np.testing.assert_allclose(found[1], alone(model, np.array([8])), rtol=0, atol=1e-6)

    direct = gatewise.GRU(9, 3, tokens=True, seed=0)
    tokens = np.array([[1, 2, 3], [4, 5, 8]])
    np.testing.assert_array_equal(predict(direct, tokens), direct(tokens)[0])

    class Lazy:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return SEQUENCES[index]

    lazy: Any = Lazy()
    assert [len(y) for y in predict(models()["recurrent"], lazy)] == [5, 1]


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        ([], {}, ValueError, "x should hold at least one sequence, got none"),
        (np.ones((0, 5, 3)), {}, ValueError, "x should hold at least one example, got sh"),
        (3, {}, TypeError, r"x should be a list of sequences \(time, ...\), got 3"),
        ({"a": 1}, {}, TypeError, "x should be a list of sequences"),
        (SEQUENCES, {"lengths": [1]}, ValueError, "lengths should be None for a list"),
        (X, {"lengths": [1]}, ValueError, r"lengths should have shape \(7,\), one a seque"),
        (X, {"batch_size": 0}, ValueError, "batch_size should be at least 1, got 0"),
        (X, {"num_threads": 0}, ValueError, "num_threads should be at least 1, got 0"),
        ([np.ones((3, 2))], {}, ValueError, r"x should have shape \(batch, time, 3\)"),
        ([np.ones(3), np.ones((3, 3))], {}, ValueError, r"x\[1\] should have shape \(time"),
        (
            X[0],
            {},
            ValueError,
            r"x should hold examples of shape \(time, features\), got one",
        ),
        (
            [[1, 2, 3]],
            {},
            ValueError,
            r"x should hold examples of shape \(time, features\)",
        ),
    ],
)
def test_bad_input_is_refused(
    x: Any, options: Any, error: type[Exception], message: str, backend: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        predict(models()["steps"], x, **options)


def test_a_model_is_wanted() -> None:
    wrong: Any = "gru"
    with pytest.raises(TypeError, match=r"^model should be a layer, got 'gru'"):
        predict(wrong, X)
    with pytest.raises(TypeError, match=r"^model should be a layer, got 'gru'"):
        evaluate(wrong, [(X, X)])
    with pytest.raises(TypeError, match=r"^loss should be a function .* got 'mse'"):
        evaluate(models()["steps"], [(X, X)], "mse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^batches should have examples, got none"):
        evaluate(models()["steps"], [(X[:0], X[:0])])


def test_evaluate_is_what_validation_is(backend: str) -> None:
    model, labels = models()["pooled"], rng.integers(0, 4, 7)
    batches = sequence_batches(SEQUENCES, labels, batch_size=3, sample_weight=rng.random(7))
    history = gatewise.fit(
        model,
        minibatches(X, labels),
        gatewise.cross_entropy,
        gatewise.Adam(),
        epochs=1,
        validation=batches,
        metrics=[gatewise.accuracy],
        progress=False,
    )
    found = evaluate(model, batches, gatewise.cross_entropy, metrics=[gatewise.accuracy])
    assert found["loss"] == history[0].validation_loss
    assert found["accuracy"] == history[0].validation_metrics["accuracy"]
