"""Estimators on sequences: every form of input, and what scikit-learn does with them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gatewise

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from gatewise.sklearn import (
    RecurrentClassifier,
    RecurrentForecaster,
    RecurrentRegressor,
)

RNG = np.random.default_rng(0)
SEQUENCES = [RNG.standard_normal((RNG.integers(3, 9), 2)) for _ in range(60)]
LABELS = np.array(["down" if x[:, 0].sum() < 0 else "up" for x in SEQUENCES])
MEANS = np.array([x[:, 0].mean() for x in SEQUENCES])
WHOLE = RNG.standard_normal((60, 5, 2)).astype(np.float32)
TABLE = RNG.standard_normal((60, 6))


def classifier(**options: Any) -> Any:
    given = {"hidden_size": 8, "max_iter": 3, "learning_rate": 0.03, "random_state": 0}
    return RecurrentClassifier(**{**given, **options})


def regressor(**options: Any) -> Any:
    return RecurrentRegressor(hidden_size=8, max_iter=3, random_state=0, **options)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_each_network_learns(cell: str, pooling: str) -> None:
    options = {"cell": cell, "pooling": pooling, "max_iter": 25, "hidden_size": 16}
    fitted = classifier(bidirectional=True, num_layers=2, **options).fit(SEQUENCES, LABELS)
    assert fitted.score(SEQUENCES, LABELS) > 0.8
    assert fitted.history_[-1].loss < fitted.history_[0].loss
    assert len(fitted.history_) == fitted.n_iter_ == 25
    assert fitted.n_features_in_ == 2
    assert type(fitted.model_[0]).__name__.lower() == cell


def test_probabilities_are_the_networks() -> None:
    fitted = classifier().fit(SEQUENCES, LABELS)
    shares = fitted.predict_proba(SEQUENCES)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.predict_log_proba(SEQUENCES), np.log(shares))
    # The second class where the margin is above 0.
    margin = fitted.decision_function(SEQUENCES)
    np.testing.assert_allclose(margin, np.log(shares[:, 1] / shares[:, 0]), atol=1e-9)
    steps = np.concatenate(SEQUENCES)
    scaled = [(x - steps.mean(axis=0)) / steps.std(axis=0) for x in SEQUENCES]
    scores = gatewise.predict(fitted.model_, [x.astype(np.float32) for x in scaled])
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], margin, rtol=1e-3, atol=1e-5)


def test_all_forms_of_whole_sequences_are_one() -> None:
    expected = classifier().fit(WHOLE, LABELS).predict_proba(WHOLE)
    objects = np.empty(len(WHOLE), object)
    objects[:] = list(WHOLE)
    for form in (
        list(WHOLE),
        tuple(WHOLE),
        objects,
        WHOLE.tolist(),
        np.asfortranarray(WHOLE),
    ):
        found = classifier().fit(form, LABELS).predict_proba(form)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frames(package: str) -> None:
    frames = pytest.importorskip(package, reason=f"{package} is not installed")
    expected = classifier().fit(TABLE, LABELS).predict_proba(TABLE)
    table = frames.DataFrame({f"t{i}": column for i, column in enumerate(TABLE.T)})
    fitted = classifier().fit(table, LABELS)
    np.testing.assert_array_equal(fitted.predict_proba(table), expected)
    if package == "pandas" or hasattr(fitted, "feature_names_in_"):
        # scikit-learn up to 1.6 does not know those of a polars of today.
        assert fitted.feature_names_in_.tolist() == [f"t{i}" for i in range(6)]
    # A frame for each sequence, whose columns are its features.
    ragged = [frames.DataFrame({"a": x[:, 0], "b": x[:, 1]}) for x in SEQUENCES]
    np.testing.assert_array_equal(
        classifier().fit(ragged, LABELS).predict_proba(ragged),
        classifier().fit(SEQUENCES, LABELS).predict_proba(SEQUENCES),
    )
    # A column of series of single values.
    column = frames.Series([x[:, 0].tolist() for x in SEQUENCES])
    single = [x[:, 0] for x in SEQUENCES]
    np.testing.assert_array_equal(
        classifier().fit(column, LABELS).predict_proba(column),
        classifier().fit(single, LABELS).predict_proba(single),
    )


def test_frames_of_any_numbers_in_one_order() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    signs = [np.stack([x[:, 0], x[:, 1] > 0], axis=1) for x in SEQUENCES]
    plain = classifier().fit(signs, LABELS).predict_proba(signs)
    frames = [pandas.DataFrame({"a": x[:, 0], "b": x[:, 1] > 0}) for x in SEQUENCES]
    fitted = classifier().fit(frames, LABELS)
    np.testing.assert_array_equal(fitted.predict_proba(frames), plain)
    assert fitted.feature_names_in_.tolist() == ["a", "b"]
    nullable = [frame.astype({"a": "Float64", "b": "boolean"}) for frame in frames]
    np.testing.assert_array_equal(fitted.predict_proba(nullable), plain)
    np.testing.assert_array_equal(fitted.predict_proba(signs), plain)
    with pytest.raises(ValueError, match=r"^X should have frames with the columns \['a'"):
        fitted.predict([frame[["b", "a"]] for frame in frames])
    with pytest.raises(ValueError, match=r"^X\[1\] should have the columns \['a', 'b'\]"):
        classifier().fit([frames[0], frames[1][["b", "a"]]], LABELS[:2])
    nullable[0].loc[0, "a"] = pandas.NA
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        fitted.predict(nullable)
    for wrong in ("text", "2.5"):
        with pytest.raises(
            TypeError, match=r"^X\[0\] should hold real numbers, got object"
        ):
            fitted.predict([frames[0].assign(b=wrong).astype({"b": object})])


def test_a_table_is_one_of_single_values() -> None:
    fitted = classifier().fit(TABLE, LABELS)
    assert fitted.n_features_in_ == 6
    expected = fitted.predict_proba(TABLE)
    np.testing.assert_array_equal(fitted.predict_proba(TABLE[:, :, None]), expected)
    np.testing.assert_array_equal(fitted.predict_proba(list(TABLE)), expected)
    # Shorter ones are none of the table's, but series all the same.
    ragged = [TABLE[0], TABLE[1, :4]]
    np.testing.assert_allclose(fitted.predict_proba(ragged)[0], expected[0], rtol=1e-5)
    one = classifier().fit([x[:, 0] for x in SEQUENCES], LABELS)
    assert one.n_features_in_ == 1
    assert one.predict(TABLE).shape == (60,)


def test_a_sequence_counts_alike_in_any_company(native: Any, own_products: None) -> None:
    fitted = classifier().fit(SEQUENCES, LABELS)
    whole = fitted.predict_proba(SEQUENCES)
    alone = [fitted.predict_proba([x])[0] for x in SEQUENCES]
    np.testing.assert_array_equal(np.stack(alone), whole)


def test_clone_pickle_pipeline_and_search() -> None:
    halves = FunctionTransformer(lambda X: [x / 2 for x in X])
    pipeline = make_pipeline(halves, classifier())
    pipeline.fit(SEQUENCES, LABELS)
    fitted = pipeline[-1]
    again = clone(fitted).fit(halves.transform(SEQUENCES), LABELS)
    expected = pipeline.predict_proba(SEQUENCES)
    np.testing.assert_array_equal(
        again.predict_proba(pipeline[0].transform(SEQUENCES)), expected
    )
    kept = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        kept.predict_proba(SEQUENCES), fitted.predict_proba(SEQUENCES)
    )
    assert kept.history_ == fitted.history_
    assert kept.get_params() == fitted.get_params()

    search = GridSearchCV(classifier(), {"cell": ["gru", "lstm"]}, cv=3)
    assert search.fit(SEQUENCES, LABELS).predict(SEQUENCES).shape == (60,)
    assert cross_val_predict(regressor(), SEQUENCES, MEANS, cv=3).shape == (60,)


def test_early_stopping_keeps_the_best() -> None:
    fitted = classifier(
        early_stopping=True, max_iter=200, n_iter_no_change=3, validation_fraction=0.3
    ).fit(SEQUENCES, LABELS)
    losses = [epoch.validation_loss for epoch in fitted.history_]
    assert fitted.n_iter_ < 200
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert fitted.history_.stopped


def test_a_warm_start_goes_on() -> None:
    whole = classifier(max_iter=2).fit(SEQUENCES, LABELS)
    parts = classifier(max_iter=1, warm_start=True)
    first = parts.fit(SEQUENCES, LABELS).history_[0]
    parts.fit(SEQUENCES, LABELS)
    assert [epoch.number for epoch in parts.history_] == [1, 2]
    assert parts.history_[0] == first
    assert first.loss == pytest.approx(whole.history_[0].loss)
    assert parts.history_[1].loss < first.loss
    with pytest.raises(
        ValueError, match=r"^y should have labels of classes .* got \['new'\]"
    ):
        parts.fit(SEQUENCES, ["new", *LABELS[1:]])
    with pytest.raises(ValueError, match=r"^hidden_size should be 8 as before, .* got 9"):
        parts.set_params(hidden_size=9).fit(SEQUENCES, LABELS)
    parts.set_params(hidden_size=8, learning_rate=0.0).fit(SEQUENCES, LABELS)
    assert parts.optimizer_.learning_rate == 0.0


def test_partial_fit_takes_one_epoch_of_each_part() -> None:
    fitted = classifier()
    for _ in range(20):
        for part in (slice(0, 30), slice(30, 60)):
            fitted.partial_fit(SEQUENCES[part], LABELS[part], classes=["down", "up"])
    assert fitted.n_iter_ == 40
    assert fitted.score(SEQUENCES, LABELS) > 0.85
    one = regressor().partial_fit(SEQUENCES, MEANS)
    before = one.loss_
    for _ in range(10):
        one.partial_fit(SEQUENCES, MEANS)
    assert one.loss_ < before


def test_class_weights_are_those_of_repeated_examples() -> None:
    # One batch of all, so that weights can be compared with examples.
    options = {"batch_size": 1000, "max_iter": 10, "standardize": False, "max_norm": None}
    twice = LABELS == "up"
    weighted = classifier(class_weight={"up": 2.0}, **options).fit(WHOLE, LABELS)
    repeated = classifier(**options).fit(
        np.concatenate([WHOLE, WHOLE[twice]]), np.concatenate([LABELS, LABELS[twice]])
    )
    np.testing.assert_allclose(
        weighted.predict_proba(WHOLE), repeated.predict_proba(WHOLE), rtol=1e-3, atol=1e-4
    )
    plain = classifier(**options).fit(WHOLE, LABELS).predict_proba(WHOLE)
    assert weighted.predict_proba(WHOLE)[:, 1].mean() > plain[:, 1].mean() + 0.05


def test_a_copy_goes_on_as_the_estimator_does() -> None:
    fitted = classifier().fit(SEQUENCES, LABELS)
    twins = [copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))]
    expected = fitted.partial_fit(SEQUENCES, LABELS).predict_proba(SEQUENCES)
    for twin in twins:
        found = twin.partial_fit(SEQUENCES, LABELS).predict_proba(SEQUENCES)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [1e-300, 1e-9, 1e9, 1e300])
def test_the_size_of_values_does_not_matter(size: float) -> None:
    found = classifier().fit(WHOLE, LABELS).predict_proba(WHOLE)
    large = WHOLE.astype(np.float64) * size
    again = classifier().fit(large, LABELS).predict_proba(large)
    np.testing.assert_allclose(again, found, rtol=1e-3)


def test_values_beyond_what_the_network_takes_are_refused() -> None:
    huge = [np.full((3, 2), 1e300)]
    text = r"^X should hold values within float32's range, scaled .* got 1e\+300"
    for estimator in (classifier().fit(SEQUENCES, LABELS), regressor().fit(WHOLE, MEANS)):
        with pytest.raises(ValueError, match=text):
            estimator.predict(huge)
    with pytest.raises(ValueError, match=text):
        classifier(standardize=False).fit(huge * 2, LABELS[:2])
    forecaster = RecurrentForecaster(2, hidden_size=4, max_iter=1).fit(WHOLE)
    with pytest.raises(ValueError, match=text):
        forecaster.predict(huge)


def test_numbers_come_back_in_their_own_size() -> None:
    fitted = RecurrentRegressor(pooling="mean", max_iter=60, random_state=0)
    targets = np.stack([MEANS * 1e6 + 1e7, -MEANS], axis=1)
    fitted.fit(SEQUENCES, targets)
    assert fitted.predict(SEQUENCES).shape == (60, 2)
    assert fitted.score(SEQUENCES, targets) > 0.9
    robust = RecurrentRegressor(pooling="mean", loss="huber", max_iter=60, random_state=0)
    assert robust.fit(SEQUENCES, MEANS).score(SEQUENCES, MEANS) > 0.9


@pytest.mark.parametrize("estimator", [classifier, regressor, RecurrentForecaster])
def test_nothing_is_said_before_a_fit(estimator: Any) -> None:
    with pytest.raises(NotFittedError, match=r"not fitted yet"):
        estimator().predict(SEQUENCES)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cell": "x"}, ValueError, "cell should be 'gru', 'lstm' or 'rnn', got 'x'"),
        ({"hidden_size": 0}, ValueError, "hidden_size should be at least 1, got 0"),
        ({"num_layers": 1.5}, TypeError, "num_layers should be an integer, got 1.5"),
        (
            {"pooling": None},
            ValueError,
            "pooling should be 'last', .* or 'attention', got None",
        ),
        ({"dropout": 1}, ValueError, "dropout should be at least 0 and below 1, got 1"),
        ({"learning_rate": "a"}, TypeError, "learning_rate should be a number, got 'a'"),
        ({"max_norm": -1}, ValueError, "max_norm should be at least 0 and finite, got -1"),
        ({"early_stopping": 1}, TypeError, "early_stopping should be True or False, got 1"),
        ({"bidirectional": "no"}, TypeError, "bidirectional should be True or False, got"),
        (
            {"class_weight": {0: 1.0, 1: 2.0}},
            ValueError,
            r"class_weight should be of the classes \['down' 'up'\], got \[0, 1\]",
        ),
        (
            {"class_weight": {"up": -1}},
            ValueError,
            r"class_weight\['up'\] should be at least 0 and finite, got -1",
        ),
        (
            {"class_weight": {"up": "a"}},
            TypeError,
            r"class_weight\['up'\] should be a number, got 'a'",
        ),
        ({"validation_fraction": 0}, ValueError, "validation_fraction should be above 0"),
    ],
)
def test_options_that_cannot_be(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^{text}"):
        classifier(**options).fit(SEQUENCES, LABELS)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            lambda X: [*X[:3], X[0][:, :1]],
            ValueError,
            r"X\[3\] should have shape \(time, 2\)",
        ),
        (
            lambda X: [X[0][:0], *X[1:4]],
            ValueError,
            r"X\[0\] should have at least one step",
        ),
        (lambda X: [X[0] * np.nan, *X[1:4]], ValueError, "Input X contains NaN"),
        (lambda X: [X[0] * 1j, *X[1:4]], ValueError, "Complex data not supported"),
        (lambda X: [X[0].astype(str), *X[1:4]], TypeError, r"X\[0\] should hold real numb"),
        (lambda X: X[:3], ValueError, "Found input variables with inconsistent numbers"),
        (lambda X: [], ValueError, "Expected 2D array, got 1D array instead"),
        (lambda X: np.ones((4, 0, 2)), ValueError, "X should have steps and features"),
    ],
)
def test_sequences_that_cannot_be(change: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{text}"):
        classifier().fit(change(SEQUENCES), LABELS[:4])


def test_other_refusals() -> None:
    fitted = classifier().fit(SEQUENCES, LABELS)
    with pytest.raises(ValueError, match=r"^X has 3 features, .* is expecting 2 features"):
        fitted.predict(np.ones((2, 5, 3)))
    with pytest.raises(
        ValueError, match=r"^X should be a list of sequences, or have shape"
    ):
        fitted.predict(SEQUENCES[0])
    with pytest.raises(
        ValueError, match=r"^classes should be all labels in the first call"
    ):
        classifier().partial_fit(SEQUENCES, LABELS)
    with pytest.raises(ValueError, match=r"^classes should be those of the first call"):
        fitted.partial_fit(SEQUENCES, LABELS, classes=["down"])
    with pytest.raises(ValueError, match=r"^class_weight should be a dict or None for par"):
        classifier(class_weight="balanced").partial_fit(SEQUENCES, LABELS, ["down", "up"])
    with pytest.raises(ValueError, match=r"^loss should be 'squared_error' or 'huber'"):
        regressor(loss="mae").fit(SEQUENCES, MEANS)
    once = regressor().partial_fit(SEQUENCES, MEANS)
    with pytest.raises(ValueError, match=r"^y should have 1 outputs as before, got shape"):
        once.partial_fit(SEQUENCES, np.ones((60, 2)))
