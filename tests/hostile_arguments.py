"""Arguments that nobody should give: what `tests.hostile_calls` draws its calls from.

Arrays are empty, huge along one axis, overlapping, of odd strides, dtypes and subclasses,
with NaN and infinity; or there is something else in their place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

Array = np.ndarray[Any, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

# For which no machine has memory, and whose products with others overflow.
HUGE = (2**40, 2**61)
DTYPES = ("f4", "f8", ">f4", "f2", "i4", "i8", "u1", "?", "c16", "O", "U3", "M8[s]", "g")
OTHERS = (None, "text", 3.5, [[1], [1, 2]], {}, object, b"x", ())


class Subclass(np.ndarray[Any, Any]):
    """Knows another way to add."""

    def __add__(self, other: Any) -> Any:
        raise AssertionError("a subclass should be taken as the array that it is")


def values(draw: Draw, shape: tuple[int, ...], dtype: str) -> Array:
    """An array of this shape, ordinary as a rule."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    floats = generator.standard_normal(shape)
    match draw(st.sampled_from(["", "", "", "nan", "inf", "large", "small"])):
        case "nan":
            floats[generator.random(shape) < 0.2] = np.nan
        case "inf":
            floats[generator.random(shape) < 0.2] = np.inf
        case "large":
            floats = floats * 1e300
        case "small":
            floats = floats * 1e-310
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if dtype.startswith("M"):
            return (1000 * np.nan_to_num(floats)).clip(-9e9, 9e9).astype("i8").astype(dtype)
        if dtype in ("i4", "i8", "u1"):
            return generator.integers(0, 3, shape).astype(dtype)
        return np.asarray(floats).astype(dtype)


def laid_out(draw: Draw, array: Array) -> Any:
    """The same values, in memory in some other way, or nearly the same."""
    way = draw(st.integers(0, 14))
    if way == 1:
        return np.asfortranarray(array)
    if way == 2 and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if way == 3 and array.ndim:
        return array[::-1]
    if way == 4:
        memory = np.zeros(array.nbytes + 1, np.uint8)
        if array.dtype.hasobject:
            return array
        moved = memory[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    if way == 5:
        array.setflags(write=False)
    if way == 6 and array.ndim and array.size:
        # All rows in the same memory, one element apart.
        strides = (*[array.itemsize] * array.ndim,)
        flat = np.resize(array, sum(array.shape) + 1)
        return as_strided(flat, array.shape, strides)
    if way == 7 and array.size:
        return np.broadcast_to(array.reshape(-1)[0], array.shape)
    if way == 8:
        return array.view(Subclass)
    if way == 9:
        return np.ma.array(array)
    if way == 10:
        return array.tolist()
    return array


def shaped(draw: Draw, shape: tuple[int, ...], huge: bool) -> tuple[int, ...]:
    """A shape near that one."""
    sizes = list(shape)
    if draw(st.integers(0, 3)) == 0:
        return tuple(sizes[1:] if draw(st.booleans()) else [*sizes, 1])
    axis = draw(st.integers(0, len(sizes) - 1))
    others = [0, 0, 1, sizes[axis] + 1, *(HUGE if huge else ())]
    sizes[axis] = draw(st.sampled_from(others))
    return tuple(sizes)


def array(draw: Draw, *shape: int, kind: str = "", huge: bool = True) -> Any:
    """Something in place of an array of this shape, which may be huge along an axis."""
    dtype = kind or draw(st.sampled_from(["f4", "f8"]))
    found = shape
    match draw(st.integers(0, 15)):
        case 13:
            dtype = draw(st.sampled_from(DTYPES))
        case 14:
            found = shaped(draw, shape, huge)
        case 15:
            return draw(st.sampled_from(OTHERS))
    if not any(size in HUGE for size in found):
        return laid_out(draw, values(draw, found, dtype))
    one = values(draw, (1,) * len(found), dtype)
    try:
        return np.broadcast_to(one, found)
    except ValueError:  # larger than an array can be
        return one


def number(draw: Draw, usual: int) -> Any:
    """Something in place of a size."""
    if draw(st.integers(0, 9)):
        return usual
    strange = [0, -1, 1, 2**31, 2**62, 2**70, 1.0, 2.5, float("nan"), None, "3", True]
    return draw(st.sampled_from([*strange, np.int8(3)]))
