"""A share of the tests, for where all of them would take hours.

``pytest -p tests.share --every N`` runs each test with each value of each of its parameters
at least once, where values that are listed together are one, and of all other combinations
every Nth. ``--part K/P`` runs the Kth of P parts of that, for P processes. It is the same
in every run.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("share")
    group.addoption("--every", type=int, metavar="N", help="run every Nth combination")
    group.addoption("--part", default="1/1", metavar="K/P", help="run part K of P")


def values(item: pytest.Item) -> Iterator[tuple[object, ...]]:
    """What the parameters of a test are here: those that one mark gives together."""
    function = item.nodeid.partition("[")[0]
    yield (function,)
    spec = getattr(item, "callspec", None)
    if spec is None:
        return
    left = dict(spec.params)
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs["argnames"]
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",")]
        yield function, *names, *(id(left.pop(name)) for name in names)
    for name, value in left.items():
        yield function, name, id(value)


def share(items: list[pytest.Item], every: int) -> list[pytest.Item]:
    """The tests that run, in an order that has nothing to do with what they test."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for place, item in enumerate(sorted(items, key=number)):
        found = set(values(item))
        if not found <= seen or place % every == 0:
            kept.append(item)
        seen |= found
    return kept


def number(item: pytest.Item) -> int:
    """The same in every run, whatever addresses are in the name of a test."""
    return zlib.crc32(re.sub("0x[0-9a-f]+", "", item.nodeid).encode())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    every = config.getoption("every")
    if every is None:
        return
    part, parts = map(int, config.getoption("part").split("/"))
    wanted = set(share(items, every)[part - 1 :: parts])
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = [item for item in items if item in wanted]
