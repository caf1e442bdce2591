"""What was measured for one case, and who is ahead of whom in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from comparison.entries import BY_NAME, Entry
from comparison.grid import Case

# A case is disturbed where other processes took more than this share of the cores' time.
DISTURBED = 0.1


@dataclass
class Outcome:
    """What was measured for one case; seconds are medians over the rounds."""

    case: Case
    threads: int
    rounds: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    bound: float | None = None
    product_rate: float | None = None
    read_rate: float | None = None
    others: float = 0.0

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much of the cores' time that it is felt."""
        return self.others > DISTURBED

    def fastest(self, applies: Callable[[Entry], bool]) -> str | None:
        """The fastest of these entries, of those whose results are right."""
        names = [name for name in self.seconds if applies(BY_NAME[name])]
        return min(names, key=self.seconds.__getitem__, default=None)

    def best_of_ours(self, precision: str | None = None) -> str | None:
        """The fastest of gatewise's ways, in one precision or in any."""
        return self.fastest(lambda e: e.is_ours and precision in (None, e.precision))

    def best_peer(self, precision: str | None = None) -> str | None:
        """The fastest peer, in one precision or in any."""
        return self.fastest(lambda e: not e.is_ours and precision in (None, e.precision))

    def ratio(self, precision: str | None = None) -> float | None:
        """How many times faster than the best peer the best of ours is."""
        return self._ratio(self.best_of_ours(precision), self.best_peer(precision))

    def ratio_of(self, name: str) -> float | None:
        """How many times faster than the best peer of its precision one of ours is."""
        return self._ratio(name, self.best_peer(BY_NAME[name].precision))

    def _ratio(self, ours: str | None, peer: str | None) -> float | None:
        if peer is None or ours not in self.seconds:
            return None
        return self.seconds[peer] / self.seconds[ours]

    @property
    def of_bound(self) -> float | None:
        """The least possible time as a share of gatewise's in float32 or float64."""
        if self.bound is None or "gatewise" not in self.seconds:
            return None
        return self.bound / self.seconds["gatewise"]
