"""ONNX's RNN, LSTM and GRU with every attribute, on the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise import direction
from gatewise.direction import Prepared
from gatewise.formats.onnx import steps
from gatewise.formats.onnx.node import plain
from gatewise.formats.onnx.plan import Plan, plan_of
from gatewise.formats.onnx.weights import Matrices, as_floats, check_shape, matrices_of
from gatewise.kernels import thread_limits
from gatewise.layers import inputs
from gatewise.layers.sequences import Ragged

Array = NDArray[Any]

__all__ = ["Recurrence", "run_node"]


def run_node(
    node: Any,
    inputs: Sequence[ArrayLike | None] | Mapping[str, ArrayLike | None],
    *,
    num_threads: int | None = None,
) -> tuple[Array | None, ...]:
    """Run one RNN, LSTM or GRU of ONNX, as its specification says.

    Parameters
    ----------
    node
        An ``onnx.NodeProto``, or a `Node`, for which the package onnx is not needed.
    inputs
        Arrays in the order of ``node.input``, with None for what is left out; or arrays by
        the names that stand there. float32 and float64 are computed as such, float16 and
        bfloat16 in float32.
    num_threads
        How many threads this call may use; as `gatewise.set_num_threads` says if None.

    Returns
    -------
    tuple of arrays
        In the order of ``node.output``, with None for an output without a name.

    Raises
    ------
    TypeError
        If `node` or `inputs` is no such thing, or `num_threads` no integer.
    ValueError
        If an attribute is not what it should be, or an input is missing or does not fit.

    Notes
    -----
    The operators are those of [1]_, of all versions from 1 to 22. Where it leaves something
    open: `clip` is for the sums of gates and candidates, and not for an LSTM's c on its way
    to h, as ONNX Runtime has it; a sequence of length 0 ends with its initial state, where
    ONNX Runtime gives zeros; and Affine and ScaledTanh have no default numbers.

    References
    ----------
    .. [1] "RNN", "LSTM" and "GRU", github.com/onnx/onnx/blob/main/docs/Operators.md

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.formats.onnx import Node, run_node
    >>> node = Node("RNN", ["X", "W", "R"], ["", "Y_h"], {"activations": ["Relu"]})
    >>> x, w, r = np.ones((3, 1, 2)), np.ones((1, 1, 2)), np.ones((1, 1, 1))
    >>> run_node(node, [x, w, r])
    (None, array([[[6.]]]))
    """
    plan = plan_of(plain(node))
    given = _by_role(plan, inputs)
    return Recurrence(plan, matrices_of(plan, given))(given, num_threads)


class Recurrence:
    """A node with its weights, which can be run again and again."""

    def __init__(self, plan: Plan, matrices: Matrices) -> None:
        self.plan, self.matrices = plan, matrices
        ways = range(len(plan.ways))
        self._weights = [matrices.weights(plan, way) for way in ways]
        self._on_kernels = plan.clip is None and not plan.coupled
        self._prepared = [
            Prepared(weights) for weights in self._weights if self._on_kernels
        ]

    def __call__(
        self, given: Mapping[str, ArrayLike | None], num_threads: int | None = None
    ) -> tuple[Array | None, ...]:
        """Return the outputs, given the inputs X, sequence_lens, initial_h and initial_c.

        Raises
        ------
        TypeError
            If `num_threads` is no integer.
        ValueError
            If an input is missing or does not fit, or `num_threads` is less than 1.
        """
        threads = thread_limits.resolve(num_threads)
        plan, dtype = self.plan, self.matrices.dtype
        working = self._weights[0].bias.dtype
        if given.get("X") is None:
            raise ValueError("X should be an array, got none")
        x = as_floats("X", given["X"])
        if x.ndim != 3:
            wanted = "(batch, time, " if plan.batch_first else "(time, batch, "
            raise ValueError(
                f"X should have shape {wanted}{self.matrices.input_size}), got {x.shape}"
            )
        if plan.batch_first:
            x = x.swapaxes(0, 1)
        time, batch = x.shape[:2]
        check_shape("X", x, (time, batch, self.matrices.input_size), dtype)
        ragged = _ragged(given.get("sequence_lens"), batch, time)
        names = ("initial_h", "initial_c")[: 2 if plan.cell == "lstm" else 1]
        parts = [self._initial(name, given.get(name), batch) for name in names]
        y = self._run(
            inputs.real("X", x.astype(working, copy=False), working), parts, ragged, threads
        )
        outputs = [y, *parts]
        if plan.batch_first:
            outputs = [y.transpose(2, 0, 1, 3), *(part.swapaxes(0, 1) for part in parts)]
        return tuple(
            output.astype(dtype, copy=False) if name else None
            for name, output in zip(plan.node.output, outputs, strict=False)
        )

    def _run(
        self, x: Array, parts: list[Array], ragged: Ragged | None, threads: int
    ) -> Array:
        """Return Y ``(time, directions, batch, H)``, and let `parts` be the final state."""
        time, batch = x.shape[:2]
        size = self.matrices.hidden_size
        rows = x if ragged is None else x[ragged.time, ragged.sequence][None]
        y = np.zeros((time, len(self.plan.ways), batch, size), x.dtype)
        for way, of_way in enumerate(self.plan.ways):
            state = tuple(part[way] for part in parts)
            if ragged is None:
                self._infer(way, of_way.reverse, rows, state, y[:, way], None, threads)
                continue
            state = tuple(part[ragged.order] for part in state)
            found = np.empty((1, rows.shape[1], size), x.dtype)
            self._infer(
                way, of_way.reverse, rows, state, found, ragged.batch_sizes, threads
            )
            y[ragged.time, way, ragged.sequence] = found[0]
            for part, final in zip(parts, state, strict=True):
                part[way, ragged.order] = final
        return y

    def _infer(
        self,
        way: int,
        reverse: bool,
        rows: Array,
        state: tuple[Array, ...],
        y: Array,
        batch_sizes: NDArray[np.int64] | None,
        threads: int,
    ) -> None:
        if self._on_kernels:
            self._prepared[way].renew()
            direction.infer(
                self._prepared[way],
                rows,
                state,
                y,
                batch_sizes=batch_sizes,
                reverse=reverse,
                num_threads=threads,
            )
        else:
            steps.infer(
                self._weights[way],
                rows,
                state,
                y,
                clip=self.plan.clip,
                coupled=self.plan.coupled,
                batch_sizes=batch_sizes,
                reverse=reverse,
            )

    def _initial(self, name: str, value: ArrayLike | None, batch: int) -> Array:
        """One part of the state, ``(directions, batch, H)``, to be overwritten."""
        working = self._weights[0].bias.dtype
        shape = (len(self.plan.ways), batch, self.matrices.hidden_size)
        if value is None:
            return np.zeros(shape, working)
        part = as_floats(name, value)
        if self.plan.batch_first:
            check_shape(name, part, (batch, shape[0], shape[2]), self.matrices.dtype)
            part = part.swapaxes(0, 1)
        check_shape(name, part, shape, self.matrices.dtype)
        return np.array(part, working, order="C")


def _ragged(lengths: ArrayLike | None, batch: int, time: int) -> Ragged | None:
    if lengths is None:
        return None
    array = inputs.as_array("sequence_lens", lengths)
    if array.dtype.kind not in "iu" or array.shape != (batch,):
        raise ValueError(
            f"sequence_lens should be integers of shape ({batch},), "
            f"got {array.dtype} {array.shape}"
        )
    wrong = array[(array < 0) | (array > time)]
    if wrong.size:
        raise ValueError(f"sequence_lens should be from 0 to {time}, got {wrong[0]}")
    return Ragged(array.astype(np.int64)) if (array < time).any() else None


def _by_role(
    plan: Plan, given: Sequence[ArrayLike | None] | Mapping[str, ArrayLike | None]
) -> dict[str, ArrayLike | None]:
    """The inputs by the names that the specification has for them."""
    names = plan.node.input
    if isinstance(given, Mapping):
        missing = [name for name in names if name and name not in given]
        if missing:
            raise ValueError(f"inputs should have {missing[0]!r}, got none of that name")
        values = [given[name] if name else None for name in names]
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        values = list(given)
        if len(values) > len(names):
            raise ValueError(
                f"inputs should be at most {len(names)}, as {plan.node} has, "
                f"got {len(values)}"
            )
    else:
        raise TypeError(
            "inputs should be a list or a tuple of arrays, or map names to them, "
            f"got {type(given).__name__}"
        )
    return {
        role: value if name else None
        for role, name, value in zip(plan.operator.inputs, names, values, strict=False)
    }
