"""The kinds of layers: those without a state, those with one, and those that stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike, NDArray

from gatewise.kernels.resets import Flags
from gatewise.layers.module import Gradients, Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.stream import Stream
from gatewise.layers.streamable import Steps

Array = NDArray[Any]


class Feedforward(Module, ABC):
    """A layer that maps arrays to arrays and carries no state from step to step."""

    def __call__(self, x: ArrayLike, *, num_threads: int | None = None) -> Array:
        """Return the output for `x`, as at inference.

        Parameters
        ----------
        x
            The input, of any leading shape.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, for an `Embedding` no integers, or `num_threads`
            is no integer.
        ValueError
            If a shape does not fit, a token is out of range, or `num_threads` is less than
            1.
        """
        return self._call(self._snapshot(), x, num_threads)

    def forward(self, x: ArrayLike, *, num_threads: int | None = None) -> tuple[Array, Any]:
        """Return the output for `x`, as in training, and a tape for `backward`.

        The tape refers to `x`, which may not change before `backward`, or to the output.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, for an `Embedding` no integers, or `num_threads`
            is no integer.
        ValueError
            If a shape does not fit, a token is out of range, or `num_threads` is less than
            1.
        """
        return self._forward(self._snapshot(), x, num_threads)

    @abstractmethod
    def backward(
        self, tape: Any, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array | None, Gradients]:
        """Return the gradients of `x` (None for tokens) and of the parameters, by name.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` holds no real numbers, or
            `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """

    @abstractmethod
    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        """A call, with the parameters of `snapshot`."""

    @abstractmethod
    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, Any]:
        """`forward`, with the parameters of `snapshot`."""

    def _call_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> Array:
        """A call on sequences that have lengths, which few of these layers ask for."""
        return self._call(snapshot, x, num_threads)

    def _forward_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, Any]:
        """`forward` on sequences that have lengths."""
        return self._forward(snapshot, x, num_threads)

    def _advance(
        self,
        snapshot: Snapshot,
        x: Array,
        state: Any,
        num_threads: int | None,
        resets: Flags | None = None,
    ) -> tuple[Array, Any]:
        """As for a layer that streams, with no state."""
        return self._call(snapshot, x, num_threads), None


class Streaming(Module, ABC):
    """A layer that takes steps one after the other, with what they leave for the next."""

    def stream(self, batch: int = 1, num_threads: int | None = None) -> Stream:
        """Return a stream that runs this layer step by step; see `Stream`.

        What a step returns is overwritten by the next one: copy what is to be kept. The
        stream starts from each layer's `initial_state`, or from zeros where there is none.

        Parameters
        ----------
        batch
            How many sequences advance together.
        num_threads
            How many threads each call of the stream may use; as `gatewise.set_num_threads`
            says at the time if None.

        Raises
        ------
        TypeError
            If `batch` or `num_threads` is no integer.
        ValueError
            If `batch` or `num_threads` is less than 1, or if an output of the layer, or of
            one inside, depends on later steps: it is bidirectional, or a `Conv1d` that is
            not causal.
        """
        return Stream(self, batch, num_threads)

    @abstractmethod
    def _stream_state(self, name: str, state: Any, batch: int) -> Any:
        """A state for a batch in arrays that nobody else has; the initial one if None.

        With a batch of one, `state` may be without its axis.
        """

    @abstractmethod
    def _advance(
        self,
        snapshot: Snapshot,
        x: Array,
        state: Any,
        num_threads: int | None,
        resets: Flags | None = None,
    ) -> tuple[Array, Any]:
        """The output for a chunk ``(batch, time, features)``, and the state after it.

        `state` is the one before it, of a stream's form.
        """

    def _stream_check(self) -> None:
        """Raise ValueError if this layer cannot stream, or one inside."""
        reason = self._first_reason(lambda leaf: leaf._no_stream())
        if reason is not None:
            raise ValueError(reason)

    def _first_reason(self, ask: Callable[[Module], str | None]) -> str | None:
        """Why a layer inside cannot do something, and which it is, if one cannot."""
        for name, leaf in self._leaves():
            reason = ask(leaf)
            if reason is not None:
                return reason + (f"; got {name}, {leaf._description()}" if name else "")
        return None

    def _reason_against_resets(self) -> str | None:
        return self._first_reason(lambda leaf: leaf._no_resets())

    def _stream_steps(self, state: Any) -> Steps:
        """How this layer takes steps with the parameters and options of this moment."""
        leaves = [leaf for _, leaf in self._leaves()]
        # Before the parameters: what changes in between is seen at the next step.
        versions = [leaf._holder.version() for leaf in leaves]
        snapshot = self._snapshot()
        features = self._features()[0]
        dtypes = {leaf.dtype for leaf in leaves if not leaf._keeps_dtype}
        stages = None
        if len(dtypes) == 1 and features is not None:
            stages = self._stages(snapshot, state, is_first=True)

        def run(
            x: Array, state: Any, num_threads: int | None, resets: Flags | None = None
        ) -> tuple[Array, Any]:
            return self._advance(snapshot, x, state, num_threads, resets)

        return Steps(
            versions,
            features,
            run,
            stages,
            dtypes.pop() if stages else None,
            self._steps_for_one(),
            self._reason_against_resets(),
        )


class Stateful(Streaming, ABC):
    """A layer over sequences that carries a state from step to step."""

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Any:
        """Return the outputs for the sequences `x` and the final state, as at inference.

        Raises
        ------
        TypeError
            If `x` or `state` holds no real numbers, `lengths` no integers, `resets` no
            booleans, or `num_threads` is no integer.
        ValueError
            If a shape does not fit, a token or a length is out of range, or `num_threads`
            is less than 1.
        """
        return self._call(self._snapshot(), x, state, lengths, resets, num_threads)

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, Any, Any]:
        """Return outputs and final state, as in training, and a tape for `backward`.

        Raises
        ------
        TypeError
            If `x` or `state` holds no real numbers, `lengths` no integers, `resets` no
            booleans, or `num_threads` is no integer.
        ValueError
            If a shape does not fit, a token or a length is out of range, or `num_threads`
            is less than 1.
        """
        return self._forward(self._snapshot(), x, state, lengths, resets, num_threads)

    @abstractmethod
    def backward(
        self,
        tape: Any,
        dy: ArrayLike | None,
        dstate: Any = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array | None, Any, Gradients]:
        """Return the gradients of `x`, of the initial state and of the parameters.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` or `dstate` holds no real
            numbers, or `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """

    @abstractmethod
    def _call(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> Any:
        """A call, with the parameters of `snapshot`."""

    @abstractmethod
    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, Any, Any]:
        """`forward`, with the parameters of `snapshot`."""

    def _advance(
        self,
        snapshot: Snapshot,
        x: Array,
        state: Any,
        num_threads: int | None,
        resets: Flags | None = None,
    ) -> tuple[Array, Any]:
        y, final = self._call(snapshot, x, state, None, resets, num_threads)
        return y, final
