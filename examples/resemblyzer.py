"""Tell voices apart with Resemblyzer's network, without PyTorch.

The weights come out of the package's own archive, and nothing of it has to be installed:

    pip install --no-deps --target FOLDER Resemblyzer==0.1.4
    python examples/resemblyzer.py FOLDER

The network turns the mel spectrum of what somebody says, 40 bands in steps of 10 ms, into
256 numbers that are alike for one voice. Random spectra stand for voices here, since to
make one of a recording takes more packages. This compares the numbers, and the times on
one thread and in turns, with the package's own code in PyTorch (left out without).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from unittest.mock import MagicMock

import in_turns
import numpy as np

import gatewise

# So much of a voice is looked at in one piece.
STEPS = 160


class VoiceEncoder:
    """What a stack of LSTMs knows at the end of each spectrum, as a vector of length 1."""

    def __init__(self, arrays: Mapping[str, np.ndarray], prefix: str = "") -> None:
        self.lstm = gatewise.LSTM.from_state_dict(arrays, prefix=f"{prefix}lstm.")
        self.linear = gatewise.Linear.from_state_dict(arrays, prefix=f"{prefix}linear.")

    def __call__(self, mels: np.ndarray) -> np.ndarray:
        """Return an embedding for each mel spectrum of ``(batch, steps, bands)``."""
        _, (hidden, _) = self.lstm(mels)
        embeddings = np.maximum(self.linear(hidden[-1]), 0)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        return embeddings


def random_mels(count: int) -> np.ndarray:
    """Return spectra that are about as loud as speech."""
    generator = np.random.default_rng(0)
    return generator.gamma(0.5, 0.1, (count, STEPS, 40)).astype(np.float32)


def theirs(folder: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the package's own network, without what makes spectra of recordings."""
    sys.modules["resemblyzer.audio"] = MagicMock()
    sys.path.insert(0, folder)
    try:
        torch = import_module("torch")
    except ImportError as error:
        print(f"not compared with the package's own network: {error}")
        return None
    torch.set_num_threads(1)
    encoder = import_module("resemblyzer.voice_encoder").VoiceEncoder("cpu", verbose=False)

    def embed(mels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            embeddings: np.ndarray = encoder(torch.from_numpy(mels)).numpy()
        return embeddings

    return embed


def main(folder: str) -> None:
    gatewise.set_num_threads(1)
    path = Path(folder) / "resemblyzer" / "pretrained.pt"
    encoder = VoiceEncoder(gatewise.load_arrays(path), prefix="model_state.")
    mels = random_mels(32)
    embeddings = encoder(mels)
    print(f"{len(mels)} embeddings of {embeddings.shape[1]} numbers")
    own = theirs(folder)
    if own is not None:
        difference = np.abs(embeddings - own(mels)).max()
        print(f"largest difference from the package's: {difference:.1e}")
    for count in (1, 8, 32):
        some, runs = mels[:count], {}
        runs["gatewise"] = lambda some=some: encoder(some)
        if own is not None:
            runs["the package, in PyTorch"] = lambda some=some: own(some)
        print(f"{count} at a time")
        in_turns.show(in_turns.times(runs, rounds=15), count, "voice")


if __name__ == "__main__":
    main(*sys.argv[1:])
