"""In which order each framework keeps the gates of a cell, and the way from one to another.

No other file knows. The gates' names are those of the equations in
``kernels/numpy/equations.py``: i f g o of an LSTM, where g is the candidate that others
call c or j; r z n of a GRU, where n is the candidate that others call h; and the one
sum h of an RNN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import cells

Array = NDArray[Any]

__all__ = ["ORDERS", "PEEPHOLES", "reordered", "reordered_peepholes"]

# By cell and by framework; "pytorch" is the order of gatewise's own parameters.
ORDERS = {
    "rnn": {"pytorch": "h", "keras": "h", "keras_1": "h", "onnx": "h"},
    "lstm": {
        "pytorch": "ifgo",
        "keras": "ifgo",
        "keras_1": "igfo",
        "onnx": "iofg",
        "tensorflow": "igfo",
    },
    "gru": {"pytorch": "rzn", "keras": "zrn", "keras_1": "zrn", "onnx": "zrn"},
    "gru_reset_before": {"pytorch": "rzn", "keras": "zrn", "onnx": "zrn"},
}
# Those gates of an LSTM that see c through a peephole.
PEEPHOLES = {"pytorch": "ifo", "onnx": "iof"}


def reordered(
    array: Array, cell: str, source: str, target: str = "pytorch", *, axis: int = 0
) -> Array:
    """Return a copy whose blocks, one for each gate along `axis`, stand in another order.

    Parameters
    ----------
    array
        Weights or biases, with ``gates * hidden_size`` entries along `axis`.
    cell
        A name of ``kernels/cells.py``.
    source, target
        Names of frameworks, as `ORDERS` has them.

    Raises
    ------
    ValueError
        If `axis` cannot be divided between the gates.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import gates
    >>> gates.reordered(np.array([1, 2, 3, 4, 5, 6]), "gru", "keras")
    array([3, 4, 1, 2, 5, 6])
    """
    count = cells.look_up(cell).gates
    if array.shape[axis] % count:
        raise ValueError(
            f"array should have a multiple of {count} along axis {axis}, "
            f"got shape {array.shape}"
        )
    return _reordered(array, ORDERS[cell][source], ORDERS[cell][target], axis)


def reordered_peepholes(
    array: Array, source: str, target: str = "pytorch", *, axis: int = 0
) -> Array:
    """Return a copy of an LSTM's peepholes whose blocks stand in another order."""
    return _reordered(array, PEEPHOLES[source], PEEPHOLES[target], axis)


def _reordered(array: Array, source: str, target: str, axis: int) -> Array:
    blocks = np.split(array, len(source), axis)
    return np.concatenate([blocks[source.index(gate)] for gate in target], axis)
