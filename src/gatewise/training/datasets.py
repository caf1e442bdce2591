"""Batches out of single examples, which may be ragged and more than memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.training.arguments import as_count, describe
from gatewise.training.padding import as_sequences, pad_sequences

Array = NDArray[Any]

__all__ = ["Dataset", "JoinedSequences", "SequenceBatches", "sequence_batches"]


class Dataset(Protocol):
    """What `sequence_batches` asks of examples; a list of tuples has it, as has PyTorch's.

    If there also is an attribute ``lengths``, an array of how many steps the sequences
    have, no sequence is read before it is in a batch.
    """

    def __len__(self) -> int:
        """Return how many examples there are."""

    def __getitem__(self, index: int, /) -> Sequence[Any]:
        """Return ``(sequence, target)``, or ``(sequence, target, weight)``."""


class JoinedSequences:
    """Sequences that stand one after another in one array, which may be a memory map.

    Only the rows of the sequences that are asked for are read from it. ``np.save`` writes
    such an array, and ``np.load(path, mmap_mode="r")`` opens it without reading it;
    ``np.lib.format.open_memmap`` makes one that is filled bit by bit.

    Parameters
    ----------
    rows : ndarray, shape (steps of all, ...)
        Kept as it is, and never copied as a whole.
    lengths : array_like of int
        How many rows each sequence has, in their order.
    targets : array_like or None
        One for each sequence, or rows like those of `rows` where each step has one; where
        there are as many sequences as rows, one for each sequence. None is for targets that
        are the rows themselves.

    Raises
    ------
    TypeError
        If `rows` is no array, or `lengths` no integers.
    ValueError
        If the lengths are not those of all rows, or the targets none of both.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training import JoinedSequences
    >>> rows = np.arange(10.0).reshape(5, 2)
    >>> sequences = JoinedSequences(rows, [3, 2], [0, 1])
    >>> x, target = sequences[1]
    >>> x, int(target)
    (array([[6., 7.],
           [8., 9.]]), 1)
    """

    def __init__(
        self, rows: Array, lengths: ArrayLike, targets: ArrayLike | None = None
    ) -> None:
        if not isinstance(rows, np.ndarray) or rows.ndim == 0:
            raise TypeError(f"rows should be an array of rows, got {describe(rows)}")
        counts = np.asarray(lengths)
        if counts.dtype.kind not in "iu" or counts.ndim != 1:
            raise TypeError(
                f"lengths should be a list of integers, got {describe(lengths)}"
            )
        # In Python's integers, where no sum wraps around.
        whole = sum(counts.tolist())
        if (counts < 0).any() or whole != len(rows):
            got = whole if whole != len(rows) else f"one of {counts.min()}"
            raise ValueError(f"lengths should add up to the {len(rows)} rows, got {got}")
        self.lengths = counts.astype(np.int64)
        self._rows = rows
        self._ends = np.cumsum(self.lengths)
        given = rows if targets is None else targets
        if not isinstance(given, np.ndarray):
            given = np.asarray(given)
        if given.ndim == 0 or len(given) not in (len(counts), len(rows)):
            raise ValueError(
                f"targets should be {len(counts)}, one a sequence, or {len(rows)}, one a "
                f"step, got {describe(given)}"
            )
        self._targets = given
        self._of_steps = targets is None or len(given) != len(counts)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[Array, Any]:
        end = int(self._ends[index])
        steps = slice(end - int(self.lengths[index]), end)
        return self._rows[steps], self._targets[steps if self._of_steps else index]


class _Settings(NamedTuple):
    batch_size: int
    seed: int | None
    bucket: int


class SequenceBatches(Sequence[tuple[Any, ...]]):
    """Batches of single examples, in another mix in every epoch of `fit`.

    `sequence_batches` makes them. As they are, they are the batches of the first epoch.
    """

    def __init__(
        self,
        examples: Dataset,
        lengths: NDArray[np.int64] | None,
        settings: _Settings,
        epoch: int = 1,
    ) -> None:
        self._examples = examples
        self._lengths = lengths
        self.settings = settings
        count, size = len(examples), settings.batch_size
        order = np.arange(count)
        generator = np.random.default_rng([settings.seed or 0, epoch, 2])
        if settings.seed is not None:
            order = generator.permutation(order)
        cuts = list(_cut(order, size, lengths, settings.bucket))
        if settings.seed is not None:
            # The others in any order, while the one that is not full stays the last.
            full = [cut for cut in cuts if len(cut) == size]
            rest = [cut for cut in cuts if len(cut) < size]
            cuts = [full[i] for i in generator.permutation(len(full))] + rest
        self._cuts = cuts

    def for_epoch(self, number: int) -> SequenceBatches:
        """Return the batches of epoch `number`: the same examples in another mix."""
        if self.settings.seed is None:
            return self
        return SequenceBatches(self._examples, self._lengths, self.settings, number)

    def __len__(self) -> int:
        return len(self._cuts)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        chosen = self._cuts[index]
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        return _together([self._example(int(place)) for place in chosen])

    def _example(self, place: int) -> tuple[Any, ...]:
        example = self._examples[place]
        if not isinstance(example, tuple | list):
            raise TypeError(
                f"examples[{place}] should be (sequence, target), got {describe(example)}"
            )
        if len(example) not in (2, 3):
            raise ValueError(
                f"examples[{place}] should be (sequence, target) or (sequence, target, "
                f"weight), got a {type(example).__name__} of {len(example)}"
            )
        return tuple(example)


def sequence_batches(
    examples: Any,
    targets: Sequence[Any] | NDArray[Any] | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
    bucket: int = 50,
) -> SequenceBatches:
    """Put sequences of unequal length together into batches for `fit`.

    Parameters
    ----------
    examples : sequence or Dataset
        Sequences ``(time_i, ...)``, with `targets`; or, without, whatever gives single
        examples ``(sequence, target)``, or ``(sequence, target, weight)``, when it is
        indexed, such as `JoinedSequences`. One is read when its batch is asked for, so
        there may be more of them than memory holds.
    targets : sequence, optional
        One for each sequence: a number or a vector, or, for one at each step,
        ``(time_i, ...)``, which is padded with zeros that no loss looks at.
    sample_weight : array_like, optional
        How much each sequence counts.
    batch_size : int, default 32
        Examples in a batch; the last may have fewer.
    shuffle : bool, default True
        Whether examples are mixed, anew in every epoch of `fit`.
    seed : int, default 0
        Decides the mixes.
    bucket : int, default 50
        Examples of so many batches at a time are sorted by length before they are cut into
        batches, so that a batch has little padding; 1 leaves them as they were mixed. With
        a `Dataset` that has no ``lengths`` it is done without.

    Returns
    -------
    SequenceBatches
        Of ``(x, targets, lengths)``, with the sample weights after them if there are any.
        `lengths` is None in a batch whose sequences are equally long.

    Raises
    ------
    TypeError
        If an argument is not what it should be.
    ValueError
        If there are no examples, their numbers differ, or a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training import sequence_batches
    >>> sequences = [np.ones((n, 2)) for n in (9, 3, 2, 8, 7, 2)]
    >>> batches = sequence_batches(sequences, np.arange(6), batch_size=2, shuffle=False)
    >>> [x.shape for x, _, _ in batches]
    [(2, 2, 2), (2, 7, 2), (2, 9, 2)]
    """
    batch_size = as_count("batch_size", batch_size, 1)
    bucket = as_count("bucket", bucket, 1)
    mix = as_count("seed", seed, 0) if shuffle else None
    source: Any = examples
    if targets is None:
        if sample_weight is not None:
            raise ValueError(
                "sample_weight should be None without targets, since examples have it, "
                f"got {describe(sample_weight)}"
            )
        indexed = hasattr(examples, "__len__") and hasattr(examples, "__getitem__")
        if not indexed or isinstance(examples, str | bytes | dict | np.ndarray | type):
            raise TypeError(
                "examples should be indexed for (sequence, target), got "
                f"{describe(examples)}"
            )
        given: Any = getattr(examples, "lengths", None)
        lengths = None if given is None else np.asarray(given)
    else:
        sequences = as_sequences("examples", examples)
        source = _Listed(sequences, targets, sample_weight)
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    if not len(source):
        raise ValueError("examples should be at least one, got none")
    if lengths is not None and lengths.shape != (len(source),):
        raise ValueError(
            f"examples.lengths should have shape ({len(source)},), got {lengths.shape}"
        )
    return SequenceBatches(source, lengths, _Settings(batch_size, mix, bucket))


class _Listed:
    """Sequences and what belongs to them, as a Dataset."""

    def __init__(
        self, sequences: list[Array], targets: Any, sample_weight: ArrayLike | None
    ) -> None:
        if not hasattr(targets, "__len__") or not hasattr(targets, "__getitem__"):
            raise TypeError(f"targets should be a list of them, got {describe(targets)}")
        self._parts: list[Any] = [sequences, targets]
        if sample_weight is not None:
            self._parts.append(np.asarray(sample_weight))
        for name, part in zip(("targets", "sample_weight"), self._parts[1:], strict=False):
            if len(part) != len(sequences):
                raise ValueError(
                    f"{name} should be {len(sequences)}, one a sequence, got {len(part)}"
                )

    def __len__(self) -> int:
        return len(self._parts[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(part[index] for part in self._parts)


def _cut(
    order: NDArray[np.intp], size: int, lengths: NDArray[np.int64] | None, bucket: int
) -> Iterator[NDArray[np.intp]]:
    """The examples of each batch, neighbours in `order` sorted by length."""
    span = size * bucket
    for start in range(0, len(order), span):
        part = order[start : start + span]
        if lengths is not None and bucket > 1:
            part = part[np.argsort(lengths[part], kind="stable")]
        for first in range(0, len(part), size):
            yield part[first : first + size]


def _together(examples: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """One batch of examples."""
    x, lengths = pad_sequences([example[0] for example in examples])
    counts = None if (lengths == x.shape[1]).all() else lengths
    batch = (x, _targets([example[1] for example in examples], lengths), counts)
    weights = [example[2] for example in examples if len(example) == 3]
    if not weights:
        return batch
    if len(weights) != len(examples):
        raise ValueError("examples should all have a weight or none, got some with one")
    return (*batch, _targets(weights, lengths))


def _targets(found: list[Any], lengths: NDArray[np.int64]) -> Array:
    """Targets as one array, those of steps with zeros after each sequence."""
    arrays = [np.asarray(target) for target in found]
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    for array, length in zip(arrays, lengths.tolist(), strict=True):
        if array.ndim == 0 or len(array) != length:
            raise ValueError(
                "targets should be alike, or one for each step of their sequences, got "
                f"shape {array.shape} for a sequence of {length} steps"
            )
    return pad_sequences(arrays)[0]
