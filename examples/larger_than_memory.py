"""Train on a file of sequences that is never in memory as a whole.

The sequences are tones of three pitches in noise twice as loud, on several channels and of
unequal lengths. They stand one after another in a single array in a file, which is written
piece by piece and opened as a memory map; a batch reads its own sequences and no others,
those of about one length together. In the end it says how much memory training took beside
the file's size. The file is in a temporary directory, and removed; an argument says how
many megabytes it shall have.

Needs nothing but gatewise.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

import gatewise
from gatewise.training import Cosine, JoinedSequences, WarmUp, sequence_batches

CHANNELS = 4
MEGABYTES = 128
SHORTEST, LONGEST = 100, 300
# In turns a step.
PITCHES = (0.08, 0.1, 0.12)


def write(path: Path, megabytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Write tones to a file, and return their lengths and which pitch they have."""
    rng = np.random.default_rng(0)
    count = megabytes * 2**20 // (4 * CHANNELS * (SHORTEST + LONGEST) // 2)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    kinds = rng.integers(0, len(PITCHES), count)
    rows: Any = np.lib.format.open_memmap(
        path, "w+", np.float32, (int(lengths.sum()), CHANNELS)
    )
    end = 0
    for length, kind in zip(lengths.tolist(), kinds.tolist(), strict=True):
        turns = PITCHES[kind] * np.arange(length)[:, None] + rng.random(CHANNELS)
        noise = 2 * rng.standard_normal((length, CHANNELS))
        rows[end : end + length] = np.sin(2 * np.pi * turns) + noise
        end += length
    rows.flush()
    return lengths, kinds


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tones.npy")
        lengths, kinds = write(path, megabytes)
        size = path.stat().st_size
        print(f"{len(lengths)} sequences in a file of {size / 2**20:.0f} MB")

        rows = np.load(path, mmap_mode="r")
        ends = np.cumsum(lengths)
        held = len(lengths) // 10
        cut = int(ends[-held - 1])
        training = JoinedSequences(rows[:cut], lengths[:-held], kinds[:-held])
        unseen = JoinedSequences(rows[cut:], lengths[-held:], kinds[-held:])
        model = gatewise.Sequential(
            gatewise.Conv1d(CHANNELS, 16, 16, stride=4, seed=0),
            gatewise.Tanh(),
            gatewise.GRU(16, 16, seed=1),
            gatewise.AttentionPool(16, seed=2),
            gatewise.Linear(16, 3, seed=3),
        )
        tracemalloc.start()
        gatewise.fit(
            model,
            sequence_batches(training, batch_size=16),
            gatewise.cross_entropy,
            gatewise.Adam(0.01),
            epochs=1,
            schedule=WarmUp(0.1, then=Cosine()),
            max_norm=1.0,
            metrics=[gatewise.accuracy],
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found = gatewise.evaluate(
            model,
            sequence_batches(unseen, batch_size=16, shuffle=False),
            metrics=[gatewise.accuracy],
        )
        # Windows removes no file that is open.
        del rows, training, unseen
    print(f"training took {peak / 2**20:.1f} MB of memory for arrays")
    print(f"of the sequences held out, {found['accuracy']:.1%} are told by their pitch")


if __name__ == "__main__":
    main()
