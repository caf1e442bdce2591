"""Clipping of gradients by the norm of all of them together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.training.arguments import as_number, describe
from gatewise.training.portable import sum_of_squares

Array = NDArray[Any]

__all__ = ["clip_grad_norm"]

# Squares of norms between these, and their inverses, are well within float32 and float64.
_SMALLEST, _LARGEST = 1e-30, 1e30


def clip_grad_norm(gradients: Mapping[str, Array], max_norm: float) -> float:
    """Scale `gradients` in place so that their joint norm is at most `max_norm`.

    The norm is right whatever the size of the gradients: it is summed in float64, and of
    scaled gradients where it is not between 1e-30 and 1e30. Gradients that are not finite
    stay visible, as in PyTorch: NaN in one of them makes all of them NaN, and with an
    infinite one all finite ones become 0 and the infinite ones NaN.

    Parameters
    ----------
    gradients : dict of str to ndarray
    max_norm : float

    Returns
    -------
    float
        The Euclidean norm of all gradients together, before scaling.

    Raises
    ------
    TypeError
        If `gradients` is no dictionary of floating-point arrays, or `max_norm` no number.
    ValueError
        If a gradient is read-only, or `max_norm` negative or not finite.

    Notes
    -----
    This is the clipping of [1]_.

    References
    ----------
    .. [1] Pascanu, R., Mikolov, T., and Bengio, Y. (2013). "On the Difficulty of Training
       Recurrent Neural Networks". ICML 2013. arXiv:1211.5063.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> gradients = {"a": np.array([3.0]), "b": np.array([4.0])}
    >>> gatewise.clip_grad_norm(gradients, 1.0)
    5.0
    >>> {name: gradient.round(5).item() for name, gradient in gradients.items()}
    {'a': 0.6, 'b': 0.8}
    """
    max_norm = as_number("max_norm", max_norm)
    arrays = _writable(gradients)
    with np.errstate(all="ignore"):
        unit, norm = 1.0, _norm(arrays)
        if not _SMALLEST < norm < _LARGEST:
            largest = max(map(_largest, arrays), default=0.0)
            if 0 < largest < math.inf:
                unit, norm = largest, _norm(array / largest for array in arrays)
        scale = max_norm / (norm * unit + 1e-6)
        # Written this way round, a NaN reaches the gradients and so is seen.
        if not scale >= 1:
            for array in arrays:
                if unit != 1:
                    # In two steps, of which neither leaves the range of the dtype.
                    array /= unit
                    array *= max_norm / norm
                else:
                    array *= scale
    return norm * unit


def _norm(arrays: Iterable[Array]) -> float:
    return math.sqrt(sum(map(sum_of_squares, arrays)))


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0))


def _writable(gradients: Mapping[str, Array]) -> list[Array]:
    if not isinstance(gradients, Mapping):
        raise TypeError(f"gradients should map names to arrays, got {describe(gradients)}")
    for name, array in gradients.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            what = array.dtype if isinstance(array, np.ndarray) else describe(array)
            raise TypeError(
                f"gradients[{name!r}] should be an array of real numbers, got {what}"
            )
        if not array.flags.writeable:
            raise ValueError(
                f"gradients[{name!r}] should be writable, got a read-only array"
            )
    return list(gradients.values())
