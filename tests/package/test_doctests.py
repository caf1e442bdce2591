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


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, backend: str) -> None:
    if name.startswith("gatewise.torch"):
        pytest.importorskip("torch", reason="torch is not installed")
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(
        module,
        extraglobs={"gatewise": gatewise, "np": np},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert failed == 0
