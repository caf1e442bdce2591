"""The estimators of aeon: its checks, and its axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("aeon", reason="aeon is not installed")

from aeon.testing.estimator_checking import check_estimator

import gatewise.sklearn
from gatewise.aeon import RecurrentClassifier, RecurrentRegressor

RNG = np.random.default_rng(0)
SERIES = [RNG.standard_normal((2, RNG.integers(4, 9))) for _ in range(20)]
LABELS = np.array(["down" if x[0].sum() < 0 else "up" for x in SERIES])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [RecurrentClassifier, RecurrentRegressor])
def test_its_own_checks(estimator: Any) -> None:
    results = check_estimator(estimator, raise_exceptions=True)
    assert len(results) > 20
    assert set(results.values()) == {"PASSED"}


def test_channels_come_first() -> None:
    options = {"hidden_size": 4, "max_iter": 2, "random_state": 0}
    ours = gatewise.sklearn.RecurrentClassifier(**options)
    ours.fit([series.T for series in SERIES], LABELS)
    theirs = RecurrentClassifier(**options).fit(SERIES, LABELS)
    np.testing.assert_array_equal(
        theirs.predict_proba(SERIES), ours.predict_proba([series.T for series in SERIES])
    )
    assert theirs.estimator_.n_features_in_ == 2
    whole = np.stack([series[:, :4] for series in SERIES])
    regressor = RecurrentRegressor(**options).fit(whole, whole.mean(axis=(1, 2)))
    assert regressor.estimator_.n_features_in_ == 2
    assert regressor.predict(whole).shape == (20,)


def test_options_are_those_of_the_estimators() -> None:
    for theirs in (RecurrentClassifier, RecurrentRegressor):
        ours = getattr(gatewise.sklearn, theirs.__name__)
        # aeon's go on by no warm start.
        expected = {k: v for k, v in ours().get_params().items() if k != "warm_start"}
        assert theirs().get_params() == expected
