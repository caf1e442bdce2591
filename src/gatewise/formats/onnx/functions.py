"""The activations of ONNX's recurrent operators, and what gatewise calls them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from gatewise.kernels.activations import ACTIVATIONS, Activation, Spelling

__all__ = ["named", "shortest", "taken"]

# By the names of the specification, with the default of each number; None where there is
# none to be relied on: the operators Affine and ScaledTanh are gone from ONNX, and runtimes
# differ about those of the activations.
_FUNCTIONS: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "Relu": ("relu", ()),
    "Tanh": ("tanh", ()),
    "Sigmoid": ("sigmoid", ()),
    "Affine": ("affine", (None, 0.0)),
    "LeakyRelu": ("leaky_relu", (0.01,)),
    "ThresholdedRelu": ("thresholded_relu", (1.0,)),
    "ScaledTanh": ("scaled_tanh", (None, None)),
    "HardSigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "Elu": ("elu", (1.0,)),
    "Softsign": ("softsign", ()),
    "Softplus": ("softplus", ()),
}
# What gatewise has a name for.
_LINEAR = Activation("affine", 1.0, 0.0)
_BY_LOWER = {name.lower(): name for name in _FUNCTIONS}


def taken(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> list[Activation]:
    """Return a node's activations.

    Parameters
    ----------
    names
        In the order of the attribute; upper and lower case are the same.
    alphas, betas
        Those functions that have such a number take the next one each, and their defaults
        once none is left.

    Raises
    ------
    ValueError
        If a name is none of ONNX's, a number is missing or not finite, or more are given
        than are taken.

    Examples
    --------
    >>> from gatewise.formats.onnx import functions
    >>> functions.taken(["Sigmoid", "hardsigmoid"], [0.25], [])[1]
    Activation(name='hard_sigmoid', alpha=0.25, beta=0.5)
    """
    left = {"activation_alpha": iter(alphas), "activation_beta": iter(betas)}
    found = []
    wanted = dict.fromkeys(left, 0)
    for name in names:
        known = _BY_LOWER.get(name.lower()) if isinstance(name, str) else None
        if known is None:
            raise ValueError(
                f"activations should be of {', '.join(_FUNCTIONS)}, got {name!r}"
            )
        ours, defaults = _FUNCTIONS[known]
        numbers = [
            _number(left[argument], default, known, argument)
            for argument, default in zip(left, defaults, strict=False)
        ]
        for argument, _ in zip(left, defaults, strict=False):
            wanted[argument] += 1
        found.append(Activation(ours, *numbers))
    for argument, given in (("activation_alpha", alphas), ("activation_beta", betas)):
        # Where no function takes one, exporters write zeros.
        if len(given) > wanted[argument] > 0:
            raise ValueError(
                f"{argument} should have at most {wanted[argument]} numbers, one for each "
                f"activation that takes one, got {len(given)}"
            )
    return found


def _number(
    left: Iterator[float], default: float | None, name: str, argument: str
) -> float:
    value = next(left, default)
    if value is None:
        raise ValueError(f"{argument} should have a number for {name}, got none")
    if not math.isfinite(value):
        raise ValueError(f"{argument} should have finite numbers, got {value!r}")
    return float(value)


def shortest(activation: Activation) -> Spelling:
    """Return how a layer is told of an activation whose numbers are in single precision.

    They become the shortest decimals that round to them, as whoever exported them had it,
    or the layer's own default where that does.
    """
    if activation == _LINEAR:
        return "linear"
    takes = ACTIVATIONS[activation.name]
    values = activation[1 : 1 + len(takes)]
    numbers = []
    for value, default in zip(values, takes.values(), strict=True):
        single = np.float32(value)
        numbers.append(default if single == np.float32(default) else float(str(single)))
    return (activation.name, *numbers) if numbers else activation.name


def named(activation: Activation) -> tuple[str, list[float], list[float]]:
    """Return what ONNX calls an activation, and what it takes of alphas and betas.

    Raises
    ------
    ValueError
        If ONNX has none such.

    Examples
    --------
    >>> from gatewise.formats.onnx import functions
    >>> from gatewise.kernels.activations import Activation
    >>> functions.named(Activation("leaky_relu", 0.5))
    ('LeakyRelu', [0.5], [])
    """
    if activation.name == "linear":
        activation = _LINEAR
    for name, (ours, defaults) in _FUNCTIONS.items():
        if ours == activation.name:
            numbers = [activation.alpha, activation.beta][: len(defaults)]
            return name, numbers[:1], numbers[1:]
    raise ValueError(
        f"activation should be one that ONNX has, got {activation.name!r}; it has "
        f"{', '.join(_FUNCTIONS)}"
    )
