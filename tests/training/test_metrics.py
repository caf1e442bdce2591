"""Metrics: right numbers, whatever the batches are."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import (
    Metric,
    accuracy,
    evaluate,
    f1_score,
    mean_absolute_error,
    minibatches,
    r2_score,
    root_mean_squared_error,
)

rng = np.random.default_rng(2)
SCORES = rng.standard_normal((60, 4))
# Not all classes, and one that nothing says.
CLASSES = rng.integers(0, 3, 60)
SCORES[:, 3] -= 9
VALUES, WANTED = rng.standard_normal((60, 2)), rng.standard_normal((60, 2))
WEIGHT = rng.random(60)

KINDS = {
    "accuracy": (accuracy, SCORES, CLASSES),
    "f1_score": (f1_score, SCORES, CLASSES),
    "binary accuracy": (accuracy, SCORES[:, 0], CLASSES > 1),
    "binary f1_score": (f1_score, SCORES[:, 0], CLASSES > 1),
    "mean_absolute_error": (mean_absolute_error, VALUES, WANTED),
    "root_mean_squared_error": (root_mean_squared_error, VALUES, WANTED),
    "r2_score": (r2_score, VALUES, WANTED),
}


def by_sklearn(name: str, weight: Any) -> float:
    metrics = pytest.importorskip("sklearn.metrics")
    found = SCORES.argmax(axis=1)
    flat = None if weight is None else np.repeat(weight, 2)
    options: dict[str, Any] = {"sample_weight": weight}
    reals = (WANTED.ravel(), VALUES.ravel())
    made = {
        "accuracy": lambda: metrics.accuracy_score(CLASSES, found, **options),
        "f1_score": lambda: metrics.f1_score(CLASSES, found, average="macro", **options),
        "binary accuracy": lambda: metrics.accuracy_score(
            CLASSES > 1, SCORES[:, 0] > 0, **options
        ),
        "binary f1_score": lambda: metrics.f1_score(
            CLASSES > 1, SCORES[:, 0] > 0, average="macro", **options
        ),
        "mean_absolute_error": lambda: metrics.mean_absolute_error(
            *reals, sample_weight=flat
        ),
        "root_mean_squared_error": lambda: metrics.root_mean_squared_error(
            *reals, sample_weight=flat
        ),
        "r2_score": lambda: metrics.r2_score(*reals, sample_weight=flat),
    }
    return float(made[name]())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_figures_are_scikit_learns(name: str, weight: Any) -> None:
    metric, outputs, targets = KINDS[name]
    found = metric(outputs, targets, sample_weight=weight)
    assert found == pytest.approx(by_sklearn(name, weight), rel=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_batches_do_not_matter(name: str) -> None:
    metric, outputs, targets = KINDS[name]
    expected = metric(outputs, targets, sample_weight=WEIGHT)
    sums = sum(
        metric.sums(outputs[cut], targets[cut], None, WEIGHT[cut])
        for cut in np.array_split(np.arange(60), 7)
    )
    assert metric.value(sums) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "metric",
    [
        accuracy,
        gatewise.training.f1_score,
        gatewise.training.mean_absolute_error,
        gatewise.training.root_mean_squared_error,
        gatewise.training.r2_score,
    ],
)
def test_metrics_go_to_other_processes(metric: Metric) -> None:
    outputs, targets = np.array([0.5, -2.0, 1.0]), np.array([1, 0, 0])
    sent = pickle.loads(pickle.dumps(metric))
    assert sent(outputs, targets) == metric(outputs, targets)


def test_by_hand() -> None:
    scores = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert accuracy(scores, [0, 1, 1]) == pytest.approx(2 / 3)
    assert accuracy(scores, [0, 1, -100]) == 1
    assert accuracy(scores, [0, 1, 1], mask=[True, True, False]) == 1
    assert accuracy(scores, [0, 1, 1], sample_weight=[1, 0, 1]) == 0.5
    assert accuracy(scores[:, :1], [1, 0, 0]) == pytest.approx(2 / 3)
    # One label for a sequence: what its last step says.
    assert accuracy(scores[None], [0]) == 1
    assert accuracy(scores[None], [1], mask=[[True, True, False]]) == 1
    assert np.isnan(accuracy(scores, [-1, -1, -1]))
    assert f1_score(scores, [0, 1, 1]) == pytest.approx(2 / 3)
    assert r2_score(np.array([1.0, 2.0]), [1, 2]) == 1


def test_masked_steps_of_numbers() -> None:
    outputs, mask = np.arange(12.0).reshape(2, 3, 2), np.array([[1, 1, 0], [1, 0, 0]], bool)
    targets = outputs + 1
    outputs[~mask] = np.nan
    assert mean_absolute_error(outputs, targets, mask=mask) == 1


@pytest.mark.parametrize(
    ("outputs", "targets", "error", "message"),
    [
        (SCORES, CLASSES[:5], ValueError, r"targets should have shape \(60,\) for outputs"),
        (SCORES, CLASSES / 2, TypeError, "targets should be integers, got float64"),
        (SCORES, CLASSES + 2, ValueError, r"targets should lie in 0\.\.3, got 4"),
        (np.float64(3), 1, ValueError, r"outputs should have shape \(..., classes\), got"),
        (CLASSES, CLASSES, TypeError, "outputs should be float32 or float64, got int64"),
    ],
)
def test_bad_input_is_refused(
    outputs: Any, targets: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        accuracy(outputs, targets)


def make_model() -> gatewise.Sequential:
    return gatewise.Sequential(gatewise.GRU(3, 4, seed=0), gatewise.Linear(4, 3, seed=1))


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (accuracy, TypeError, "metrics should be a list of metrics .* got a Metric"),
        ("accuracy", TypeError, "metrics should be a list of metrics .* got 'accuracy'"),
        (["accuracy"], TypeError, r"metrics\[0\] should be a metric .* got 'accuracy'"),
        ([accuracy, Metric], TypeError, r"metrics\[1\] should .* got the class Metric"),
        (
            [accuracy, accuracy],
            ValueError,
            r"metrics\[1\] should have a name .* 'accuracy'",
        ),
        (
            [Metric("loss", lambda *a: [1], lambda s: 0.0)],
            ValueError,
            r"metrics\[0\] should have a name that is not taken, got 'loss'",
        ),
        (
            [Metric("validation_loss", lambda *a: [1], lambda s: 0.0)],
            ValueError,
            r"metrics\[0\] should have a name that is not taken, got 'validation_loss'",
        ),
        (
            [Metric("m", lambda *a: [[1], [1, 2]], lambda s: 0.0, classes=True)],
            TypeError,
            "the sums of the metric m should be a list of numbers, got a list",
        ),
        (
            [Metric("m", lambda *a: None, lambda s: 0.0, classes=True)],
            TypeError,
            "the sums of the metric m should be a list of numbers, got None",
        ),
        (
            [Metric("m", lambda *a: [1], lambda s: "a", classes=True)],
            TypeError,
            "the value of the metric m should be a number, got 'a'",
        ),
        (
            [lambda outputs, targets: "a"],
            TypeError,
            "the metric <lambda> should return a n",
        ),
    ],
)
def test_bad_metrics_are_refused(
    metrics: Any, error: type[Exception], message: str
) -> None:
    batches = [(np.ones((2, 4, 3)), np.ones((2, 4), int))]
    with pytest.raises(error, match=f"^{message}"):
        evaluate(make_model(), batches, metrics=metrics)


def test_the_example_of_accuracy_runs(capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing else finds it, since it is an object's own.
    doctest.run_docstring_examples(accuracy, {}, name="accuracy")
    assert capsys.readouterr().out == ""
    assert ">>>" in str(accuracy.__doc__)


def test_a_metric_is_made_of_functions() -> None:
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"^name should be a string, got 3"):
        Metric(wrong, lambda *a: [1], lambda s: 0.0)
    with pytest.raises(TypeError, match=r"^sums should be a function, got 3"):
        Metric("mine", wrong, lambda s: 0.0)
    assert repr(accuracy) == "<metric accuracy>"


def test_functions_are_averaged_by_examples() -> None:
    x, targets = rng.standard_normal((10, 4, 3)), rng.integers(0, 3, (10, 4))

    def first(outputs: Any, targets: Any) -> float:
        return float(targets[0, 0])

    found = evaluate(
        make_model(),
        minibatches(x, targets, batch_size=8, shuffle=False),
        metrics=[first, accuracy],
    )
    assert found["first"] == pytest.approx((8 * targets[0, 0] + 2 * targets[8, 0]) / 10)
    assert found["accuracy"] == accuracy(make_model()(x)[0], targets)
    assert "loss" not in found
