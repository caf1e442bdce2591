"""Fifty steps shared by the processes of MPI: prints a digest of what comes out.

``mpiexec -n 4 python -m mpi4py -m tests.training.parallel_steps``; with ``--alone`` one
process computes all shards, without MPI. Each process also says how many threads it has.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import gatewise
from gatewise.training import DataParallel, minibatches


def train(communicator: Any, *, shards: int = 4, epochs: int = 5) -> str:
    """Train a small tagger on ragged sequences, and return a digest of all there is."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 12, 5)).astype(np.float32)
    targets = rng.integers(0, 3, (150, 12))
    lengths = rng.integers(1, 13, 150)
    model = gatewise.Sequential(
        gatewise.LSTM(5, 16, num_layers=2, dropout=0.2, seed=0),
        gatewise.Dropout(0.3, seed=1),
        gatewise.Linear(16, 3, seed=2),
    )
    # Ten batches, of which few numbers of shards make even parts.
    batches = minibatches(x, targets, lengths, batch_size=15)
    history = gatewise.fit(
        DataParallel(model, shards, communicator),
        batches,
        gatewise.softmax_cross_entropy,
        gatewise.Adam(0.01),
        epochs=epochs,
        max_norm=1.0,
        progress=False,
    )
    digest = hashlib.sha256()
    for array in model.state_dict().values():
        digest.update(array.tobytes())
    digest.update(repr([epoch.loss for epoch in history]).encode())
    return digest.hexdigest()


def open_mpi() -> bool:
    """Whether Open MPI is there to start processes."""
    found = shutil.which("mpiexec")
    if found is None:
        return False
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30)
    # Up to version 4 it calls itself by the name of a part.
    return "Open MPI" in said.stdout or "OpenRTE" in said.stdout


def command(processes: int) -> list[str]:
    """What runs this in so many processes, or without MPI in one if 0."""
    module = [sys.executable, "-m", "tests.training.parallel_steps", "--alone"]
    if not processes:
        return module
    mpi = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", str(processes)]
    # Whoever waits lets others run, since a core for each process may not be free.
    mpi += ["--mca", "mpi_yield_when_idle", "1"]
    return [*mpi, sys.executable, "-m", "mpi4py", *module[1:-1]]


def main() -> None:
    """Train with all processes there are, or alone, and print one line for each."""
    communicator, rank = None, 0
    if "--alone" not in sys.argv:
        from mpi4py import MPI

        communicator, rank = MPI.COMM_WORLD, MPI.COMM_WORLD.Get_rank()
    gatewise.set_num_threads(1)
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    digest = train(communicator)
    started = len(list(tasks.iterdir())) - before
    line = f"{rank} {digest} {started}\n"
    # In one write, or those of several processes get mixed.
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
