"""The examples' networks, smaller and with weights of chance, against their definitions."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.safetensors import write_safetensors

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

Arrays = dict[str, np.ndarray]

silero_vad = pytest.mark.parametrize("example", ["silero_vad"], indirect=True)
g2p_en = pytest.mark.parametrize("example", ["g2p_en"], indirect=True)
resemblyzer = pytest.mark.parametrize("example", ["resemblyzer"], indirect=True)


def drawn(generator: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> Arrays:
    return {
        name: generator.uniform(-1, 1, shape).astype(np.float32) * 0.7
        for name, shape in shapes.items()
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def lstm_step(
    arrays: Arrays, names: list[str], x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    w, u, b, d = (arrays[name].astype(float) for name in names)
    i, f, g, o = np.split(w @ x + b + u @ h + d, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(arrays: Arrays, part: str, token: int, h: np.ndarray) -> np.ndarray:
    names = [f"{part}_{name}" for name in ("w_ih", "b_ih", "w_hh", "b_hh", "emb")]
    w, b, u, d, table = (arrays[name].astype(float) for name in names)
    r, z, n = np.split(w @ table[token] + b, 3)
    hr, hz, hn = np.split(u @ h + d, 3)
    z = sigmoid(z + hz)
    return np.asarray((1 - z) * np.tanh(n + sigmoid(r + hr) * hn) + z * h)


def convolved(x: np.ndarray, weight: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """``(features, steps)`` by the definition."""
    x = np.pad(x, ((0, 0), (padding, padding)))
    size = weight.shape[2]
    starts = range(0, x.shape[1] - size + 1, stride)
    return np.stack([np.einsum("oik,ik->o", weight, x[:, s : s + size]) for s in starts], 1)


def silero_arrays() -> Arrays:
    """A network like silero-vad's, an eighth of its size in most layers."""
    shapes: dict[str, tuple[int, ...]] = {"stft_conv.weight": (34, 1, 32)}
    sizes = [(16, 17, 3), (8, 16, 3), (7, 8, 3), (12, 7, 3)]
    for number, shape in enumerate(sizes, 1):
        shapes[f"conv{number}.weight"] = shape
        shapes[f"conv{number}.bias"] = shape[:1]
    shapes |= {"lstm_cell.weight_ih": (36, 12), "lstm_cell.weight_hh": (36, 9)}
    shapes |= {"lstm_cell.bias_ih": (36,), "lstm_cell.bias_hh": (36,)}
    shapes |= {"final_conv.weight": (1, 9, 1), "final_conv.bias": (1,)}
    arrays = drawn(np.random.default_rng(1), shapes)
    arrays["final_conv.weight"] *= 8
    return arrays


