"""What is too long for the tests: `python -m tests.check_estimators` prints figures.

Estimators as users make them, through all checks of scikit-learn and aeon; a search over
ragged sequences of aeon's, scored on those of its own test; and fifty steps shared by one,
two and four processes of MPI. It fails where one of these does not hold.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import Counter
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import gatewise.aeon
import gatewise.sklearn
from tests.new_process import run_command
from tests.training import parallel_steps


def scikit_learn() -> bool:
    """Every check that scikit-learn yields for the estimators, with their defaults."""
    good = True
    for name in gatewise.sklearn.__all__:
        estimator = getattr(gatewise.sklearn, name)()
        results = check_estimator(estimator, on_fail=None, on_skip=None)
        counts = Counter(result["status"] for result in results)
        print(f"scikit-learn, {name}: {len(results)} checks, {dict(counts)}")
        for result in results:
            if result["status"] != "passed":
                print(f"  {result['check_name']}: {result['exception']}")
        good &= set(counts) <= {"passed", "skipped"}
    return good


def aeon() -> bool:
    """Every check of aeon's."""
    from aeon.testing.estimator_checking import check_estimator as check

    good = True
    for name in gatewise.aeon.__all__:
        results = check(getattr(gatewise.aeon, name), raise_exceptions=True)
        counts = Counter(results.values())
        print(f"aeon, {name}: {len(results)} checks, {dict(counts)}")
        good &= set(counts) == {"PASSED"}
    return good


def japanese_vowels() -> bool:
    """A search over the speakers of Japanese vowels, in sequences of 7 to 29 steps."""
    from aeon.datasets import load_japanese_vowels

    def split(name: str) -> tuple[list[Any], Any]:
        series, speakers = load_japanese_vowels(split=name)
        return [one.T for one in series], speakers

    X, y = split("train")
    options = {"cell": ["gru", "lstm"], "pooling": ["last", "attention"]}
    search = GridSearchCV(
        gatewise.sklearn.RecurrentClassifier(
            bidirectional=True, dropout=0.2, max_iter=60, random_state=0
        ),
        options,
        cv=3,
        n_jobs=2,
    )
    start = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - start
    accuracy = search.score(*split("test"))
    lengths = sorted({len(x) for x in X})
    print(
        f"Japanese vowels, {len(X)} of {lengths[0]} to {lengths[-1]} steps: "
        f"{search.best_params_}, {search.best_score_:.3f} in cross-validation, "
        f"{accuracy:.3f} on the test set, {seconds:.1f} s"
    )
    return bool(accuracy > 0.95)


def mpi() -> bool:
    """The same bits after fifty steps, without MPI and with it."""
    if not parallel_steps.open_mpi():
        print("MPI: Open MPI is not installed")
        return True
    digests = set()
    for processes in (0, 1, 2, 4):
        start = time.perf_counter()
        done = run_command(parallel_steps.command(processes))
        if done.returncode:
            print(done.stderr)
            return False
        seconds = time.perf_counter() - start
        lines = sorted(done.stdout.splitlines())
        digests |= {line.split()[1] for line in lines}
        print(f"MPI, {processes or 'no'} processes, {seconds:.1f} s:")
        for line in lines:
            rank, digest, threads = line.split()
            print(f"  process {rank}: {digest[:16]}, {threads} threads started")
    return len(digests) == 1


def main() -> int:
    """Run all parts, and return 0 if each is as it should be."""
    # Checks try what warns, on purpose.
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    return int(not np.all([scikit_learn(), aeon(), japanese_vowels(), mpi()]))


if __name__ == "__main__":
    sys.exit(main())
