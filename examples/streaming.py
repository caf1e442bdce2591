"""Run a layer as a live signal comes in: one step at a time, each with a deadline.

A stream keeps its state and its buffers, so a step costs little more than its arithmetic.
This prints how long steps take, and checks that they give what the whole signal gives.
"""

from __future__ import annotations

import time

import numpy as np

import gatewise

SAMPLE_RATE = 16_000
# A chunk of this many samples is one step, so the next step begins this much later.
CHUNK = 160
DEADLINE = CHUNK / SAMPLE_RATE


def signal(seconds: float) -> np.ndarray:
    """Return a tone that rises and falls in noise, as chunks ``(steps, CHUNK)``."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(len(times))
    tone = np.sin(2 * np.pi * 440 * times) * np.sin(np.pi * times) ** 2
    samples: np.ndarray = (tone + 0.1 * noise).astype(np.float32)
    return samples.reshape(-1, CHUNK)


def run(layer: gatewise.GRU, chunks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs and the time of every step."""
    stream = layer.stream()
    outputs = np.empty((len(chunks), layer.hidden_size), np.float32)
    times = np.empty(len(chunks))
    for i, chunk in enumerate(chunks):
        began = time.perf_counter()
        outputs[i] = stream(chunk)
        times[i] = time.perf_counter() - began
    return outputs, times


def main() -> None:
    chunks = signal(seconds=10)
    print(f"{len(chunks)} steps of {CHUNK} samples, {DEADLINE * 1e3:.0f} ms for each")
    print("hidden size   median   99 %   worst (microseconds)   late   difference")
    for hidden_size in (32, 64, 128, 256):
        layer = gatewise.GRU(CHUNK, hidden_size, seed=0)
        outputs, times = run(layer, chunks)
        whole, _ = layer(chunks)
        middle, most, worst = np.quantile(times, [0.5, 0.99, 1]) * 1e6
        late = int((times > DEADLINE).sum())
        print(
            f"{hidden_size:11} {middle:8.1f} {most:6.1f} {worst:7.1f} {late:21} "
            f"{np.abs(outputs - whole).max():12.1e}"
        )


if __name__ == "__main__":
    main()
