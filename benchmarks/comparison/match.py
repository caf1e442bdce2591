"""One case after the other: results compared first, then timed in turns."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles
from time import perf_counter
from typing import Any, Self

from comparison.bounds import bound_seconds
from comparison.entries import PRECISIONS, Entry
from comparison.grid import Case
from comparison.machine import busy_seconds, process_seconds, usable_cores
from comparison.outcome import Outcome
from comparison.work import Arrays, difference
from comparison.worker import Worker, WorkerError

# A turn is filled with calls up to this many seconds.
TURN = 0.01


class Match:
    """All entries with the same number of threads, on the same cores.

    Each package has a process, in which its ways of computing take turns as well.
    """

    def __init__(self, entries: Sequence[Entry], threads: int) -> None:
        self.threads = threads
        self._entries = entries
        self._workers: dict[str, Worker] = {}
        self.failures: dict[str, str] = {}
        packages = list(dict.fromkeys(entry.package for entry in entries))
        try:
            for name in [*packages, "bounds"]:
                self._workers[name] = Worker(name, threads)
            self._workers["bounds"].greet()
            for name in packages:
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
        calls: dict[Entry, int] = {}
        round_seconds = 0.0
        for entry in self._taking_part(case):
            answer = self._ask(outcome, entry, "calibrate", entry.way, TURN)
            if answer is not None:
                calls[entry] = answer[0]
                round_seconds += answer[1]
        fewest = 5 if round_seconds < 2 else 3
        outcome.rounds = min(60, max(fewest, round(seconds / max(round_seconds, TURN))))
        start, before = perf_counter(), self._used_by_others()
        self._play(case, outcome, calls)
        elapsed = (perf_counter() - start) * self.threads
        outcome.others = max(0.0, self._used_by_others() - before) / elapsed
        for entry in {entry.package: entry for entry in calls}.values():
            self._ask(outcome, entry, "drop")
        return outcome

    def _taking_part(self, case: Case) -> list[Entry]:
        return [e for e in self._entries if e.package in self._workers and e.takes(case)]

    def _used_by_others(self) -> float:
        """The seconds of the cores' time that other processes have had."""
        own = sum(process_seconds(worker.pid) for worker in self._workers.values())
        return busy_seconds(usable_cores()[-self.threads :]) - own

    def product_rate(self) -> float:
        """Return the float32 operations per second of a large product."""
        rate: float = self._workers["bounds"].ask("product_rate", "float32")
        return rate

    def _compare(self, case: Case, outcome: Outcome) -> None:
        """Note how far all results are from those of the first peer in full precision."""
        results: dict[Entry, Arrays] = {}
        for entry in self._taking_part(case):
            result = self._ask(outcome, entry, "prepare", case, entry.way)
            if result is not None:
                results[entry] = result
        full = [entry for entry in results if entry.precision == PRECISIONS[0]]
        reference = next((e for e in full if not e.is_ours), full[0] if full else None)
        for entry, result in results.items():
            if reference is None:
                outcome.failures[entry.name] = "there is nothing to compare it with"
                continue
            try:
                apart = difference(result, results[reference])
            except ValueError as error:
                outcome.failures[entry.name] = str(error)
                continue
            outcome.differences[entry.name] = apart
            if apart > entry.tolerance(case):
                outcome.failures[entry.name] = (
                    f"wrong: differs from {reference.name} by {apart:.1e}"
                )

    def _ask(self, outcome: Outcome, entry: Entry, method: str, *arguments: Any) -> Any:
        """The answer of an entry; None where it has failed at this case."""
        if entry.name in outcome.failures:
            return None
        try:
            return self._workers[entry.package].ask(method, *arguments)
        except WorkerError as error:
            outcome.failures[entry.name] = str(error)
            return None

    def _play(self, case: Case, outcome: Outcome, calls: dict[Entry, int]) -> None:
        times: dict[Entry, list[float]] = {entry: [] for entry in calls}
        rates: list[tuple[float, float]] = []
        entries = list(calls)
        for turn in range(outcome.rounds):
            # Nobody always follows the same one.
            first = turn % len(entries) if entries else 0
            for entry in entries[first:] + entries[:first]:
                taken = self._ask(outcome, entry, "time", entry.way, calls[entry])
                if taken is not None:
                    times[entry].append(taken)
            rates.append(self._workers["bounds"].ask("rates", case))
        for entry, values in times.items():
            if entry.name not in outcome.failures:
                outcome.seconds[entry.name] = median(values)
                low, _, high = quantiles(values, n=4)
                outcome.spread[entry.name] = (high - low) / outcome.seconds[entry.name]
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
