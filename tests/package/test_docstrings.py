"""What a public call can raise stands in its docstring; refusals have one wording."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import Any

import pytest

import gatewise

ROOMS = [
    "gatewise",
    "gatewise.formats",
    "gatewise.layers",
    "gatewise.notebook",
    "gatewise.training",
    # Where what they are for is installed.
    *(f"gatewise.{name}" for name in ("aeon", "dask", "sklearn") if util.find_spec(name)),
]
ERRORS = {"KeyError", "OSError", "RuntimeError", "TypeError", "ValueError"}
# Whose functions are looked up by their names.
OWNERS = {"self", "inputs", "_checks", "_run", "thread_limits"}


def sources() -> Iterator[ast.Module]:
    for path in Path(gatewise.__file__).parent.rglob("*.py"):
        if "numpy" not in path.parts[-2:]:
            yield ast.parse(path.read_text("utf-8"))


@cache
def functions() -> dict[str, list[ast.FunctionDef]]:
    """All functions and methods by name, constructors by that of their class too."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                        found.setdefault(node.name, []).append(part)
    return found


def is_refusal(node: ast.AST) -> bool:
    if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
        return False
    return isinstance(node.exc.func, ast.Name) and node.exc.func.id in ERRORS


def called(node: ast.AST) -> str | None:
    """The name of a function of the package that a call may be one of.

    A method's is one only on `self`, and a function's only on a module: what else has
    methods of the same name, a dictionary or an array, is not looked at.
    """
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return node.func.attr if node.func.value.id in OWNERS else None
    return None


@cache
def refusing() -> frozenset[str]:
    """The names of functions that refuse something, or call one that does."""
    names: set[str] = set()
    while True:
        more = {
            name
            for name, nodes in functions().items()
            for node in nodes
            for part in ast.walk(node)
            if is_refusal(part) or called(part) in names
        }
        if more <= names:
            return frozenset(names)
        names |= more


def public() -> dict[str, Any]:
    """Public functions, classes and their methods, each where it is defined."""
    found: dict[str, Any] = {}
    for room in ROOMS:
        module = import_module(room)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                found[f"{thing.__module__}.{name}"] = thing
            elif inspect.isclass(thing):
                for kind in thing.__mro__:
                    if kind.__module__.startswith("gatewise"):
                        found |= members(kind)
    return found


def members(kind: type) -> dict[str, Any]:
    place = f"{kind.__module__}.{kind.__name__}"
    made = "__post_init__" if is_dataclass(kind) else "__init__"
    found = {place: kind} if made in vars(kind) else {}
    for name, member in vars(kind).items():
        if inspect.isfunction(member) and (name == "__call__" or name[0] != "_"):
            found[f"{place}.{name}"] = member
    return found


def refuses(thing: Any) -> bool:
    function = thing
    if inspect.isclass(thing):
        function = thing.__post_init__ if is_dataclass(thing) else thing.__init__
    # What a class makes of its own kind has passed the checks before.
    own = thing.__qualname__.split(".")[0]
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))
    return any(
        is_refusal(part) or called(part) in refusing() - {own} for part in ast.walk(tree)
    )


@pytest.mark.parametrize("name", sorted(public()))
def test_what_can_be_raised_is_said(name: str) -> None:
    thing = public()[name]
    if refuses(thing):
        lines = inspect.cleandoc(thing.__doc__ or "").splitlines()
        assert "Raises" in lines, f"the docstring of {name} should say what it raises"


def test_refusals_say_what_should_be_and_what_came() -> None:
    said = [
        part.value
        for tree in sources()
        for node in ast.walk(tree)
        if is_refusal(node)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    assert len(said) > 100
    assert [text for text in said if re.search(r"\bmust\b|\bexpected\b", text)] == []
