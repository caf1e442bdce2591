"""Running layers step by step, with a deadline for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import ArrayLike, NDArray

from gatewise.kernels import chooser, thread_limits
from gatewise.layers import inputs
from gatewise.layers.parameters import Version
from gatewise.layers.streamable import Steps, Streamable

Array = NDArray[Any]


class Stream:
    """A layer, or a whole `Sequential`, and a state that each call advances in place.

    Made by ``layer.stream(batch=1, num_threads=None)``. ``stream(x)`` takes one step
    ``(batch, input_size)`` and returns its output ``(batch, output_size)``. For a batch of
    one, ``(input_size,)`` gives ``(output_size,)``. It takes a chunk ``(batch, time,
    input_size)`` too; where convolutions have strides, only chunks whose time is a multiple
    of these. Where the first layer is an `Embedding`, or one made with
    ``tokens=True``, integers without the last axis are tokens; for a batch of one a token
    can be an integer.

    ``stream(x, resets=...)`` lets sequences start anew, from where a new stream starts,
    before a step: those for which `resets`, booleans of the shape of `x` without the
    features, are true.

    The output of a step is an array that the stream owns: **the next step overwrites it**,
    so copy what is to be kept. The output of a chunk is the caller's.

    Changed parameters and options take effect from the next call on. A call that fails
    leaves the state as it was. A stream is for one thread at a time.

    Raises
    ------
    ValueError
        If a layer is bidirectional, or a `Conv1d` that is not causal; in a call, if `x` or
        `resets` has another shape, `x` holds a token that the first layer does not have, or
        `resets` come with a `Conv1d` whose windows are of more than one step.
    TypeError
        In a call, if `x` holds no real numbers, or none that are tokens where these are
        wanted, or `resets` no booleans.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.GRU(3, 4, seed=0)
    >>> stream = layer.stream()
    >>> x = np.ones((2, 3), np.float32)
    >>> steps = [stream(step).copy() for step in x]
    >>> bool(np.allclose(steps, layer(x)[0]))
    True
    >>> model = gatewise.Sequential(gatewise.Embedding(9, 3), layer, gatewise.Linear(4, 9))
    >>> stream = model.stream()
    >>> stream(7).shape
    (9,)
    """

    def __init__(
        self, layer: Streamable, batch: int = 1, num_threads: int | None = None
    ) -> None:
        layer._stream_check()
        self._layer = layer
        self._batch = inputs.size("batch", batch)
        # Checked here; None is for what the process's number will be at a call.
        self._num_threads = (
            None if num_threads is None else thread_limits.resolve(num_threads)
        )
        self._bind(layer._stream_state("state", None, self._batch))

    @property
    def batch(self) -> int:
        """How many sequences advance together."""
        return self._batch

    def _bind(self, state: Any) -> None:
        """Make this the state, whose arrays the steps write to."""
        self._state = state
        # No call has so many threads: the first one renews what follows.
        self._threads = 0
        self._kernels: object = None
        self._versions: Sequence[Version] = ()
        self._steps: Steps
        self._step: Callable[..., Array | None] | None = None

    @property
    def state(self) -> Any:
        """A copy of the state, in the form in which a call of the layer returns it.

        Where that has None for a `Conv1d`, this has the steps that the next outputs still
        depend on, ``(batch, dilation * (kernel_size - 1), in_channels)``.
        """
        return _copied(self._state)

    def reset(self, state: Any = None) -> None:
        """Go back to `state` or, without one, to where a new stream starts.

        Parameters
        ----------
        state
            In the form in which a call of the layer returns it, or `state`; for a batch of
            one also without the batch axis, as after a call with one sequence ``(time,
            features)``. Where it is None, a layer goes back to its `initial_state`, or to
            zeros.

        Raises
        ------
        TypeError
            If `state` has another form, or holds no real numbers.
        ValueError
            If a shape does not fit.
        """
        self._overwrite(self._layer._stream_state("state", state, self._batch))

    def _overwrite(self, state: Any) -> None:
        for own, new in zip(_arrays(self._state), _arrays(state), strict=True):
            own[...] = new

    def copy(self) -> Stream:
        """Return an independent stream of the same layer, in the same state."""
        other = Stream(self._layer, self._batch, self._num_threads)
        other._overwrite(self._state)
        return other

    def __call__(self, x: ArrayLike, resets: ArrayLike | None = None) -> Array:
        """Advance by the step or the chunk `x` and return its output.

        Parameters
        ----------
        x
            A step or a chunk.
        resets
            Which sequences start anew, from where a new stream starts, and at which step:
            booleans ``(batch,)`` for a step, for a chunk ``(batch, time)``, and one for a
            step without a batch axis. None is for no such step.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, or no integers where tokens are wanted, or
            `resets` holds no booleans.
        ValueError
            If `x` or `resets` has another shape, `x` holds a token that the first layer
            does not have, or `resets` come with a `Conv1d` whose windows are of more than
            one step.
        """
        for holder, values, options in self._versions:
            if holder.values is not values or holder.options is not options:
                self._renew()
                break
        # Attributes, since a function would take a tenth of a small step.
        threads = self._num_threads or thread_limits.fixed or thread_limits.host_number
        if threads != self._threads or chooser.kernels is not self._kernels:
            self._renew()
        # What a loop passes again and again goes straight to the kernels.
        step = self._step
        if resets is not None:
            return self._take_resets(x, resets)
        if step is not None:
            y = step(x)
            if y is not None:
                return y
        return self._take(x)

    def _take_resets(self, x: ArrayLike, resets: ArrayLike) -> Array:
        if self._steps.no_resets is not None:
            raise ValueError(self._steps.no_resets)
        y = None if self._step is None else self._step(x, resets)
        return self._take(x, resets) if y is None else y

    def _renew(self) -> None:
        """Make the kernels' step of what is valid now."""
        self._step = None
        self._steps = steps = self._layer._stream_steps(self._state)
        self._kernels = chooser.kernels
        self._threads = self._num_threads or thread_limits.last_known()
        if steps.stages:
            self._step = chooser.kernels.stepper(
                steps.stages,
                self._batch,
                steps.features,
                steps.dtype,
                num_threads=self._threads,
            )
        # Last, so that what failed is tried again.
        self._versions = steps.versions

    def _take(self, x: ArrayLike, resets: ArrayLike | None = None) -> Array:
        """Take whatever a stream takes, or say what it does not."""
        array = self._layer._stream_input(inputs.as_array("x", x))
        axes = self._leading_axes(array)
        self._check_time(array.shape[1] if axes == 2 else 1)
        also: tuple[Array, ...] = ()
        if resets is not None:
            also = (inputs.sequence_resets("resets", resets, array.shape[:axes]),)
        # A copy, since it may be the stream's own output, which the step writes over.
        y = None if self._step is None else self._step(array.copy(), *also)
        if y is not None:
            return y
        time = array.shape[1] if axes == 2 else 1
        chunk = array.reshape(self._batch, time, *array.shape[axes:])
        also = tuple([flags.reshape(self._batch, time) for flags in also])
        y, state = self._steps.run(chunk, self._state, self._num_threads, *also)
        self._overwrite(state)
        steps: Array = y if axes == 2 else y[:, 0] if axes == 1 else y[0, 0]
        return steps

    def _leading_axes(self, array: Array) -> int:
        """How many axes an input has before the features: none, the batch, and time."""
        is_tokens, wanted = inputs.is_integer(array), self._steps.features
        leading = array.shape if is_tokens else array.shape[:-1]
        # A net of activations alone takes any number of features.
        fits = is_tokens or (array.ndim > 0 and wanted in (None, array.shape[-1]))
        if fits and len(leading) <= 2 and (leading[:1] or (1,)) == (self._batch,):
            return len(leading)
        last = "" if is_tokens else f", {'features' if wanted is None else wanted}"
        step = f"({self._batch}{last or ','})"
        raise ValueError(
            f"x should have shape {step} or ({self._batch}, time{last}), got {array.shape}"
        )

    def _check_time(self, time: int) -> None:
        multiple = self._steps.multiple
        if time % multiple:
            raise ValueError(
                f"x should have a multiple of {multiple} steps, as so many make one of the "
                f"output, got {time}"
            )

    def __getstate__(self) -> dict[str, Any]:
        names = ("_layer", "_batch", "_num_threads", "_state")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind(self._state)

    def __copy__(self) -> Stream:
        return self.copy()

    def __repr__(self) -> str:
        return f"{self._layer!r}.stream(batch={self._batch})"


def _arrays(state: Any) -> Iterator[Array]:
    """The arrays of a state in any layer's form, in a fixed order."""
    if isinstance(state, tuple):
        for part in state:
            yield from _arrays(part)
    elif state is not None:
        yield state


def _copied(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(_copied(part) for part in state)
    return None if state is None else state.copy()
