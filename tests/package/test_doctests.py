"""Every example in every docstring runs, on both backends."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import gatewise

MODULES = ["gatewise"] + [
    module.name
    for module in pkgutil.walk_packages(gatewise.__path__, "gatewise.")
    if module.name not in ("gatewise.__main__", "gatewise.kernels.native.compiled")
]

# What the examples of these need, beside NumPy.
NEEDED = {
    "gatewise.aeon": "aeon",
    "gatewise.dask": "dask",
    "gatewise.formats.hdf5": "h5py",
    "gatewise.formats.keras": "h5py",
    "gatewise.formats.onnx": "onnx",
    "gatewise.sklearn": "sklearn",
    "gatewise.torch": "torch",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, backend: str) -> None:
    for home, package in NEEDED.items():
        if name.startswith(home):
            pytest.importorskip(package)
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(
        module,
        extraglobs={"gatewise": gatewise, "np": np},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert failed == 0
