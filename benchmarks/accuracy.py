"""What each narrow format does to the answers of real networks.

The words that g2p_en's network pronounces otherwise than in float32, how far silero-vad's
probabilities of speech move, and how many digits a small classifier still tells apart.
FOLDER has the packages, as the examples that this uses say; digits need scikit-learn.

    python benchmarks/accuracy.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gatewise
import gatewise.training

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import classify_digits
import g2p_en
import silero_vad
import silero_vad_peers

FORMATS: dict[str, Callable[[Any], Any]] = {
    "float32": lambda net: net,
    "float16": lambda net: net.quantize("float16"),
    "int8, 15 bits": lambda net: net.quantize("int8", activations=15),
    "int8, 8 bits": lambda net: net.quantize("int8", activations=8),
}


def pronounced(folder: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the phonemes of 2000 words that no dictionary has."""
    arrays = gatewise.load_arrays(Path(folder) / "g2p_en" / "checkpoint20.npz")
    words = g2p_en.made_up(2000)
    for name, narrow in FORMATS.items():
        network = g2p_en.G2p(arrays)
        network.encoder = narrow(network.encoder)
        network.decoder = narrow(network.decoder)
        network.stream = network.decoder.stream()
        yield name, network(words)


def detected(folder: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the probabilities of a made-up voice."""
    data = Path(folder) / "silero_vad" / "data"
    arrays = gatewise.load_arrays(data / "silero_vad_16k.safetensors")
    clip = silero_vad_peers.voice(seconds=120)
    for name, narrow in FORMATS.items():
        detector = silero_vad.SileroVAD(arrays)
        detector.decoder = narrow(detector.decoder)
        yield name, detector(clip)


def told_apart() -> Iterator[tuple[str, float]]:
    """Yield the share of digits that were told apart."""
    data: Any = classify_digits.load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    digits = data.target[order]
    x, lengths = classify_digits.columns(data.images[order])
    targets = classify_digits.at_the_end(digits, lengths, x.shape[1])
    model = gatewise.Sequential(
        gatewise.GRU(8, 64, seed=0), gatewise.Linear(64, 10, seed=1)
    )
    batches = gatewise.training.minibatches(x[:1200], targets[:1200], lengths[:1200])
    loss = gatewise.softmax_cross_entropy
    for _ in gatewise.fit(model, batches, loss, gatewise.Adam(0.005), epochs=25):
        pass
    for name, narrow in FORMATS.items():
        scores, _ = narrow(model)(x[1200:], lengths=lengths[1200:])
        answers = scores[np.arange(len(scores)), lengths[1200:] - 1].argmax(axis=1)
        yield name, float((answers == digits[1200:]).mean())


def main(folder: str) -> None:
    (_, wanted), *others = pronounced(folder)
    for name, answers in others:
        equal = sum(a == b for a, b in zip(answers, wanted, strict=True))
        print(f"g2p_en, {name}: {equal} of {len(wanted)} words as in float32")
    (_, first), *moved = detected(folder)
    for name, probabilities in moved:
        largest = np.abs(probabilities - first).max()
        mean = np.abs(probabilities - first).mean()
        changed = int(((probabilities > 0.5) != (first > 0.5)).sum())
        print(f"silero-vad, {name}: difference of {largest:.1e} at most, {mean:.1e} on the")
        print(f"    mean; {changed} of {len(first)} decisions are others")
    for name, share in told_apart():
        print(f"digits, {name}: {100 * share:.2f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
