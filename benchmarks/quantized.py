"""What narrow weights cost and save: bytes, time for a step, and a trained model's bits.

A character model is trained for ``--seconds`` on the English text that every CPython
carries. Then its recurrent layer streams, one step at a time and in one thread, with its
weights in each format. The formats take turns of two milliseconds or more, and the medians
of their processor time are compared: what else the machine does hits all alike.

    python benchmarks/quantized.py [--cell lstm] [--hidden-size 512] [--seconds 20]
"""

from __future__ import annotations

import os

# Before NumPy is imported, since its BLAS reads it then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import statistics
from collections.abc import Callable
from time import process_time
from typing import Any, NamedTuple

import numpy as np

import gatewise
from gatewise.kernels import chooser
from gatewise.layers import Recurrent, Sequential, Stream
from gatewise.training.language_model import CELLS, LanguageModel
from gatewise.training.language_training import LanguageTraining, Settings
from gatewise.training.progress import Progress
from gatewise.training.text import Vocabulary, reference_text, split_held_out

# What `quantize` is given; nothing for the layer itself.
FORMATS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float16": {"weight_format": "float16"},
    "int8, 15 bits": {"weight_format": "int8", "activations": 15},
    "int8, 8 bits": {"weight_format": "int8", "activations": 8},
}
# The least processor time that is measured at once, in seconds, and how often.
TURN = 2e-3
TURNS = 300


class Row(NamedTuple):
    """What the table says of a format."""

    name: str
    nbytes: int
    seconds: float
    bits: float
    difference: float


def train(cell: str, hidden_size: int, seconds: float) -> tuple[LanguageModel, Any]:
    """Return a trained model and the tokens held out."""
    text = reference_text()
    model = LanguageModel(
        Vocabulary(text), cell=cell, hidden_size=hidden_size, num_layers=1
    )
    settings = Settings(batch_size=16, length=32, learning_rate=1e-2, seed=0)
    with Progress() as progress:
        LanguageTraining(model, text, settings).run(seconds=seconds, progress=progress)
    return model, split_held_out(model.vocabulary.encode(text))[1]


def turn(stream: Stream, rows: Any) -> float:
    """Return the seconds for one step."""
    start = process_time()
    for row in rows:
        stream(row)
    return (process_time() - start) / len(rows)


def step_seconds(layers: list[Any], rows: Any) -> list[float]:
    """Return the median for each layer, measured in turns."""
    streams = [layer.stream(num_threads=1) for layer in layers]
    counts = [min(int(TURN / turn(s, rows[:100])) + 1, len(rows)) for s in streams]
    times: list[list[float]] = [[] for _ in streams]
    with Progress() as progress:
        for done in range(TURNS):
            for stream, count, own in zip(streams, counts, times, strict=True):
                own.append(turn(stream, rows[:count]))
            progress.update((done + 1) / TURNS, "steps")
    return [statistics.median(own) for own in times]


def measure(model: LanguageModel, held_out: Any) -> list[Row]:
    """Return what is known of every format."""
    wide, *others = model.network.layers
    assert isinstance(wide, Recurrent)
    layers: list[Any] = [
        wide.quantize(**options) if options else wide for options in FORMATS.values()
    ]
    rows = np.eye(wide.input_size, dtype=np.float32)[held_out[:1000]]
    wanted, _ = wide(held_out[:5000])
    seconds = step_seconds(layers, rows)
    found = []
    for name, layer, own in zip(FORMATS, layers, seconds, strict=True):
        model.network = Sequential(layer, *others)
        bits = model.bits_per_character(held_out)
        difference = np.abs(layer(held_out[:5000])[0] - wanted).max()
        nbytes = sum(array.nbytes for array in layer.parameters().values())
        found.append(Row(name, nbytes, own, bits, float(difference)))
    return found


def show(rows: list[Row], write: Callable[[str], object] = print) -> None:
    columns = (
        "weights",
        "bytes",
        "ratio",
        "us a step",
        "ratio",
        "bits",
        "largest difference",
    )
    write(
        "".join(
            f"{c:>{w}}" for c, w in zip(columns, (14, 12, 7, 11, 7, 9, 20), strict=True)
        )
    )
    first = rows[0]
    for row in rows:
        write(
            f"{row.name:>14}{row.nbytes:12,}{first.nbytes / row.nbytes:7.2f}"
            f"{row.seconds * 1e6:11.2f}{first.seconds / row.seconds:7.2f}"
            f"{row.bits:9.4f}{row.difference:20.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=list(CELLS), default="gru")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=20.0, help="time to train for")
    options = parser.parse_args()
    model, held_out = train(options.cell, options.hidden_size, options.seconds)
    recurrent = model.network.layers[0]
    print(f"{recurrent!r}, {chooser.name} backend, gatewise {gatewise.__version__}")
    print(f"bits per character on {held_out.size:,} characters held out; ratio: to float32")
    show(measure(model, held_out))


if __name__ == "__main__":
    main()
