"""The one place that chooses which kernels run, and can say why.

`kernels` is the module of kernels in use, `name` is ``"native"`` or ``"numpy"``, and
`reason` says in words why it is that one. Look them up at call time, as in
``chooser.kernels.forward(...)``: tests swap them with `use`.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# First, so that what is wrong with NumPy is not taken for a broken compiled module.
import numpy  # noqa: F401

__all__ = ["kernels", "name", "reason", "use"]

VARIABLE = "GATEWISE_BACKEND"
CHOICES = ("auto", "native", "numpy")

_NATIVE = "gatewise.kernels.native.compiled"
_FALLBACK = "gatewise.kernels.numpy"

_Choice = tuple[ModuleType, str, str]


def _choose(wanted: str) -> _Choice:
    if wanted not in CHOICES:
        raise ValueError(
            f"{VARIABLE} should be one of {', '.join(CHOICES)}, got {wanted!r}"
        )
    if wanted == "numpy":
        return _numpy(f"{VARIABLE}=numpy asks for it")
    try:
        native = importlib.import_module(_NATIVE)
    except ValueError:
        # GATEWISE_ISA is wrong, which is no fault of the module.
        raise
    except Exception as error:
        # Not only ImportError: an extension can be broken enough to fail in its own code.
        problem = _problem(error)
        if wanted == "native":
            raise ImportError(f"{VARIABLE}=native, but {problem}") from error
        warnings.warn(
            f"gatewise runs on NumPy, which is slower: {problem}; {_way_out(error)}, "
            f"and {VARIABLE}=numpy accepts this silently",
            RuntimeWarning,
            stacklevel=2,
        )
        return _numpy(problem)
    how = "it is built and works" if wanted == "auto" else f"{VARIABLE}=native asks for it"
    return native, "native", how


def _numpy(why: str) -> _Choice:
    return importlib.import_module(_FALLBACK), "numpy", why


def _way_out(error: Exception) -> str:
    """Say who has the compiled module, and how."""
    if sys.platform == "emscripten":
        return "outside browsers pip installs a compiled one"
    if sys.implementation.name != "cpython":
        return "with CPython pip installs a compiled one"
    if "interpreter" in str(error).lower():
        return "only the main interpreter of a process has it"
    return (
        "pip install --force-reinstall --no-binary gatewise gatewise compiles it where a C "
        "compiler is"
    )


def _problem(error: Exception) -> str:
    """Tell a compiled module that is not there from one that is broken."""
    # Milliseconds of every import, for what only a failure needs.
    from importlib.util import find_spec

    spec = find_spec(_NATIVE)
    if spec is None:
        return "the compiled module was never built for this Python"
    return f"the compiled module {spec.origin} is broken: {type(error).__name__}: {error}"


kernels, name, reason = _choose(os.environ.get(VARIABLE) or "auto")


@contextmanager
def use(wanted: str) -> Iterator[ModuleType]:
    """Run on the backend `wanted` inside a ``with`` block; for tests."""
    global kernels, name, reason
    before = kernels, name, reason
    kernels, name, reason = _choose(wanted)
    try:
        yield kernels
    finally:
        kernels, name, reason = before
