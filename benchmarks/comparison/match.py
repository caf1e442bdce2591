"""One case after the other: results compared first, then timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter
from typing import Any, Self

from comparison.bounds import bound_seconds
from comparison.grid import Case
from comparison.machine import busy_seconds, process_seconds, usable_cores
from comparison.work import Arrays, difference
from comparison.worker import Worker, WorkerError

# How far results may differ, relative to the largest value of an array or to 1.
TOLERANCE = 1e-4
# A case is disturbed where other processes took more than this share of the cores' time.
DISTURBED = 0.1
# A turn is filled with calls up to this many seconds.
TURN = 0.01


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

    @property
    def best_peer(self) -> str | None:
        """The fastest peer of those whose results are right."""
        peers = [name for name in self.seconds if name != "gatewise"]
        return min(peers, key=self.seconds.__getitem__, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times faster than the best peer gatewise is."""
        peer = self.best_peer
        if peer is None or "gatewise" not in self.seconds:
            return None
        return self.seconds[peer] / self.seconds["gatewise"]

    @property
    def of_bound(self) -> float | None:
        """The least possible time as a share of gatewise's."""
        if self.bound is None or "gatewise" not in self.seconds:
            return None
        return self.bound / self.seconds["gatewise"]


class Match:
    """All contestants with the same number of threads, on the same cores."""

    def __init__(self, names: Sequence[str], threads: int) -> None:
        self.threads = threads
        self._workers: dict[str, Worker] = {}
        self.failures: dict[str, str] = {}
        try:
            for name in [*names, "bounds"]:
                self._workers[name] = Worker(name, threads)
            self._workers["bounds"].greet()
            for name in names:
                self._greet(name, self._workers[name])
        except BaseException:
            self.close()
            raise
        self.versions = {name: worker.version for name, worker in self._workers.items()}

    def _greet(self, name: str, worker: Worker) -> None:
        try:
            worker.greet()
        except WorkerError as error:
            self.failures[name] = str(error)
            self._workers.pop(name).close()

    def measure(self, case: Case, seconds: float) -> Outcome:
        """Compare the results of a case, then time it for about so many seconds."""
        outcome = Outcome(case, self.threads)
        self._compare(case, outcome)
        calls, round_seconds = {}, 0.0
        for name in list(outcome.differences):
            answer = self._ask(outcome, name, "calibrate", TURN)
            if answer is not None:
                calls[name] = answer[0]
                round_seconds += answer[1]
        fewest = 5 if round_seconds < 2 else 3
        outcome.rounds = min(60, max(fewest, round(seconds / max(round_seconds, TURN))))
        start, before = perf_counter(), self._used_by_others()
        self._play(case, outcome, calls)
        elapsed = (perf_counter() - start) * self.threads
        outcome.others = max(0.0, self._used_by_others() - before) / elapsed
        for name in calls:
            self._ask(outcome, name, "drop")
        return outcome

    def _used_by_others(self) -> float:
        """The seconds of the cores' time that other processes have had."""
        own = sum(process_seconds(worker.pid) for worker in self._workers.values())
        return busy_seconds(usable_cores()[-self.threads :]) - own

    def product_rate(self) -> float:
        """Return the float32 operations per second of a large product."""
        rate: float = self._workers["bounds"].ask("product_rate", "float32")
        return rate

    def _compare(self, case: Case, outcome: Outcome) -> None:
        """Note the difference of every contestant's results from the first peer's."""
        taking_part = [n for n in ("gatewise", *case.peers) if n in self._workers]
        results: dict[str, Arrays] = {}
        for name in taking_part:
            self._try(outcome, name, self._workers[name].begin, "prepare", case)
        for name in taking_part:
            result = self._try(outcome, name, self._workers[name].finish)
            if result is not None:
                results[name] = result
        reference = next((name for name in results if name != "gatewise"), "gatewise")
        for name, result in results.items():
            try:
                apart = difference(result, results[reference])
            except ValueError as error:
                outcome.failures[name] = str(error)
                continue
            outcome.differences[name] = apart
            if apart > TOLERANCE:
                outcome.failures[name] = f"wrong: differs from {reference} by {apart:.1e}"

    def _ask(self, outcome: Outcome, name: str, method: str, *arguments: Any) -> Any:
        return self._try(outcome, name, self._workers[name].ask, method, *arguments)

    def _try(
        self, outcome: Outcome, name: str, call: Callable[..., Any], *arguments: Any
    ) -> Any:
        """The answer of a contestant; None where it has failed at this case."""
        if name in outcome.failures:
            return None
        try:
            return call(*arguments)
        except WorkerError as error:
            outcome.failures[name] = str(error)
            return None

    def _play(self, case: Case, outcome: Outcome, calls: dict[str, int]) -> None:
        times: dict[str, list[float]] = {name: [] for name in calls}
        rates: list[tuple[float, float]] = []
        names = list(calls)
        for turn in range(outcome.rounds):
            # Nobody always follows the same one.
            first = turn % len(names) if names else 0
            for name in names[first:] + names[:first]:
                taken = self._ask(outcome, name, "time", calls[name])
                if taken is not None:
                    times[name].append(taken)
            rates.append(self._workers["bounds"].ask("rates", case))
        for name, values in times.items():
            if name not in outcome.failures:
                outcome.seconds[name] = median(values)
                low, _, high = quantiles(values, n=4)
                outcome.spread[name] = (high - low) / outcome.seconds[name]
        outcome.product_rate = median(rate[0] for rate in rates)
        outcome.read_rate = median(rate[1] for rate in rates)
        outcome.bound = bound_seconds(case, outcome.product_rate, outcome.read_rate)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()
