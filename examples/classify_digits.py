"""Tell handwritten digits apart by reading them column by column.

A picture is a sequence of its inked columns, so a narrow 1 is shorter than a wide 0. A GRU
reads a batch of unequal lengths, and its output at each sequence's own end says the digit.
It is measured against the digit whose mean picture is nearest, and shows what it misreads.

Needs scikit-learn, which carries the pictures: pip install "gatewise[examples]"
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import gatewise
from gatewise.training import minibatches

# For ink from 0 to 16, two steps a character.
INKS = " .:-=+*#@"


def columns(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each picture's inked columns as a sequence ``(time, rows)``, and lengths."""
    inked = pictures.max(axis=1) > 0
    first = inked.argmax(axis=1)
    lengths = pictures.shape[2] - inked[:, ::-1].argmax(axis=1) - first
    sequences = np.zeros((len(pictures), pictures.shape[2], pictures.shape[1]), np.float32)
    for i, (start, length) in enumerate(zip(first, lengths, strict=True)):
        sequences[i, :length] = pictures[i, :, start : start + length].T / 16
    return sequences, lengths


def nearest_mean(known: np.ndarray, digits: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Return for each picture the digit whose mean over the known pictures is nearest."""
    means = np.stack([known[digits == digit].mean(axis=0) for digit in range(10)])
    nearest: np.ndarray = ((pictures[:, None] - means) ** 2).sum(axis=(2, 3)).argmin(axis=1)
    return nearest


def show(pictures: np.ndarray, captions: list[str]) -> None:
    """Print pictures side by side in characters, darker for more ink."""
    for row in range(pictures.shape[1]):
        lines = ("".join(INKS[int(ink) // 2] * 2 for ink in p[row]) for p in pictures)
        print("  ".join(lines).rstrip())
    print("  ".join(f"{caption:^{2 * pictures.shape[2]}}" for caption in captions).rstrip())


def main() -> None:
    data: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    pictures, digits = data.images[order], data.target[order]
    x, lengths = columns(pictures)
    train, validation, test = slice(0, 1200), slice(1200, 1400), slice(1400, None)
    print(f"{len(x)} pictures as sequences of {lengths.min()} to {lengths.max()} columns")

    model = gatewise.Sequential(
        gatewise.GRU(8, 64, seed=0), gatewise.Last(), gatewise.Linear(64, 10, seed=1)
    )
    history = gatewise.fit(
        model,
        minibatches(x[train], digits[train], lengths[train]),
        gatewise.cross_entropy,
        gatewise.Adam(0.005),
        epochs=60,
        metrics=[gatewise.accuracy],
        validation=minibatches(x[validation], digits[validation], lengths[validation]),
        patience=10,
        max_norm=1.0,
    )
    answers = gatewise.predict(model, x[test], lengths=lengths[test]).argmax(axis=1)
    simple = nearest_mean(pictures[train], digits[train], pictures[test])
    print(f"after {len(history)} epochs, of {len(answers)} unseen digits right:")
    for name, found in {"the GRU": answers, "nearest mean picture": simple}.items():
        print(f"  {name:22} {(found == digits[test]).mean():.1%}")

    wrong = np.flatnonzero(answers != digits[test])[:4]
    print("\nmisread by the GRU, for instance:\n")
    captions = [f"{digits[test][i]} read as {answers[i]}" for i in wrong]
    show(pictures[test][wrong], captions)


if __name__ == "__main__":
    main()
