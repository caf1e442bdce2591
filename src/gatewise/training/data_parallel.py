"""Training of one model by several processes, whose number changes no bit of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.layers import Feedforward, Module, Stateful
from gatewise.layers.module import Gradients
from gatewise.layers.parameters import Snapshot
from gatewise.layers.tape import ModuleTape, check_tape
from gatewise.training import random_states
from gatewise.training.arguments import as_count, describe
from gatewise.training.measuring import example_axes
from gatewise.training.shard_sums import Sums

Array = NDArray[Any]

__all__ = ["DataParallel"]

# What an MPI communicator is asked for.
_METHODS = ("Get_rank", "Get_size", "allgather", "bcast", "Alltoallv", "Allgatherv")


class _Shard(NamedTuple):
    """The examples of one shard, and how its gradients are found."""

    rows: slice
    backward: Callable[[Array, int | None], Gradients]


class DataParallelTape(ModuleTape):
    """What the shards of this process leave for the backward pass."""

    def __init__(
        self,
        module: Module,
        snapshot: Snapshot,
        shards: dict[int, _Shard],
        outputs: tuple[int, ...],
    ) -> None:
        super().__init__(module, snapshot)
        self.shards = shards
        self.outputs = outputs


class DataParallel(Stateful):
    """A model whose training steps are shared by the processes of a communicator.

    Every batch is cut into `shards` parts. Each process computes the outputs of its own
    parts; all of them get the outputs of the whole batch, so that a loss is that of the
    whole batch, whichever it is. The gradients of the parts are added in one order, that
    of a binary tree over the shards, which does not ask where a part was computed. So one
    process or as many as there are shards, with MPI or without, get the same bits after any
    number of steps: `shards` is a part of the recipe, the number of processes is not.

    It is a layer that `gatewise.fit` trains like any other; all processes have to make the
    same calls of `forward` and `backward`, with the same batches, of which each looks at
    its own part only. Everything that follows from outputs and gradients, such as
    clipping, early stopping and schedules, is then the same everywhere. A call without
    `forward`, as in validation, is the model's own, in each process by itself.

    Parameters
    ----------
    model : layer
        Trained in place. All processes begin with the parameters, and with the random
        generators of dropout, that the model of the first process has.
    shards : int, default 4
        How many parts a batch is cut into: at least as many as there are processes. They
        are as even as possible, and where a batch has fewer examples some are empty.
    communicator : optional
        ``mpi4py.MPI.COMM_WORLD``, or another communicator with its methods. All work is
        done in this process if None.

    Attributes
    ----------
    model : layer
    shards : int

    Raises
    ------
    TypeError
        If `model` is no layer, `shards` no integer, or `communicator` lacks a method.
    ValueError
        If there are fewer shards than processes.

    Notes
    -----
    A process sends its outputs and, however many shards there are, about two times the
    gradients of a model for each step [1]_. All processes should be of one kind of
    machine: what NumPy computes may differ in the last bit between kinds. Start them by
    ``mpiexec -n 4 python -m mpi4py program.py``, so that what ends one ends all. Nothing
    may stop training by the clock, which is not the same for all: the others would wait.

    References
    ----------
    .. [1] Thakur, R., Rabenseifner, R., and Gropp, W. (2005). "Optimization of Collective
       Communication Operations in MPICH". IJHPCA 19(1).

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> from gatewise.training import DataParallel, minibatches
    >>> x = np.random.default_rng(0).standard_normal((64, 10, 1)).astype("float32")
    >>> model = gatewise.Sequential(gatewise.GRU(1, 8, seed=0), gatewise.Linear(8, 1))
    >>> epochs = gatewise.fit(
    ...     DataParallel(model, shards=4),
    ...     minibatches(x, np.cumsum(x, axis=1), batch_size=16),
    ...     gatewise.mse,
    ...     gatewise.Adam(0.01),
    ...     epochs=20,
    ...     progress=False,
    ... )
    >>> epochs[-1].loss < 0.5 * epochs[0].loss
    True
    """

    def __init__(
        self, model: Feedforward | Stateful, shards: int = 4, communicator: Any = None
    ) -> None:
        if not isinstance(model, Feedforward | Stateful):
            raise TypeError(f"model should be a layer, got {describe(model)}")
        shards = as_count("shards", shards, 1)
        if communicator is not None:
            _check_communicator(communicator, shards)
        super().__init__(model.dtype)
        self._keeps_dtype = model._keeps_dtype
        self._sums = Sums(shards, communicator)
        self.model = model
        self.shards = shards
        if communicator is not None:
            self._begin_alike(communicator)

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, None, DataParallelTape]:
        """Return the outputs of the whole batch, None, and a tape for `backward`.

        Parameters
        ----------
        x
            A batch, its examples along the first axis.
        state
            None: shards start from the `initial_state` of the layers, or from zeros.
        lengths, resets, num_threads
            As for the model.

        Raises
        ------
        TypeError
            If the model refuses the dtype of an argument.
        ValueError
            If `x` has no axis of examples, `state` is not None, `lengths` or `resets` come
            to a model that has no state, or the model refuses a value. What is refused in
            one process is in all.
        """
        if state is not None:
            raise ValueError(f"state should be None, got {describe(state)}")
        return self._forward(self._snapshot(), x, None, lengths, resets, num_threads)

    def backward(
        self,
        tape: DataParallelTape,
        dy: ArrayLike | None,
        dstate: Any = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[None, None, Gradients]:
        """Return None for `x` and for the state, and the gradients of the parameters.

        Parameters
        ----------
        tape
            What `forward` returned last.
        dy
            The gradient of a loss by the outputs of the whole batch.
        dstate
            None, since no state is returned.
        num_threads
            As for the model.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned.
        ValueError
            If `tape` is another layer's, `dy` has another shape than the outputs, or
            `dstate` is not None.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        check_tape(tape, DataParallelTape, self)
        if dstate is not None:
            raise ValueError(f"dstate should be None, got {describe(dstate)}")
        gradient = np.asarray(dy)
        if gradient.shape != tape.outputs:
            raise ValueError(f"dy should have shape {tape.outputs}, got {gradient.shape}")

        def of_shard(number: int) -> Gradients:
            shard = tape.shards[number]
            return shard.backward(gradient[shard.rows], num_threads)

        known = [number for number in range(self.shards) if self._rows(number, gradient)]
        return None, None, self._sums.total(known, of_shard, self.parameters())

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, None, DataParallelTape]:
        batch = self._batch(x)
        given = {"lengths": lengths, "resets": resets}
        error: Exception | None = None
        shards: dict[int, _Shard] = {}
        outputs: list[Array] = []
        seeds = [int(generator.integers(1 << 62)) for generator in self._generators()]
        after = random_states.states(self.model)
        try:
            for number in self._sums.own:
                # An empty batch is the model's to refuse, or to answer.
                rows = self._rows(number, batch)
                if rows or (number == 0 and not len(batch)):
                    self._seed(seeds, number)
                    options = {
                        name: None if value is None else np.asarray(value)[slice(*rows)]
                        for name, value in given.items()
                    }
                    output, backward = self._shard_forward(
                        batch[slice(*rows)], options, num_threads
                    )
                    outputs.append(output)
                    shards[number] = _Shard(slice(*rows), backward)
        except Exception as found:
            error = found
        finally:
            random_states.load_states(self.model, after)
        whole = np.concatenate(self._sums.gather(outputs, error))
        return whole, None, DataParallelTape(self, snapshot, shards, whole.shape)

    def _shard_forward(
        self, x: Array, options: dict[str, Any], num_threads: int | None
    ) -> tuple[Array, Callable[[Array, int | None], Gradients]]:
        """The outputs of one shard, and what finds its gradients."""
        model = self.model
        if isinstance(model, Stateful):
            outputs, _, recorded = model.forward(x, num_threads=num_threads, **options)

            def backward(dy: Array, threads: int | None) -> Gradients:
                return model.backward(recorded, dy, num_threads=threads)[2]

            return outputs, backward
        self._check_options(options)
        outputs, tape = model._forward_ragged(
            model._snapshot(), x, options["lengths"], num_threads
        )
        return outputs, lambda dy, threads: model.backward(tape, dy, num_threads=threads)[1]

    def _check_options(self, options: dict[str, Any]) -> None:
        """Raise ValueError for what a model without a state has no use for."""
        takes_lengths = self.model._time_axis()[0]
        for name, value in options.items():
            if value is not None and not (name == "lengths" and takes_lengths):
                raise ValueError(
                    f"{name} should be None for a {type(self.model).__name__}, "
                    f"got {describe(value)}"
                )

    def _batch(self, x: ArrayLike) -> Array:
        """The batch as an array, in which examples have an axis of their own."""
        batch = np.asarray(x)
        least = example_axes(self.model, batch) + 1
        if batch.ndim < least:
            raise ValueError(
                f"x should have an axis of examples and {least} axes or more, "
                f"got shape {batch.shape}"
            )
        return batch

    def _rows(self, number: int, batch: Array) -> tuple[int, int] | tuple[()]:
        """From where to where the examples of one shard stand, if it has any."""
        count = len(batch)
        first, last = (count * n // self.shards for n in (number, number + 1))
        return (first, last) if first < last else ()

    def _generators(self) -> Iterator[np.random.Generator]:
        return random_states.generators(self.model)

    def _seed(self, seeds: list[int], number: int) -> None:
        """Have dropout in one shard draw what it draws wherever the shard is computed."""
        for generator, seed in zip(self._generators(), seeds, strict=True):
            kind: Any = type(generator.bit_generator)
            generator.bit_generator.state = kind([seed, number]).state

    def _begin_alike(self, communicator: Any) -> None:
        start = self.model.state_dict(), random_states.states(self.model)
        values, states = communicator.bcast(start, root=0)
        self.model.load_state_dict(values)
        random_states.check_states(self.model, states)
        random_states.load_states(self.model, states)

    def _call(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> Any:
        if isinstance(self.model, Stateful):
            return self.model._call(snapshot, x, state, lengths, resets, num_threads)
        self._check_options({"lengths": lengths, "resets": resets})
        return self.model._call_ragged(snapshot, x, lengths, num_threads), None

    def _stream_state(self, name: str, state: Any, batch: int) -> Any:
        raise ValueError("stream should be the model's own, got DataParallel's")

    def _no_stream(self) -> str | None:
        return "stream should be the model's own, got DataParallel's"

    def _snapshot(self) -> Snapshot:
        return self.model._snapshot()

    def _named_arrays(self, snapshot: Snapshot) -> dict[str, Array]:
        return self.model._named_arrays(snapshot)

    def _places(self, snapshot: Snapshot) -> dict[str, tuple[Module, str]]:
        return self.model._places(snapshot)

    def _aliases(self, snapshot: Snapshot) -> dict[str, str]:
        return self.model._aliases(snapshot)

    def _leaves(self) -> Iterator[tuple[str, Module]]:
        return self.model._leaves()

    def _time_axis(self) -> tuple[bool, bool]:
        return self.model._time_axis()

    def _features(self) -> tuple[int | None, int | None]:
        return self.model._features()

    def _lengths_after(self, lengths: ArrayLike | None) -> ArrayLike | None:
        return self.model._lengths_after(lengths)

    def _description(self) -> str:
        return f"DataParallel({self.model._description()}, shards={self.shards})"


def _check_communicator(communicator: Any, shards: int) -> None:
    missing = [name for name in _METHODS if not hasattr(communicator, name)]
    if missing:
        raise TypeError(
            "communicator should be one of mpi4py's, such as MPI.COMM_WORLD, "
            f"got {describe(communicator)} without {', '.join(missing)}"
        )
    processes = communicator.Get_size()
    if shards < processes:
        raise ValueError(
            f"shards should be at least the {processes} processes, got {shards}"
        )
