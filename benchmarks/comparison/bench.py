"""What runs within a contestant's process: its jobs are made, timed and weighed here."""

from __future__ import annotations

import gc
from importlib import import_module
from itertools import repeat
from pathlib import Path
from time import perf_counter

from comparison.contestant import Contestant, Job
from comparison.grid import Case
from comparison.work import Arrays, make_work

# Every turn begins with so many seconds that are not counted: others have emptied the
# caches, and threads that were asleep may share a core until they are moved.
WARM_UP = 0.005
WARM_UP_THREADS = 0.02


class Bench:
    """What runs within a worker: one package, and its jobs of one case at a time.

    It has a job for each way in which the package does the case.
    """

    def __init__(self, name: str, threads: int) -> None:
        module = import_module(f"comparison.with_{name}")
        self._contestant: Contestant = module.Contestant(threads)
        self._jobs: dict[str, Job] = {}
        self._taken: dict[str, float] = {}
        self._warm_up = WARM_UP if threads == 1 else WARM_UP_THREADS
        self.version = self._contestant.version

    def prepare(self, case: Case, way: str = "") -> Arrays:
        """Make a job of a case and return its results; a stream's after some steps."""
        self._taken[way] = 0.0
        self._jobs[way] = job = self._contestant.job(case, make_work(case), way)
        with job.context():
            result = job.run()
            for _ in range(2 if case.streaming else 0):
                result = job.run()
            return job.arrays(result)

    def calibrate(self, way: str, seconds: float) -> tuple[int, float]:
        """Return how many calls fill so many seconds, and the seconds of a whole turn."""
        calls, taken = 1, self.time(way, 1)
        while taken * calls < seconds / 4:
            calls *= 4
            taken = self.time(way, calls)
        calls = max(1, round(seconds / taken))
        return calls, calls * taken + self._warm_up

    def time(self, way: str, calls: int) -> float:
        """Return the seconds per call, once caches and threads are awake again."""
        job = self._jobs[way]
        run = job.run
        gc.collect()
        gc.disable()
        try:
            with job.context():
                self._run_uncounted(way)
                start = perf_counter()
                for _ in repeat(None, calls):
                    run()
                self._taken[way] = taken = (perf_counter() - start) / calls
                return taken
        finally:
            gc.enable()

    def _run_uncounted(self, way: str) -> None:
        """Warm up, unless a single call takes so long that it makes no difference."""
        end = perf_counter() + self._warm_up
        while self._taken[way] < 10 * self._warm_up and perf_counter() < end:
            self._jobs[way].run()

    def drop(self) -> None:
        """Forget the jobs and what they hold."""
        self._jobs.clear()
        self._taken.clear()
        gc.collect()

    def peak_memory(self, warm: Case, case: Case) -> dict[str, int]:
        """Return the bytes of a case above what the package itself takes.

        `ready` is what weights and data take, `peak` the most that was taken while it ran.
        """
        self.prepare(warm)
        self.drop()
        before = _memory("VmRSS")
        job = self._contestant.job(case, make_work(case), "")
        ready = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        with job.context():
            for _ in range(3):
                job.run()
        return {"ready": ready - before, "peak": _memory("VmHWM") - before}


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status should have a line {field}, got none")
