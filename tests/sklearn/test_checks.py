"""scikit-learn's own checks of estimators, all that it has for these."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.utils.estimator_checks import estimator_checks_generator

from gatewise.sklearn import (
    RecurrentClassifier,
    RecurrentForecaster,
    RecurrentRegressor,
)

# Small ones; `python -m tests.sklearn.check_estimators` checks them as users make them.
SMALL = {"hidden_size": 8, "batch_size": 128, "learning_rate": 0.05}
ESTIMATORS = [
    RecurrentClassifier(max_iter=15, **SMALL),
    RecurrentRegressor(max_iter=40, **SMALL),
    RecurrentForecaster(max_iter=10, **SMALL),
]
CHECKS = [
    pytest.param(
        checked, check, id=f"{type(estimator).__name__}-{number}-{check.func.__name__}"
    )
    for estimator in ESTIMATORS
    for number, (checked, check) in enumerate(estimator_checks_generator(estimator))
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_check(estimator: Any, check: Any, request: pytest.FixtureRequest) -> None:
    if check.func.__name__.endswith("_invariance"):
        # The same bits in any company are the kernels' promise, and none of BLAS's.
        for fixture in ("native", "own_products"):
            request.getfixturevalue(fixture)
    check(estimator)


def test_there_are_many_of_them() -> None:
    counts = Counter(str(check.id).split("-")[0] for check in CHECKS)
    # They are those of estimators whose tables are tested, not of any object.
    assert counts["RecurrentClassifier"] > 50
    assert counts["RecurrentRegressor"] > 47
    assert counts["RecurrentForecaster"] > 35
