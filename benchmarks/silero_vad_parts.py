"""Where the time of a live chunk of silero-vad goes, each part alone and all in turn.

    python benchmarks/silero_vad_parts.py FOLDER

FOLDER is what `examples/silero_vad.py` takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gatewise

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import silero_vad

ROUNDS, CALLS = 60, 500


def medians(parts: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return what a call of each part takes, over rounds in which all have their turns."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, part in parts.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                part()
            seconds[name].append((time.perf_counter() - began) / CALLS)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def main(folder: str) -> None:
    gatewise.set_num_threads(1)
    path = Path(folder) / "silero_vad" / "data" / "silero_vad_16k.safetensors"
    detector = silero_vad.SileroVAD(gatewise.load_arrays(path))
    chunk = 0.1 * np.random.default_rng(0).standard_normal(detector.chunk).astype(
        np.float32
    )
    stream, narrow = detector.stream(), detector.stream()
    narrow.decoder = detector.decoder.quantize("float16").stream()
    window, edge = detector.windows(1), detector.edge
    waves = detector.spectrum(window)
    spectrum = np.abs(waves.view(np.complex64))
    features = detector.encoder(spectrum)[0][0, 0]
    decoder = detector.decoder.stream()

    def place() -> None:
        samples = window[0, :, 0]
        samples[:edge] = samples[-2 * edge : -edge]
        samples[edge:-edge] = chunk
        samples[-edge:] = samples[-edge - 2 : -2 * edge - 2 : -1]

    parts: dict[str, Callable[[], Any]] = {
        "samples in their places": place,
        "spectrum": lambda: detector.spectrum(window),
        "magnitude": lambda: np.abs(waves.view(np.complex64)),
        "four convolutions with ReLUs": lambda: detector.encoder(spectrum),
        "LSTM to probability": lambda: decoder(features),
    }
    alone = medians(parts)
    for name, seconds in alone.items():
        print(f"{name:32} {seconds * 1e6:6.1f} us")
    print(f"{'all of them':32} {sum(alone.values()) * 1e6:6.1f} us")
    wholes = {
        "a chunk, one after another": lambda: stream(chunk),
        "the LSTM's weights in float16": lambda: narrow(chunk),
    }
    for name, seconds in medians(wholes).items():
        print(f"{name:32} {seconds * 1e6:6.1f} us")


if __name__ == "__main__":
    main(*sys.argv[1:])
