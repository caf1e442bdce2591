"""Processes that fork, start others, or may start no threads get what all others get.

``python tests/stress_processes.py`` lets a process fork 50 times while its threads are in
kernels, starts others by every method of multiprocessing, and runs with a limit that lets
the system refuse every thread.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np

import gatewise

try:
    import resource
except ImportError:  # Windows, where nothing of this is
    resource = None  # type: ignore[assignment]

NOBODY = 65534


def result(threads: int = 2) -> str:
    """The hash of a call that is worth two threads, and of its gradients."""
    layer = gatewise.LSTM(60, 150, seed=0)
    x = np.random.default_rng(0).random((40, 16, 60)).astype(np.float32)
    y, _, tape = layer.forward(x, num_threads=threads)
    dx, _, gradients = layer.backward(tape, y, num_threads=threads)
    arrays = [y, dx, *gradients.values()]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def fork_in_calls(count: int, expected: str) -> None:
    """Fork while other threads are in kernels; each child makes a call."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            assert result() == expected

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(count):
            child = os.fork()
            if not child:
                os._exit(result() != expected)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def without_threads() -> None:
    """Make a call where the system refuses every thread, and print its hash."""
    # Of what was loaded already: nobody may be denied the folder of the packages.
    result(1)
    # Those of NumPy's BLAS.
    before = len(os.listdir("/proc/self/task"))
    if os.getuid() == 0:
        os.setuid(NOBODY)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        print(result())
        assert len(os.listdir("/proc/self/task")) == before
    else:
        print("threads are not refused here")


def refused(expected: str) -> bool:
    """Whether threads were refused, after which the results have to be the same."""
    command = [sys.executable, __file__, "--without-threads"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "not refused" in printed:
        return False
    assert printed.strip() == expected
    return True


def main() -> None:
    """Try all of it, and say how often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forks", type=int, default=50)
    parser.add_argument("--without-threads", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.without_threads:
        without_threads()
        return
    expected = result(1)
    assert result() == expected
    fork_in_calls(options.forks, expected)
    methods = multiprocessing.get_all_start_methods()
    for method in methods:
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(result, [1, 2, 2]) == [expected] * 3
    said = "refused, and done without" if refused(expected) else "not refused here"
    print(f"{options.forks} forks in calls, {len(methods)} start methods, threads {said}")
    print("0 failed")


if __name__ == "__main__":
    main()
