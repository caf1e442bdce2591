"""Forecasts, against what is known of the series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from gatewise.sklearn import RecurrentForecaster
from gatewise.sklearn.inputs import Panel
from gatewise.sklearn.windows import shifted, windows

WAVES = [np.sin(np.arange(start, start + 150) / 4)[:, None] for start in (0, 3, 8)]


def forecaster(horizon: int = 5, **options: Any) -> Any:
    given = {"window": 30, "hidden_size": 16, "max_iter": 20, "random_state": 0}
    return RecurrentForecaster(horizon, **{**given, **options})


def test_windows_hold_what_comes_after_each_step() -> None:
    steps = np.arange(20.0)[:, None] ** 2
    series = shifted(Panel(steps[None], None), 3, [], None)
    panel, changes, ends = windows(series, np.array([0]), 3, 8)
    assert ends.tolist() == [8 / 17, 12 / 17, 16 / 17, 1]
    assert panel.lengths is None
    assert panel.x[:, 0, 0].tolist() == [0, 16, 64, 81]
    assert panel.x.shape == (4, 8, 1)
    for x, y in zip(panel.x[:, :, 0], changes, strict=True):
        for value, change in zip(x, y, strict=True):
            place = round(np.sqrt(value))
            expected = steps[place + 1 : place + 4, 0] - value
            np.testing.assert_array_equal(change, expected.astype(np.float32))
    # The last one says the last steps of the series.
    assert panel.x[-1, -1, 0] == 16**2


def test_known_features_run_ahead() -> None:
    steps = np.stack([np.arange(10.0), 100 + np.arange(10.0)], axis=1)
    panel = Panel(steps[None], np.array([8]))
    learnt = shifted(panel, 3, [1], None)
    np.testing.assert_array_equal(learnt.inputs[0][:, 0], np.arange(5))
    np.testing.assert_array_equal(learnt.inputs[0][:, 1], 103 + np.arange(5))
    said = shifted(panel, 3, [1], np.array([[[-1.0], [-2.0], [-3.0]]]))
    np.testing.assert_array_equal(
        said.inputs[0][:, 1], [103, 104, 105, 106, 107, -1, -2, -3]
    )
    np.testing.assert_array_equal(said.inputs[0][:, 0], np.arange(8))


def test_a_wave_goes_on() -> None:
    fitted = forecaster().fit(WAVES)
    found = fitted.predict(WAVES)
    assert found.shape == (3, 5, 1)
    expected = [np.sin(np.arange(s + 150, s + 155) / 4)[:, None] for s in (0, 3, 8)]
    assert np.abs(found - expected).max() < 0.3
    assert fitted.score(WAVES) > 0.9
    # Nothing further back than the window counts.
    np.testing.assert_array_equal(fitted.predict([wave[-30:] for wave in WAVES]), found)


def test_it_begins_with_what_is_there() -> None:
    trend = np.arange(40.0)[None] * 1000 + 1e6
    fitted = forecaster(2, max_iter=1, learning_rate=0.0).fit(trend)
    fitted.model_.set_parameters(
        {name: 0 * value for name, value in fitted.model_.parameters().items()}
    )
    np.testing.assert_allclose(fitted.predict(trend), [[1.039e6, 1.039e6]])


def test_a_known_feature_is_used() -> None:
    rng = np.random.default_rng(0)
    known = rng.standard_normal((4, 200))
    # Each value is that of the feature, which nobody could say without it.
    series = np.stack([known, known], axis=2)
    options = {"horizon": 2, "max_iter": 40}
    blind = forecaster(covariates=[1], **options).fit(series[:, :-2])
    told = forecaster(known=[1], **options).fit(series[:, :-2])
    assert told.score(series[:, :-2]) > 0.9 > 0.5 > blind.score(series[:, :-2])
    found = told.predict(series[:, :-2], future=series[:, -2:, 1:])
    np.testing.assert_allclose(found[..., 0], known[:, -2:], atol=0.5)
    assert told.targets_.tolist() == blind.targets_.tolist() == [0]


def test_forms_of_series_and_a_search() -> None:
    table = np.concatenate([wave.T for wave in WAVES])
    fitted = forecaster(max_iter=2).fit(table)
    assert fitted.predict(table).shape == (3, 5)
    np.testing.assert_array_equal(
        forecaster(max_iter=2).fit(table[:, :, None]).predict(table[:, :, None])[..., 0],
        fitted.predict(table),
    )
    ragged = [wave[: 40 + 20 * place] for place, wave in enumerate(WAVES)]
    search = GridSearchCV(forecaster(max_iter=2), {"cell": ["gru", "rnn"]}, cv=3)
    again = clone(forecaster(known=[0], covariates=(1, 2)))
    assert (again.known, again.covariates) == ([0], (1, 2))
    assert search.fit(ragged).predict(ragged).shape == (3, 5, 1)
    on = forecaster().partial_fit(ragged)
    before = on.loss_
    for _ in range(10):
        on.partial_fit(ragged)
    assert on.loss_ < before
    stopped = forecaster(early_stopping=True, n_iter_no_change=1, max_iter=100).fit(WAVES)
    assert stopped.history_[0].validation_loss is not None
    with pytest.raises(ValueError, match=r"^early_stopping should be False where the"):
        forecaster(early_stopping=True).fit(WAVES[0][None, :20])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"horizon": 0}, ValueError, "horizon should be at least 1, got 0"),
        ({"window": 2.0}, TypeError, "window should be an integer, got 2.0"),
        ({"known": 1}, TypeError, "known should be a list of features, got 1"),
        ({"known": [2]}, ValueError, "known should be below the 2 features, got 2"),
        ({"known": [-1]}, ValueError, "a feature in known should be at least 0, got -1"),
        (
            {"known": [0], "covariates": [0]},
            ValueError,
            "covariates should have each featu",
        ),
        ({"covariates": [0, 1]}, ValueError, "known and covariates should leave a feature"),
        (
            {"horizon": 9},
            ValueError,
            "X should have series of more steps than the horizon, 9",
        ),
    ],
)
def test_options_that_cannot_be(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^{text}"):
        forecaster(**options).fit(np.ones((2, 9, 2)))


def test_futures_that_cannot_be() -> None:
    X = np.random.default_rng(0).standard_normal((2, 9, 2))
    fitted = forecaster(2, known=[0], max_iter=1).fit(X)
    with pytest.raises(
        ValueError, match=r"^future should have shape \(2, 2, 1\), got None"
    ):
        fitted.predict(X)
    with pytest.raises(ValueError, match=r"^future should have shape .* got \(2, 2\)"):
        fitted.predict(X, np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"^Input future contains NaN"):
        fitted.predict(X, np.full((2, 2, 1), np.nan))
    with pytest.raises(ValueError, match=r"^future should hold values within float32's"):
        fitted.predict(X, np.full((2, 2, 1), 1e300))
    with pytest.raises(ValueError, match=r"^future should be None where no features"):
        forecaster(2, max_iter=1).fit(X).predict(X, np.ones((2, 2, 1)))


@pytest.mark.parametrize("options", [{"horizon": 3}, {"known": [1]}, {"covariates": [1]}])
def test_options_of_forecasts_stay_as_they_were_fitted(options: dict[str, Any]) -> None:
    X = np.random.default_rng(0).standard_normal((2, 9, 3))
    fitted = forecaster(2, known=[0], max_iter=1).fit(X).set_params(**options)
    (name,) = options
    for call in (lambda: fitted.predict(X, np.ones((2, 2, 1))), lambda: fitted.score(X)):
        with pytest.raises(ValueError, match=f"^{name} should be .* as before, to go on"):
            call()


def test_a_single_series_goes_into_a_list() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    series = pandas.DataFrame({"load": WAVES[0][:40, 0]})
    with pytest.raises(ValueError, match=r"n_features=1, each row a series; .* \[X\]"):
        forecaster(max_iter=1).fit(series)
    assert forecaster(max_iter=1).fit([series]).predict([series]).shape == (1, 5, 1)
