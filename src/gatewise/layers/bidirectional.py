"""Two directions out of one, by the name that Keras has for it."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from gatewise.layers.recurrent import Recurrent

__all__ = ["Bidirectional"]

Made = TypeVar("Made", bound=Recurrent)


def Bidirectional(layer: Made, merge: str = "concat") -> Made:
    """Return a layer of the class and the options of another that reads in both directions.

    ``Bidirectional(gatewise.GRU(3, 8), merge="sum")`` is, but for the first values,
    ``gatewise.GRU(3, 8, bidirectional=True, merge="sum")``: one layer, whose second
    direction has PyTorch's names, such as ``weight_ih_l0_reverse``.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Of one direction. Its parameters are not taken over.
    merge : {"concat", "sum", "mean"}, default "concat"
        What the outputs of both directions become. Keras's ``"ave"`` is the mean.

    Raises
    ------
    TypeError
        If `layer` is none of these, or has narrow weights.
    ValueError
        If it has two directions, or there is no such `merge`.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.Bidirectional(gatewise.LSTM(3, 4, seed=0), merge="mean")
    >>> layer
    LSTM(3, 4, bidirectional=True, merge='mean') with 288 parameters
    >>> layer(np.ones((2, 5, 3)))[0].shape
    (2, 5, 4)
    """
    if not isinstance(layer, Recurrent):
        got = type(layer).__name__
        raise TypeError(f"layer should be an RNN, an LSTM or a GRU, got {got}")
    layer._check_trainable()
    if layer.bidirectional:
        raise ValueError(
            f"layer should have one direction, got {layer._description()} with two"
        )
    given = {name: value for name, (value, _) in layer._arguments_and_defaults().items()}
    given |= {"bidirectional": True, "merge": merge, "seed": copy.deepcopy(layer.generator)}
    kind: Any = type(layer)
    made: Made = kind(**given)
    return made