def silero_in_float64(arrays: Arrays, samples: np.ndarray, chunk: int) -> np.ndarray:
    """The probabilities of chunks as the package's network computes them."""
    wide = {name: array.astype(float) for name, array in arrays.items()}
    edge, bins = chunk // 8, len(wide["stft_conv.weight"]) // 2
    padded = np.concatenate([np.zeros(edge), samples])
    hidden = wide["lstm_cell.weight_hh"].shape[1]
    h = c = np.zeros(hidden)
    names = [
        f"lstm_cell.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    results = []
    for start in range(0, len(samples), chunk):
        window = np.pad(padded[start : start + edge + chunk], (0, edge), "reflect")
        waves = convolved(window[None], wide["stft_conv.weight"], chunk // 4, 0)
        x = np.sqrt(waves[:bins] ** 2 + waves[bins:] ** 2)
        for number, stride in enumerate((1, 2, 2, 1), 1):
            bias = wide[f"conv{number}.bias"][:, None]
            x = np.maximum(convolved(x, wide[f"conv{number}.weight"], stride, 1) + bias, 0)
        h, c = lstm_step(arrays, names, x[:, 0], h, c)
        last = wide["final_conv.weight"][0, :, 0] @ np.maximum(h, 0)
        results.append(sigmoid(last + wide["final_conv.bias"][0]))
    return np.array(results)


@silero_vad
def test_speech_is_found_as_by_the_definition(example: Any, backend: str) -> None:
    arrays = silero_arrays()
    detector = example.SileroVAD(arrays)
    assert (detector.chunk, detector.edge) == (64, 8)
    samples = np.random.default_rng(2).standard_normal(64 * 21).astype(np.float32) * 0.2
    expected = silero_in_float64(arrays, samples, 64)
    assert np.ptp(expected) > 0.1
    assert np.abs(detector(samples) - expected).max() < 1e-5
    # The blocks' cut makes no difference, and what is missing of a chunk counts as silence.
    assert np.abs(detector(samples, block=4) - expected).max() < 1e-5
    ended = np.concatenate([samples[:-20], np.zeros(20, np.float32)])
    assert np.array_equal(detector(samples[:-20]), detector(ended))
    assert detector(samples[:0]).shape == (0,)
    stream = detector.stream()
    live = [stream(chunk) for chunk in samples.reshape(-1, 64)]
    assert np.abs(live - expected).max() < 1e-5


@silero_vad
def test_the_parts_of_a_chunk_are_measured(
    example: Any,
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = BENCHMARKS / "silero_vad_parts.py"
    if not path.is_file():
        pytest.skip("the benchmarks are not among these files")
    data = tmp_path / "silero_vad" / "data"
    data.mkdir(parents=True)
    with open(data / "silero_vad_16k.safetensors", "wb") as file:
        write_safetensors(file, silero_arrays(), {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "silero_vad", example)
    monkeypatch.setattr(gatewise, "set_num_threads", lambda num_threads: None)
    benchmark = runpy.run_path(str(path))
    names = benchmark["main"].__globals__
    names |= {"ROUNDS": 2, "CALLS": 1}
    benchmark["main"](str(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    seconds = [float(line.split()[-2]) for line in lines]
    assert len(seconds) == 8
    assert abs(sum(seconds[:5]) - seconds[5]) < 0.5


@silero_vad
def test_speech_has_a_start_and_an_end(example: Any) -> None:
    probabilities = np.array([0.9, 0.1, 0.2, 0.6, 0.7, 0.1, 0.8])
    assert example.speech(probabilities, 0.5) == [(0, 0.5), (1.5, 2.5), (3, 3.5)]
    assert example.speech(probabilities[1:3], 0.5) == []


def g2p_arrays(hidden: int = 9, features: int = 5) -> Arrays:
    shapes: dict[str, tuple[int, ...]] = {"fc_w": (74, hidden), "fc_b": (74,)}
    for part, tokens in (("enc", 29), ("dec", 74)):
        shapes[f"{part}_emb"] = (tokens, features)
        shapes[f"{part}_w_ih"] = (3 * hidden, features)
        shapes[f"{part}_w_hh"] = (3 * hidden, hidden)
        shapes |= {f"{part}_b_ih": (3 * hidden,), f"{part}_b_hh": (3 * hidden,)}
    arrays = drawn(np.random.default_rng(103), shapes)
    # So that some words end early.
    arrays["fc_b"][3] = 0.9
    return {name: 2 * array for name, array in arrays.items()}


def spelt_in_float64(arrays: Arrays, letters: list[int]) -> list[int]:
    """The phonemes, by number, as the package's network chooses them."""
    h = np.zeros(arrays["enc_w_hh"].shape[1])
    for token in [*letters, 2]:
        h = gru_step(arrays, "enc", token, h)
    said, token = [], 2
    while len(said) < 20:
        h = gru_step(arrays, "dec", token, h)
        token = int(np.argmax(arrays["fc_w"].astype(float) @ h + arrays["fc_b"]))
        if token == 3:
            break
        said.append(token)
    return said


@g2p_en
def test_words_are_spelt_as_by_the_definition(example: Any, backend: str) -> None:
    arrays = g2p_arrays()
    network = example.G2p(arrays)
    words = ["a", "word", "gatewise", "o'clock", "recurrently", "", "xyzzy", "plugh"]
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    expected = [
        [
            example.PHONEMES[token]
            for token in spelt_in_float64(
                arrays, [3 + alphabet.index(c) if c in alphabet else 1 for c in word]
            )
        ]
        for word in words
    ]
    lengths = {len(phonemes) for phonemes in expected}
    assert 20 in lengths
    assert len(lengths) > 2
    assert network(words) == expected
    assert [network([word])[0] for word in words] == expected


@g2p_en
def test_made_up_words_differ(example: Any) -> None:
    words = example.made_up(500)
    assert len(set(words)) > 450
    assert set("".join(words)) <= set("abcdefghijklmnopqrstuvwxyz'")


@resemblyzer
def test_voices_are_embedded_as_by_the_definition(example: Any, backend: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (6, 7), "linear.bias": (6,)}
    for layer, inputs in enumerate((5, 7, 7)):
        shapes |= {f"lstm.weight_ih_l{layer}": (28, inputs)}
        shapes |= {f"lstm.weight_hh_l{layer}": (28, 7)}
        shapes |= {f"lstm.bias_ih_l{layer}": (28,), f"lstm.bias_hh_l{layer}": (28,)}
    arrays = drawn(np.random.default_rng(4), shapes)
    mels = np.random.default_rng(5).random((3, 11, 5)).astype(np.float32)
    expected = []
    for steps in mels.astype(float):
        for layer in range(3):
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            names = [f"lstm.{kind}_l{layer}" for kind in kinds]
            h = c = np.zeros(7)
            outputs = []
            for step in steps:
                h, c = lstm_step(arrays, names, step, h, c)
                outputs.append(h)
            steps = np.array(outputs)
        raw = np.maximum(arrays["linear.weight"] @ steps[-1] + arrays["linear.bias"], 0)
        expected.append(raw / np.linalg.norm(raw))
    prefixed = {f"model_state.{name}": array for name, array in arrays.items()}
    encoder = example.VoiceEncoder(prefixed, prefix="model_state.")
    assert np.abs(encoder(mels) - expected).max() < 1e-5
