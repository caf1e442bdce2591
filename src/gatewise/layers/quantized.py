"""How weights become narrow: rounded, with a scale for each row where the format has them.

A quantized layer is a layer like any other but for how its weights are stored, what the
kernels make of the rows that these multiply, and that it cannot be trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import bfloat16, formats
from gatewise.kernels.formats import Format
from gatewise.layers.parameters import placeholder

Array = NDArray[Any]

__all__ = [
    "RECURRENT",
    "check_format",
    "kernel_format",
    "misfit",
    "narrow_placeholders",
    "narrowed",
    "scales",
    "shown",
]

# What the kernels call each format, by the bits of the rows that it multiplies.
_KERNELS: dict[str, dict[int | None, str]] = {
    "float16": {None: "float16"},
    "bfloat16": {None: "bfloat16"},
    "int8": {15: "int8", 8: "int8_8"},
}

# A recurrent layer's weights, by what their names begin with, in the order of the kernels'
# scales; all other parameters stay as they are.
RECURRENT = ("weight_ih", "weight_hh", "weight_hr")


def check_format(
    weight_format: str, activations: int | None, names: tuple[str, ...]
) -> int | None:
    """Return the bits of activations that a format goes with, those given or its own.

    Raises
    ------
    ValueError
        If the format is none of these names, or does not go with these bits.
    """
    if not isinstance(weight_format, str) or weight_format not in names:
        expected = ("one of " if len(names) > 1 else "") + ", ".join(names)
        raise ValueError(f"weight_format should be {expected}, got {weight_format!r}")
    known = _KERNELS[weight_format]
    if activations is None:
        return next(iter(known))
    # A float would be equal to its integer, and saved where none can be read.
    is_integer = isinstance(activations, Integral) and not isinstance(activations, bool)
    if not is_integer or int(activations) not in known:
        bits = " or ".join(map(str, known))
        raise ValueError(
            f"activations should be {bits} with {weight_format}, got {activations!r}"
        )
    return int(activations)


def kernel_format(weight_format: str, activations: int | None) -> str:
    """Return what the kernels call a layer's format."""
    if weight_format not in _KERNELS:
        return weight_format
    known = _KERNELS[weight_format]
    return known[next(iter(known)) if activations is None else activations]


def shown(weight_format: str, activations: int | None) -> str:
    """Return a narrow format as the arguments of `quantize` name it."""
    own = kernel_format(weight_format, None) == kernel_format(weight_format, activations)
    return f"weight_format={weight_format!r}" + (
        "" if own else f", activations={activations}"
    )


def narrowed(
    arrays: Mapping[str, Array], weight_format: str, names: tuple[str, ...]
) -> dict[str, Array]:
    """Return a layer's parameters with narrow weights, each followed by its scales.

    The weights are those parameters whose names begin with one of these.

    Raises
    ------
    ValueError
        If a weight is too large for the format, or NaN.
    """
    chosen = formats.look_up(weight_format)
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        if not name.startswith(names):
            found[name] = array
            continue
        largest = np.abs(array).max(axis=1)
        # So written that NaN is refused too.
        if not (largest <= chosen.largest).all():
            raise ValueError(
                f"{name} should hold numbers of at most {chosen.largest:g} to become "
                f"{weight_format}, got {largest.max()}"
            )
        with np.errstate(all="ignore"):
            if chosen.scaled:
                found[name], found[f"{name}_scale"] = _scaled(array, largest, chosen)
            elif chosen.is_bfloat16:
                found[name] = bfloat16.narrowed(array)
            else:
                found[name] = array.astype(chosen.dtype)
    return found


def narrow_placeholders(
    arrays: Mapping[str, Array], weight_format: str, names: tuple[str, ...]
) -> dict[str, Array]:
    """Return what `narrowed` would, with dtypes and shapes but without values."""
    chosen = formats.look_up(weight_format)
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        found[name] = array
        if name.startswith(names):
            found[name] = placeholder(array.shape, np.dtype(chosen.dtype))
            if chosen.scaled:
                found[f"{name}_scale"] = placeholder(array.shape[:1], array.dtype)
    return found


def _scaled(weight: Array, largest: Array, chosen: Format) -> tuple[Array, Array]:
    """The integers that a weight's rows are rounded to, and what they are multiplied by."""
    steps = np.iinfo(chosen.dtype).max
    row_scales = largest / np.float32(steps)
    # A row of zeros can have any scale.
    row_scales[row_scales == 0] = 1
    rounded = np.rint(weight / row_scales[:, None]).clip(-steps, steps)
    return rounded.astype(chosen.dtype), row_scales


def scales(
    arrays: Mapping[str, Array], suffix: str
) -> tuple[Array | None, Array | None, Array | None]:
    """What the kernels multiply the rows of a direction's weights by; None for nothing."""
    w_ih, w_hh, w_hr = (arrays.get(f"{name}{suffix}_scale") for name in RECURRENT)
    return w_ih, w_hh, w_hr


def misfit(name: str, parameter: Array, given: Array) -> str | None:
    """Why an array cannot take the place of one of a quantized layer's, if it cannot.

    That its shape fits is known.
    """
    if parameter.dtype != np.float32 and given.dtype != parameter.dtype:
        # A cast would lose what the scales of narrow weights are for.
        return f"{name} should have dtype {parameter.dtype}, got {given.dtype}"
    if not name.endswith("_scale") or given.dtype.kind not in "fiu":
        return None
    with np.errstate(all="ignore"):
        wrong = given[~np.isfinite(given.astype(parameter.dtype))]
    # What it gives with a weight of 0 would depend on the order of the products.
    return f"{name} should hold finite numbers, got {wrong[0]}" if wrong.size else None
