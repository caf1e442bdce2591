"""How long a training step takes in one process, and shared by those of MPI.

``python benchmarks/shared_training.py`` for one process, with and without shards;
``mpiexec -n 2 python -m mpi4py benchmarks/shared_training.py --mpi`` for two. Each process
uses one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import gatewise
from gatewise.training import DataParallel

SEQUENCES, STEPS, FEATURES, UNITS, CLASSES = 64, 100, 64, 256, 10


def median_step(shards: int | None, communicator: Any, repeats: int) -> float:
    """Seconds of a step of Adam on a classifier."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SEQUENCES, STEPS, FEATURES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, SEQUENCES)
    network = gatewise.Sequential(
        gatewise.LSTM(FEATURES, UNITS, seed=0),
        gatewise.Last(),
        gatewise.Linear(UNITS, CLASSES, seed=0),
    )
    model: Any = network
    if shards is not None:
        model = DataParallel(network, shards, communicator)
    optimizer = gatewise.Adam()
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        outputs, _, tape = model.forward(x)
        _, gradient = gatewise.cross_entropy(outputs, labels)
        gradients = model.backward(tape, gradient)[2]
        optimizer.step(model, gradients)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mpi", action="store_true", help="share steps with MPI")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    gatewise.set_num_threads(1)
    if options.mpi:
        from mpi4py import MPI

        world = MPI.COMM_WORLD
        seconds = median_step(options.shards, world, options.repeats)
        if world.Get_rank() == 0:
            print(f"{world.Get_size()} processes: {1e3 * seconds:.1f} ms")
        return
    for name, shards in (("whole", None), (f"{options.shards} shards", options.shards)):
        seconds = median_step(shards, None, options.repeats)
        print(f"one process, {name}: {1e3 * seconds:.1f} ms")


if __name__ == "__main__":
    main()
