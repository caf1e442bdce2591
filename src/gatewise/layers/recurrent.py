"""What RNN, LSTM and GRU share: calls over sequences, the way back, and streams."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.kernels import computing, thread_limits
from gatewise.layers import inputs, passes
from gatewise.layers.keras_arrays import KerasArrays
from gatewise.layers.module import Gradients
from gatewise.layers.parameters import Snapshot
from gatewise.layers.recurrent_dicts import RecurrentFromStateDict
from gatewise.layers.sequences import Batch
from gatewise.layers.states import State
from gatewise.layers.tape import RecurrentTape, check_tape

Array = NDArray[Any]


class Recurrent(KerasArrays, RecurrentFromStateDict):
    """The base of RNN, LSTM and GRU."""

    @property
    def _zoneout_rates(self) -> tuple[float, ...]:
        return (self._holder.options["zoneout"],)

    def _batch(
        self, x: ArrayLike, lengths: ArrayLike | None, resets: ArrayLike | None = None
    ) -> Batch:
        return Batch(
            x,
            self.input_size,
            self._dtype,
            lengths,
            takes_tokens=self.tokens,
            resets=resets,
        )

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Any:
        """Return the outputs for the sequences `x` and the final state.

        Parameters
        ----------
        x
            ``(batch, time, input_size)``, or one sequence ``(time, input_size)``. For a
            layer made with ``tokens=True``, integers ``(batch, time)`` or ``(time,)`` are
            tokens from 0 to ``input_size - 1``. A transposed view of time-first data is not
            copied.
        state
            The initial state, of the shapes of the final one. If None, every sequence
            starts from `initial_state` or, where there is none, from zeros.
        lengths
            How many steps of each sequence exist; integers from 0 to time, in any order.
            What stands in `x` past a length is never read. All steps exist if None.
        resets
            Which steps begin something new, an episode say: booleans ``(batch, time)``, or
            ``(time,)`` without a batch axis. Where it is true, the step starts from
            `initial_state`, or from zeros, in place of what the steps before it left, or of
            `state`. For a second direction, which comes from the other end, the steps
            before that one start so, where they would go on from it. What stands past a
            length is never read. None is for no such step.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.

        Returns
        -------
        y
            ``(batch, time, D * H)``, the last layer's outputs, with zeros past each length.
            D is 2 for two directions, else 1, and H the size of one direction's output.
            Directions whose sum or mean is returned give ``(batch, time, H)``.
        state
            The state at each sequence's length, ``(num_layers * D, batch, H)``; for an LSTM
            a pair of h and c. Without a batch axis in `x` there is none here either.

        Raises
        ------
        TypeError
            If `x` or `state` holds no real numbers, `lengths` no integers, `resets` no
            booleans, or `num_threads` is no integer.
        ValueError
            If a shape does not fit, a token or a length is out of range, or `num_threads`
            is less than 1.
        """
        snapshot = self._holder.values.now()
        return self._call(snapshot, x, state, lengths, resets, num_threads)

    def _call(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, State]:
        threads = thread_limits.resolve(num_threads)
        batch = self._batch(x, lengths, resets)
        y, state, _ = self._infer(snapshot, batch, state, threads)
        return y, state

    def _infer(
        self,
        snapshot: Snapshot,
        batch: Batch,
        state: Any,
        threads: int,
        *,
        wants_cells: bool = False,
    ) -> tuple[Array, State, list[Array]]:
        form = self._state_form
        parts = form.take("state", batch, state, snapshot.arrays)
        rows, found = passes.infer(
            self._prepare(snapshot),
            batch,
            parts,
            self._zoneout_rates,
            form.resets(batch, snapshot.arrays),
            wants_cells=wants_cells,
            num_threads=threads,
        )
        return batch.restore(self._merged(rows)), form.restore(batch, parts), found

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
        compute: str | None = None,
    ) -> tuple[Array, Any, RecurrentTape]:
        """Return outputs, final state and a tape, with the dropout and zoneout of training.

        The arguments are those of a call. `y` may be a read-only array that the tape refers
        to. `RecurrentTape` says how much memory a tape takes.

        With `compute` "bfloat16" the products of a float32 layer, also on the way back from
        this tape, are of weights, rows and gradients rounded to bfloat16, where the
        processor multiplies these; elsewhere they stay float32. Parameters, states, sums
        and gradients are float32. None is what `fit` was told, and else "float32".

        Raises
        ------
        TypeError
            If `x` or `state` holds no real numbers, `lengths` no integers, `resets` no
            booleans, `num_threads` is no integer, or the layer's weights are narrow.
        ValueError
            If a shape does not fit, a token or a length is out of range, `num_threads` is
            less than 1, or `compute` is unknown.
        """
        with computing.using(compute):
            return self._forward(self._snapshot(), x, state, lengths, resets, num_threads)

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, Any, RecurrentTape]:
        self._check_trainable()
        threads = thread_limits.resolve(num_threads)
        batch = self._batch(x, lengths, resets)
        form = self._state_form
        parts = form.take("state", batch, state, snapshot.arrays)
        drawn = passes.Drawn(
            self.generator,
            self.dropout,
            self.recurrent_dropout,
            self._zoneout_rates,
            self.variational,
        )
        rows, passed = passes.forward(
            self._prepare_to_train(snapshot),
            batch,
            parts,
            drawn,
            form.resets(batch, snapshot.arrays),
            num_threads=threads,
        )
        y = batch.restore(self._merged(rows))
        y.flags.writeable = False
        defaulted: list[bool] = []
        if self.learn_initial_state:
            defaulted = [part is None for _, part in form.split("state", state)]
        tape = RecurrentTape(self, snapshot, batch, passed, defaulted)
        return y, form.restore(batch, parts), tape

    def backward(
        self,
        tape: RecurrentTape,
        dy: ArrayLike | None,
        dstate: Any = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array | None, Any, Gradients]:
        """Return the gradients of the input, of the initial state and of the parameters.

        Parameters
        ----------
        tape
            From `forward`; it can be used more than once, until the parameters change.
        dy
            The gradient of the outputs, of their shape; None if the loss does not use them.
            What it holds past a length does not matter.
        dstate
            The gradient of the final state, of its shapes; None if the loss does not use
            it.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.

        Returns
        -------
        dx
            The gradient of `x`, with zeros past each length; None for tokens.
        dstate
            The gradient of the initial state, whether `forward` was given one or not.
            Nothing of what comes after a reset reaches it.
        gradients
            The gradients of the parameters, by the names of `parameters`. Those of
            ``initial_h`` and ``initial_c`` are there if the layer was made with
            ``learn_initial_state=True``: the sums over the batch of what `dstate` holds,
            unless `forward` was given a state, and over all resets.

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

        Notes
        -----
        This is backpropagation through time [1]_.

        References
        ----------
        .. [1] Werbos, P. J. (1990). "Backpropagation Through Time: What It Does and How to
           Do It". Proceedings of the IEEE 78(10), 1550-1560.
        """
        self._check_trainable()
        check_tape(tape, RecurrentTape, self)
        threads = thread_limits.resolve(num_threads)
        batch, form = tape.batch, self._state_form
        drows = self._parted(batch.gradient_rows(dy, self._features()[1]))
        dparts = form.take("dstate", batch, dstate)
        dresets = None
        if self.learn_initial_state and batch.resets is not None:
            dresets = tuple([np.zeros_like(part) for part in dparts])
        dx, gradients = passes.backward(
            tape.passed, drows, dparts, dresets, num_threads=threads
        )
        found = {
            name + suffix: gradient
            for layer, directions in enumerate(gradients)
            for suffix, weights in zip(self._suffixes(layer), directions, strict=True)
            for name, gradient in self._named(weights).items()
        }
        if self.learn_initial_state:
            found |= self._initial_gradients(dparts, tape.defaulted, dresets)
        ordered = {name: found[name] for name in tape.snapshot.arrays if name in found}
        return (
            None if dx is None else batch.restore(dx),
            form.restore(batch, dparts),
            ordered,
        )

    def _merged(self, rows: Array) -> Array:
        """The outputs, given those of both directions side by side."""
        if self.merge == "concat":
            return rows
        with np.errstate(all="ignore"):
            y: Array = rows[..., : self.output_size] + rows[..., self.output_size :]
            if self.merge == "mean":
                y *= rows.dtype.type(0.5)
        return y

    def _parted(self, dy: Array) -> Array:
        """The gradient of both directions' outputs, given that of `_merged`."""
        if self.merge == "concat":
            return dy
        if self.merge == "mean":
            dy = dy * dy.dtype.type(0.5)
        return np.concatenate([dy, dy], axis=-1)

    def _stream_state(self, name: str, state: Any, batch: int) -> State:
        rows = np.empty((batch, 0, self.input_size), self._dtype)
        part = state[0] if isinstance(state, tuple | list) and state else state
        if batch == 1 and part is not None and inputs.as_array(name, part).ndim == 2:
            rows = rows[0]
        form = self._state_form
        own = self._holder.values.now().arrays
        parts = form.take(name, self._batch(rows, None), state, own)
        return parts[0] if len(parts) == 1 else (parts[0], parts[1])

    def _no_stream(self) -> str | None:
        if self.bidirectional:
            return "a bidirectional layer cannot stream, as one direction starts at the end"
        return None

    def _stream_input(self, array: Array) -> Array:
        if self.tokens and inputs.is_integer(array) and array.ndim < 3:
            return inputs.tokens("x", array, self.input_size)
        return inputs.real("x", array, self._dtype)

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]] | None:
        if any(self._zoneout_rates):
            # It comes between the steps of the layers.
            return None
        parts = state if isinstance(state, tuple) else (state,)
        stages: list[tuple[Any, ...]] = []
        starts = self._state_form.starts(snapshot.arrays, self._dtype)
        for layer, directions in enumerate(self._prepare(snapshot)):
            own = tuple(part[layer] for part in parts)
            table = [directions[0].table] if self.tokens and is_first and not layer else []
            stages.append(("recurrent", directions[0].packed, own, starts[layer], *table))
        return stages
