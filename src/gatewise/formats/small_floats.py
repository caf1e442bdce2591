"""Floats that NumPy has none of, as float32, which has every value of theirs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["SMALL_FLOATS", "widened"]

# By the names that safetensors has, with how they stand in a file.
SMALL_FLOATS = {
    "BF16": "<u2",
    "F8_E5M2": "<u1",
    "F8_E4M3": "<u1",
    "F8_E8M0": "<u1",
    "F8_E5M2FNUZ": "<u1",
    "F8_E4M3FNUZ": "<u1",
}


def widened(bits: Array, name: str) -> NDArray[np.float32]:
    """Return as float32 what `bits` are in one of `SMALL_FLOATS`.

    Parameters
    ----------
    bits : ndarray
        uint16 for BF16, and uint8 for the others.
    name : str

    References
    ----------
    .. [1] Micikevicius, P., et al. (2022). "FP8 Formats for Deep Learning".
       https://arxiv.org/abs/2209.05433
    .. [2] Noune, B., et al. (2022). "8-bit Numerical Formats for Deep Neural Networks".
       https://arxiv.org/abs/2206.02915 (those with FNUZ)

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.formats.small_floats import widened
    >>> widened(np.array([0x3F80, 0xC000], np.uint16), "BF16")
    array([ 1., -2.], dtype=float32)
    """
    if name == "BF16":
        wide = bits.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    # In one that may be read from, or an array of no axes would become a number.
    found: NDArray[np.float32] = np.empty(bits.shape, np.float32)
    found[...] = _table(name)[bits]
    return found


@cache
def _table(name: str) -> NDArray[np.float32]:
    """What each of the 256 bytes is worth."""
    if name == "F8_E8M0":
        table = np.ldexp(1.0, np.arange(256) - 127)
        table[255] = np.nan
        return table.astype(np.float32)
    mantissa_bits = 2 if "E5M2" in name else 3
    exponents = 1 << (7 - mantissa_bits)
    # Without a negative zero, one more power of two is below 1.
    bias = exponents // 2 - (0 if name.endswith("FNUZ") else 1)
    codes = np.arange(128)
    exponent, mantissa = np.divmod(codes, 1 << mantissa_bits)
    fraction = mantissa / (1 << mantissa_bits)
    half = np.where(
        exponent == 0,
        np.ldexp(fraction, 1 - bias),
        np.ldexp(1 + fraction, exponent - bias),
    )
    if name == "F8_E5M2":
        half[exponent == exponents - 1] = np.nan
        half[(exponent == exponents - 1) & (mantissa == 0)] = np.inf
    elif name == "F8_E4M3":
        half[127] = np.nan
    table = np.concatenate([half, -half])
    if name.endswith("FNUZ"):
        table[128] = np.nan
    return table.astype(np.float32)
