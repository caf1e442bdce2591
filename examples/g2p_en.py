"""Say how English words are pronounced, with g2p_en's network and without its packages.

The weights come out of the package's own archive, and nothing of it has to be installed:

    pip install --no-deps --target FOLDER g2p_en==2.1.0
    python examples/g2p_en.py FOLDER [WORD ...]

This prints the phonemes of the words. Then it makes up some thousand words, and compares
phonemes and times, on one thread and in turns, with the package's own NumPy code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import in_turns
import numpy as np

import gatewise

LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]

# The package's own order, by which the network knows them.
_PHONEMES = """<pad> <unk> <s> </s>
    AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH
    EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG
    OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH"""
PHONEMES = _PHONEMES.split()
START, END = PHONEMES.index("<s>"), PHONEMES.index("</s>")
LONGEST = 20


def gru(arrays: Mapping[str, np.ndarray], part: str) -> gatewise.GRU:
    """Return the encoder or the decoder, which reads tokens.

    What the embedding of a token adds to the gates is the same at every step, so the two
    matrices become one, which has a column for each token.
    """
    return gatewise.GRU.from_state_dict(
        {
            "weight_ih_l0": arrays[f"{part}_w_ih"] @ arrays[f"{part}_emb"].T,
            "weight_hh_l0": arrays[f"{part}_w_hh"],
            "bias_ih_l0": arrays[f"{part}_b_ih"],
            "bias_hh_l0": arrays[f"{part}_b_hh"],
        },
        tokens=True,
    )


class G2p:
    """Spells words in phonemes, one word or many at a time."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.encoder = gru(arrays, "enc")
        last = gatewise.Linear.from_state_dict(
            {"weight": arrays["fc_w"], "bias": arrays["fc_b"]}
        )
        self.decoder = gatewise.Sequential(gru(arrays, "dec"), last)
        self.stream = self.decoder.stream()

    def __call__(self, words: Sequence[str]) -> list[list[str]]:
        """Return each word's phonemes, of which each is the likeliest one to follow."""
        lengths = [len(word) + 1 for word in words]
        letters = np.full((len(words), max(lengths)), LETTERS.index("</s>"))
        for row, word in zip(letters, words, strict=True):
            row[: len(word)] = [LETTERS.index(c) if c in LETTERS else 1 for c in word]
        _, state = self.encoder(letters, lengths=lengths)
        if self.stream.batch != len(words):
            self.stream = self.decoder.stream(batch=len(words))
        self.stream.reset((state, None))
        tokens, ended = np.full(len(words), START), np.zeros(len(words), bool)
        said: list[np.ndarray] = []
        while len(said) < LONGEST:
            tokens = self.stream(tokens).argmax(axis=-1)
            ended |= tokens == END
            if ended.all():
                break
            said.append(tokens)
        rows = np.array([*said, np.full(len(words), END)]).T.tolist()
        return [[PHONEMES[token] for token in row[: row.index(END)]] for row in rows]


def theirs(folder: str) -> Any:
    """Return the package's own G2p, without the dictionaries that it looks in first."""
    absent = ("inflect", "nltk", "nltk.corpus", "nltk.tokenize")
    sys.modules.update({name: MagicMock() for name in absent})
    sys.path.insert(0, folder)
    return import_module("g2p_en.g2p").G2p()


def made_up(count: int) -> list[str]:
    """Return words that no dictionary has, of one to five syllables."""
    generator = np.random.default_rng(0)
    starts = ["", *"bcdfghjklmnprstvwyz", "ch", "qu", "sh", "st", "th", "tr", "str", "kn"]
    middles = [*"aeiou", "ai", "ea", "ee", "oo", "ou", "y", "igh"]
    ends = ["", "", *"bdgklmnprstx", "ck", "ng", "nt", "ss", "tch", "'s", "e", "tion"]

    def syllable() -> str:
        return "".join(str(generator.choice(part)) for part in (starts, middles, ends))

    return ["".join(syllable() for _ in range(1 + n % 5)) for n in range(count)]


def main(folder: str, *words: str) -> None:
    gatewise.set_num_threads(1)
    network = G2p(gatewise.load_arrays(Path(folder) / "g2p_en" / "checkpoint20.npz"))
    for word, phonemes in zip(words, network(words) if words else [], strict=True):
        print(word, *phonemes)

    own, words = theirs(folder), tuple(made_up(2000))
    expected = [own.predict(word) for word in words]
    alone, together = [network([word])[0] for word in words], network(words)
    for way, answers in (("one by one", alone), ("all together", together)):
        equal = sum(a == b for a, b in zip(answers, expected, strict=True))
        print(f"the same phonemes for {equal} of {len(words)} words, {way}")
    few = words[:200]
    runs = {
        "gatewise, one by one": lambda: [network([word]) for word in few],
        "gatewise, all together": lambda: network(few),
        "g2p_en": lambda: [own.predict(word) for word in few],
    }
    in_turns.show(in_turns.times(runs, rounds=15), len(few), "word")


if __name__ == "__main__":
    main(*sys.argv[1:])
