"""Whenever training is killed, no more is lost than what came after its last checkpoint.

``python tests/stress_kill.py`` kills a training 50 times at random moments, by a signal
that nobody can catch, and looks at what each time is left: a checkpoint that can be read,
never older than the one before, and no file beside it that would stay. At the end the
training goes on to its end, and has the bits of one that nobody killed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import gatewise
from gatewise.training import minibatches

# In an epoch.
STEPS = 12


def train(path: str, epochs: int) -> None:
    """Train for so many epochs, or go on with it, and print the number of each."""
    generator = np.random.default_rng(0)
    x = generator.random((60, 20, 5)).astype(np.float32)
    model = gatewise.GRU(5, 5, num_layers=2, dropout=0.1, seed=0)
    gatewise.fit(
        model,
        minibatches(x, np.cumsum(x, axis=1) / 10, batch_size=5, seed=1),
        gatewise.mse,
        gatewise.Adam(0.01),
        epochs=epochs,
        checkpoint=path,
        checkpoint_interval=0.0,
        resume=True,
        progress=False,
        after_epoch=lambda epoch: print(epoch.number, flush=True),
    )


def start(path: Path, epochs: int) -> subprocess.Popen[bytes]:
    """Train in a process of its own."""
    command = [sys.executable, __file__, "--train", str(path), "--epochs", str(epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def contents(path: Path) -> dict[str, bytes]:
    """All bits of what a checkpoint has; raises if it is not whole."""
    arrays = gatewise.load_arrays(path)
    return {name: np.ascontiguousarray(arrays[name]).tobytes() for name in arrays}


def steps(path: Path) -> int:
    """How many steps a checkpoint has behind it."""
    if not path.exists():
        return 0
    arrays = gatewise.load_arrays(path)
    return max(int(arrays[name]) for name in arrays if name.startswith("optimizer.steps."))


def main() -> None:
    """Kill, look, and compare with a training that was let alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train, options.epochs)
        return
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path, alone = Path(folder, "killed.safetensors"), Path(folder, "alone.safetensors")
        began = time.perf_counter()
        assert start(alone, options.epochs).wait() == 0
        took = time.perf_counter() - began
        kills = ends = before = 0
        while kills < options.kills:
            process = start(path, options.epochs)
            time.sleep(moments.uniform(0, 0.6) * took)
            process.send_signal(signal.SIGKILL)
            epochs = process.communicate()[0].split()
            kills += process.returncode == -signal.SIGKILL
            after = steps(path)
            if path.exists():
                contents(path)
            # At most the one step whose checkpoint was being written.
            assert after >= max(before, STEPS * int(epochs[-1]) - 1 if epochs else 0)
            before = after
            if after == STEPS * options.epochs:
                assert start(path, options.epochs).wait() == 0
                assert contents(path) == contents(alone)
                path.unlink()
                before, ends = 0, ends + 1
        assert start(path, options.epochs).wait() == 0
        assert contents(path) == contents(alone)
        left = sorted(each.name for each in Path(folder).iterdir())
        assert left == [alone.name, path.name], left
    print(
        f"{kills} kills, {ends + 1} trainings ended with the same bits, 0 checkpoints lost"
    )


if __name__ == "__main__":
    main()
