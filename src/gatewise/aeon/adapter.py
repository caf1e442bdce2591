"""What estimators of aeon share that are estimators of `gatewise.sklearn` inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import NDArray

from gatewise.aeon.collections import TAGS, time_first

Array = NDArray[Any]

__all__ = ["Adapter"]


class Adapter:
    """Trains and asks an estimator that has the same parameters."""

    _tags: ClassVar[dict[str, Any]] = TAGS
    _estimator_class: ClassVar[Any]
    estimator_: Any
    # Of aeon's base, which stands behind this one.
    get_params: Callable[[], dict[str, Any]]

    def _fit(self, X: Any, y: Any) -> Any:
        estimator = self._estimator_class(**self.get_params())
        self.estimator_ = estimator.fit(time_first(X), y)
        return self

    def _predict(self, X: Any) -> Array:
        found: Array = self.estimator_.predict(time_first(X))
        return found

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """What aeon's checks make an estimator with: one that is soon trained."""
        return {"hidden_size": 8, "max_iter": 5}
