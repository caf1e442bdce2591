"""The table of cells: what everybody but the kernels themselves has to know of each."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CELLS", "Cell", "look_up"]


class Cell(NamedTuple):
    """A cell, whose equations are the kernels' own.

    `gates` says how many blocks of hidden_size rows its weights have, in PyTorch's order.
    The first `gates_of_h` of them multiply h, and the gradients of these products are those
    of the gates. Of the others, which come last, the kernels keep the other factor, or the
    other gradient. `states` names the parts of the cell's state. Where it `keeps_gates`,
    the way back needs the gates' values and a further array of every step; otherwise the
    outputs are enough.
    """

    gates: int
    gates_of_h: int
    states: tuple[str, ...]
    keeps_gates: bool


CELLS = {
    "rnn": Cell(1, 1, ("h",), keeps_gates=False),
    "lstm": Cell(4, 4, ("h", "c"), keeps_gates=True),
    # The reset gate is applied after the recurrent product, or before it.
    "gru": Cell(3, 2, ("h",), keeps_gates=True),
    "gru_reset_before": Cell(3, 2, ("h",), keeps_gates=True),
}


def look_up(name: str) -> Cell:
    """Return the cell of this name.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from gatewise.kernels import cells
    >>> cells.look_up("lstm").states
    ('h', 'c')
    """
    try:
        return CELLS[name]
    except KeyError:
        raise ValueError(
            f"cell should be one of {', '.join(CELLS)}, got {name!r}"
        ) from None
