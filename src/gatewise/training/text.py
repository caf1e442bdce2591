"""Text for a character model: reading it, its characters as tokens, and batches of them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tokens = NDArray[np.intp]

__all__ = [
    "TextError",
    "TokenBatches",
    "Vocabulary",
    "order_zero_bits",
    "read_texts",
    "reference_text",
    "split_held_out",
]

_MOST_BYTES = 1 << 27
_PIECE = 1 << 20


class TextError(ValueError):
    """A text that cannot be trained on, or a character outside the vocabulary."""


def read_texts(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Read UTF-8 files as one text, with every line end as a newline.

    Parameters
    ----------
    paths : iterable of paths
        Pipes and devices will do as well as files. No more than 128 MiB are read of all
        together, of which training takes about ten times as much memory.

    Raises
    ------
    OSError
        If a file cannot be read.
    TextError
        If a file is empty, or is no UTF-8 text, or together they are too large.

    Examples
    --------
    >>> import os, tempfile
    >>> from gatewise.training.text import read_texts
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "poem.txt")
    ...     with open(path, "w", encoding="utf-8") as file:
    ...         _ = file.write("a rose is a rose")
    ...     read_texts([path])
    'a rose is a rose'
    """
    left, texts = _MOST_BYTES, []
    for path in paths:
        content = _read_bytes(Path(path), left)
        left -= len(content)
        texts.append(_as_text(Path(path), content))
    return "\n".join(texts)


def _read_bytes(path: Path, most: int) -> bytearray:
    """The bytes of a file that has at most so many, read in pieces.

    What a device or a pipe holds has no size that could be asked for.
    """
    content = bytearray()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            if 0 in piece:
                place = len(content) + piece.index(0)
                raise TextError(f"{path}: a binary file, not a text (byte {place} is zero)")
            content += piece
            if len(content) > most:
                raise TextError(
                    f"{path}: too large; {_MOST_BYTES >> 20} MiB of text are the most that "
                    "can be trained on, all files together"
                )
    return content


def _as_text(path: Path, content: bytearray) -> str:
    try:
        # Some editors put a mark at the beginning that is no part of the text.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}: not a UTF-8 text (byte {error.start}: {error.reason})"
        ) from None
    if not text.strip():
        raise TextError(f"{path}: an empty file; there is nothing to learn from")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def reference_text() -> str:
    """Return the English reference text on the language that every CPython carries.

    Its paragraphs of prose alone, without tables, rules and most code; each of them once,
    so that what is held out was not read elsewhere.

    Raises
    ------
    TextError
        If this Python carries none.

    Examples
    --------
    >>> from gatewise.training.text import reference_text
    >>> "statement" in reference_text()
    True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TextError(
            "this Python carries no reference text (pydoc_data); name a file to train on"
        ) from None
    paragraphs = "\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")
    return "\n\n".join(filter(_is_prose, dict.fromkeys(paragraphs)))


def _is_prose(paragraph: str) -> bool:
    return sum(map(str.isalpha, paragraph)) > 0.6 * len(paragraph)


class Vocabulary:
    """The distinct characters of a text, each with its token: its place in their order.

    Parameters
    ----------
    characters : iterable of str
        In any order; repetitions are dropped.

    Examples
    --------
    >>> from gatewise.training.text import Vocabulary
    >>> vocabulary = Vocabulary("banana")
    >>> vocabulary.characters
    'abn'
    >>> vocabulary.encode("nab")
    array([2, 0, 1])
    >>> vocabulary.decode([1, 0, 2])
    'ban'
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(sorted(set(characters)))
        self._codes = _code_points(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Tokens:
        """Return the token of every character; a `TextError` names those without one.

        Raises
        ------
        TextError
            If a character is outside the vocabulary.
        """
        tokens = np.empty(len(text), np.intp)
        # In pieces, since what stands between is several times as large as the text.
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            codes = _code_points(piece)
            places = np.searchsorted(self._codes, codes)
            known = self._codes[np.minimum(places, len(self) - 1)] == codes
            if not known.all():
                unknown = "".join(sorted({piece[i] for i in np.flatnonzero(~known)}))
                raise TextError(
                    f"characters outside the {len(self)} of the vocabulary: {unknown!r}"
                )
            tokens[start : start + _PIECE] = places
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`."""
        return "".join(self.characters[token] for token in tokens)


def _code_points(text: str) -> NDArray[np.uint32]:
    # Half characters, which a command line may hold, are unknown ones and no error here.
    encoded = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(encoded, "<u4").astype(np.uint32)


def split_held_out(tokens: Tokens, share: float = 0.05) -> tuple[Tokens, Tokens]:
    """Split off the end of `tokens` to measure on: `share` of it, but 2 to 65536 tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training.text import split_held_out
    >>> [part.size for part in split_held_out(np.arange(1000))]
    [950, 50]
    """
    held_out = max(min(math.ceil(tokens.size * share), 65536), 2)
    return tokens[: tokens.size - held_out], tokens[tokens.size - held_out :]


def order_zero_bits(tokens: Tokens) -> float:
    """Return the entropy of the single tokens in bits.

    No model that ignores what came before a character can say it in fewer bits on average.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training.text import order_zero_bits
    >>> order_zero_bits(np.array([0, 1, 2, 3]))
    2.0
    """
    counts = np.bincount(tokens)
    shares = counts[counts > 0] / tokens.size
    return float(-(shares * np.log2(shares)).sum())


class TokenBatches:
    """A text cut into parallel streams, in batches that continue one another.

    Row `i` of a batch goes on where row `i` of the batch before stopped, so that a state
    can be carried over. Batch number `step` depends on nothing but the arguments, so that a
    resumed run sees what an uninterrupted one would have seen.

    Parameters
    ----------
    tokens : ndarray of int
    batch_size : int
        How many streams.
    length : int
        How many tokens of each stream a batch holds.
    seed : int, default 0
        Decides where each pass over the text begins.

    Raises
    ------
    TextError
        If there are fewer tokens than one batch needs.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training.text import TokenBatches
    >>> batches = TokenBatches(np.arange(9), batch_size=2, length=2)
    >>> inputs, targets, begins = batches[0]
    >>> inputs
    array([[0, 1],
           [4, 5]])
    >>> targets
    array([[1, 2],
           [5, 6]])
    >>> batches[1][0]
    array([[2, 3],
           [6, 7]])
    """

    def __init__(self, tokens: Tokens, batch_size: int, length: int, seed: int = 0) -> None:
        self.length = length
        self.batches_a_pass = (tokens.size - 1) // (batch_size * length)
        if self.batches_a_pass < 1:
            raise TextError(
                f"{tokens.size} characters to train on, but one batch needs "
                f"{batch_size * length + 1} (batch size {batch_size}, length {length})"
            )
        self._tokens = tokens
        self._batch_size = batch_size
        self._seed = seed

    def __getitem__(self, step: int) -> tuple[Tokens, Tokens, bool]:
        """Return inputs and targets ``(batch, length)``, and whether a pass begins here."""
        number, index = divmod(step, self.batches_a_pass)
        stream = self.batches_a_pass * self.length
        spare = self._tokens.size - 1 - self._batch_size * stream
        offset = int(np.random.default_rng([self._seed, number]).integers(spare + 1))
        starts = offset + index * self.length + stream * np.arange(self._batch_size)
        tokens = self._tokens[starts[:, None] + np.arange(self.length + 1)]
        return tokens[:, :-1], tokens[:, 1:], index == 0
