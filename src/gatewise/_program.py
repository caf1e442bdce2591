"""The words for what keeps gatewise from being imported at all.

That is a wrong environment variable as a rule. A program that imports gatewise gets the
exception, but who types a command wants to read what to do about it, in one line. And where
NumPy cannot be imported, in a sub-interpreter, it has many words for something else.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

__all__ = ["exit_if_running", "refuse_sub_interpreter"]


def refuse_sub_interpreter() -> None:
    """Raise what is to be said of a sub-interpreter, if this is one; else do nothing."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError(
                "gatewise cannot be imported in a sub-interpreter, as NumPy cannot: use "
                "threads or processes"
            ) from None
        return


def exit_if_running(error: Exception) -> None:
    """End ``gatewise`` or ``python -m gatewise`` with what is wrong; else do nothing."""
    if _is_running():
        raise SystemExit(f"gatewise: error: {' '.join(str(error).split())}") from None


def _is_running() -> bool:
    called = sys.argv[0] if getattr(sys, "argv", None) else ""
    if called == "-m":
        # So Python calls itself until it has found the module that it is to run.
        return any(argument.endswith("gatewise") for argument in sys.orig_argv)
    # A script of this name in Python would be imported itself, instead of gatewise.
    return Path(called).stem == "gatewise"
