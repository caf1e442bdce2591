"""Files of Keras for the tests: what three versions of it wrote, with their outputs."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parents[1] / "data"
VERSIONS = ("3_15", "2_15", "2_13")


@functools.cache
def contents(version: str) -> dict[str, bytes]:
    """The files of a version by name."""
    with zipfile.ZipFile(DATA / f"keras_{version}.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@functools.cache
def figures(version: str) -> dict[str, NDArray[np.float32]]:
    """The input, as ``x``, and each layer's output, by a word for it and its name."""
    with np.load(io.BytesIO(contents(version)["figures.npz"])) as arrays:
        return {name: arrays[name] for name in arrays.files}


def examples() -> list[bytes]:
    """Real files, to be changed at random by whoever looks for weak spots."""
    return [
        content
        for version in VERSIONS
        for name, content in contents(version).items()
        if name.endswith((".keras", ".h5"))
    ]
