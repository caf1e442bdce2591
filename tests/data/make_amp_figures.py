"""Write what NeuralAmpModelerCore and RTNeural make of random networks' files.

Each argument is a program of the caller's own on top of one of them, called with the path
of a file and the numbers of features in and out: it reads samples from its input, one step
after the other, and writes a line for each. NeuralAmpModelerCore's should not let silence
through the network first, and RTNeural's computes in double.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.formats import amp_files

STEPS = 40


def run(program: str, said: amp_files.Json, inputs: int, outputs: int) -> amp_files.Array:
    x = amp_files.samples(inputs, STEPS)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(amp_files.encoded(said))
        file.flush()
        done = subprocess.run(
            [program, file.name, str(inputs), str(outputs)],
            input=" ".join(map(repr, x.ravel().tolist())),
            capture_output=True,
            text=True,
            check=True,
        )
    lines = [list(map(float, line.split())) for line in done.stdout.splitlines()]
    return np.array(lines, np.float32)


def main(nam: str, rtneural: str) -> None:
    figures = {}
    for number, sizes in enumerate(amp_files.NAM_SIZES):
        said = amp_files.nam_file(*sizes, seed=number)
        figures[f"nam_{number}"] = run(nam, said, sizes[0], sizes[3])
    for number, kinds in enumerate(amp_files.KINDS):
        inputs = 1 + number % 2
        said = amp_files.rtneural_file(kinds, inputs, seed=number)
        figures[f"rtneural_{number}"] = run(rtneural, said, inputs, kinds[-1][1])
    for name, array in figures.items():
        assert len(array) == STEPS, name
    np.savez(Path(__file__).with_name("amp_figures.npz"), **figures)


if __name__ == "__main__":
    main(*sys.argv[1:])
