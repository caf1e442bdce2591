"""Running code in a process of its own, and counting the threads that are started there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

import gatewise

CHECKOUT = Path(__file__).parents[1]
TASKS = Path("/proc/self/task")

# How many times longer everything may take where a sanitizer looks on, or a processor is
# emulated.
PATIENCE = int(os.environ.get("GATEWISE_PATIENCE", "1"))
if "san" in os.environ.get("LD_PRELOAD", ""):
    PATIENCE = 10

# What says how many threads there are to be.
VARIABLES = ("GATEWISE_NUM_THREADS", "OMP_NUM_THREADS")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, which finds this gatewise and these tests."""
    return run_command([sys.executable, "-c", code], **environment)


def run_command(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose Python finds this gatewise and these tests."""
    paths = [str(Path(gatewise.__file__).parent.parent), str(CHECKOUT)]
    inherited = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    return subprocess.run(
        command,
        env=inherited | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )


def count_threads(call: Callable[[], object]) -> int:
    """The threads of a first large call: the caller, and those that no Python started."""
    # With a process's first thread, ThreadSanitizer starts one of its own.
    first = threading.Thread(target=os.getpid)
    first.start()
    first.join()
    before = set(os.listdir(TASKS))
    call()
    python = {str(thread.native_id) for thread in threading.enumerate()}
    return 1 + len(set(os.listdir(TASKS)) - before - python)


def threads_of_a_call(num_threads: int | None = None) -> tuple[int, str]:
    """How many threads share a large call, and what is said about their number."""
    layer = gatewise.LSTM(40, 100, seed=0)
    x = np.ones((32, 20, 40), np.float32)
    count = count_threads(lambda: layer(x, num_threads=num_threads))
    return count, gatewise.kernels.thread_limits.describe()
