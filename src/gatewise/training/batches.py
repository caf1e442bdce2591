"""Batches of examples: what `fit` takes, and how arrays are cut into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.training.arguments import as_count, describe

Array = NDArray[Any]

__all__ = ["Batch", "Batches", "Minibatches", "as_batch", "check_batches", "minibatches"]


class Batches(Protocol):
    """What `fit` asks of batches; a list of tuples has it.

    If there also is a method ``for_epoch(number)``, it is called at the beginning of every
    epoch, from 1 on, and returns the batches of that epoch, always as many.
    """

    def __len__(self) -> int:
        """Return how many batches there are."""

    def __getitem__(self, index: int, /) -> Sequence[Any]:
        """Return ``(x, targets)``, with lengths and sample weights after them if need be.

        Where there are weights and no lengths, these are None.
        """


class Batch(NamedTuple):
    """The parts of a batch; `lengths` is None where all sequences are whole.

    `sample_weight` is None where all targets count alike.
    """

    x: Any
    targets: Any
    lengths: Any = None
    sample_weight: Any = None


class Minibatches(Sequence[tuple[Any, ...]]):
    """Batches of examples, in another mix in every epoch; `minibatches` makes them.

    As they are, they are the batches of the first epoch.
    """

    def __init__(
        self,
        arrays: tuple[Array | None, ...],
        batch_size: int,
        seed: int | None,
        epoch: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self._arrays = arrays
        self._count = next(len(array) for array in arrays if array is not None)
        self._order: NDArray[np.intp] | None = None
        if seed is not None:
            # The last number tells this from the order that `fit` draws for its batches.
            generator = np.random.default_rng([seed, epoch, 1])
            self._order = generator.permutation(self._count)

    def for_epoch(self, number: int) -> Minibatches:
        """Return the batches of epoch `number`: the same examples in another mix."""
        if self.seed is None:
            return self
        return Minibatches(self._arrays, self.batch_size, self.seed, number)

    def __len__(self) -> int:
        return -(-self._count // self.batch_size)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        examples: Any = slice(places * self.batch_size, (places + 1) * self.batch_size)
        if self._order is not None:
            examples = self._order[examples]
        return tuple(None if array is None else array[examples] for array in self._arrays)


def minibatches(
    *arrays: ArrayLike | None,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
) -> Minibatches:
    """Cut arrays along their first axis, that of the examples, into batches for `fit`.

    Parameters
    ----------
    *arrays : array_like
        Inputs, targets and what else belongs to the examples, all of one length: for `fit`
        lengths and then sample weights. One that is None is so in every batch, as in
        ``minibatches(x, targets, None, sample_weight)``.
    batch_size : int, default 32
        Examples in a batch; the last may have fewer.
    shuffle : bool, default True
        Whether examples are mixed, anew in every epoch of `fit`. Batches of neighbours in
        sorted data would each be of one kind, and train badly.
    seed : int, default 0
        Decides the mixes.

    Returns
    -------
    Minibatches
        A sequence of tuples of arrays. ``for_epoch(number)`` gives the mix of one epoch, in
        which every example is there once.

    Raises
    ------
    TypeError
        If `batch_size` or `seed` is no integer.
    ValueError
        If there are no arrays, one has no axis, or their lengths differ; if `batch_size` is
        less than 1 or `seed` negative.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training import minibatches
    >>> x, y = np.arange(5.0), np.arange(5)
    >>> batches = minibatches(x, y, batch_size=3)
    >>> [len(targets) for inputs, targets in batches]
    [3, 2]
    >>> sorted(np.concatenate([targets for inputs, targets in batches]).tolist())
    [0, 1, 2, 3, 4]
    >>> [y.tolist() for x, y in minibatches(x, y, batch_size=3, shuffle=False)]
    [[0, 1, 2], [3, 4]]
    """
    batch_size = as_count("batch_size", batch_size, 1)
    seed = as_count("seed", seed, 0)
    cut = tuple(
        None if array is None else _as_examples(f"arrays[{i}]", array)
        for i, array in enumerate(arrays)
    )
    sizes = [len(array) for array in cut if array is not None]
    if len(set(sizes)) != 1:
        raise ValueError(f"arrays should be of one length, got {sizes or 'none'}")
    return Minibatches(cut, batch_size, seed if shuffle else None)


def check_batches(name: str, batches: Any) -> None:
    """Raise unless `batches` are some; those of a list or a tuple are looked at as well."""
    indexed = hasattr(batches, "__len__") and hasattr(batches, "__getitem__")
    if not indexed or isinstance(batches, type | str | bytes | Mapping | np.ndarray):
        raise TypeError(
            f"{name} should be a sequence of batches (x, targets), such as "
            f"minibatches(x, targets) makes, got {describe(batches)}"
        )
    if len(batches) == 0:
        raise ValueError(f"{name} should hold at least one batch, got none")
    if isinstance(batches, list | tuple):
        for index, batch in enumerate(batches):
            as_batch(f"{name}[{index}]", batch)


def as_batch(name: str, batch: Sequence[Any]) -> Batch:
    """Return the parts of a batch; where there are none, an error says so."""
    wanted = "(x, targets) or (x, targets, lengths) or (x, targets, lengths, sample_weight)"
    if not isinstance(batch, tuple | list):
        raise TypeError(f"{name} should be {wanted}, got {describe(batch)}")
    if len(batch) not in (2, 3, 4):
        raise ValueError(
            f"{name} should be {wanted}, got a {type(batch).__name__} of {len(batch)}"
        )
    try:
        len(batch[0])
    except TypeError:
        raise TypeError(
            f"{name}[0] should be an array of examples, got {describe(batch[0])}"
        ) from None
    return Batch(*batch)


def _as_examples(name: str, array: ArrayLike) -> Array:
    try:
        examples = np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{name} should be an array: {error}") from error
    if examples.ndim == 0:
        raise ValueError(f"{name} should have an axis of examples, got {describe(array)}")
    return examples
