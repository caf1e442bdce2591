"""What a share of the tests has in it: every value, and the same tests in every run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import os
import pytest

PAIRS = [("LSTM", "float32"), ("LSTM", "float64"), ("GRU", "float32")]

@pytest.fixture(params=["numpy", "native"])
def backend(request):
    return request.param

@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
@pytest.mark.parametrize("size", range(20))
def test_many(kind, dtype, size, backend):
    pass

@pytest.mark.parametrize("size", range(12))
@pytest.mark.parametrize("f", [len, str], ids=lambda f: f"0x{os.urandom(5).hex()}{f}")
def test_functions(f, size):
    pass

@pytest.mark.parametrize("size", range(7))
def test_few(size):
    pass

def test_alone():
    pass
"""
EVERYTHING = 3 * 20 * 2 + 2 * 12 + 7 + 1


def collected(pytester: pytest.Pytester, *options: str) -> list[str]:
    plugin = Path(__file__).parents[1] / "share.py"
    pytester.makeconftest(plugin.read_text("utf-8"))
    pytester.makepyfile(TESTS)
    done = pytester.inline_run("--collect-only", "-q", "-p", "no:cacheprovider", *options)
    calls = done.getcalls("pytest_collection_finish")
    names = [item.nodeid.partition("::")[2] for item in calls[-1].session.items]
    # An address, which is another in every run.
    return [re.sub("0x[0-9a-f]+", "", name) for name in names]


@pytest.mark.parametrize("every", [1, 2, 10, 1000])
def test_every_value_is_in_it(every: int, pytester: pytest.Pytester) -> None:
    found = collected(pytester, "--every", str(every))
    assert "test_alone" in found
    assert {f"test_few[{size}]" for size in range(7)} <= set(found)
    many = " ".join(name for name in found if "test_many" in name)
    # Of values that are listed together, all that there are.
    for pair in ("LSTM-float32", "LSTM-float64", "GRU-float32"):
        assert pair in many
    values = set(re.split(r"[\[\]\s-]", many))
    assert values >= {*map(str, range(20)), "numpy", "native"}
    assert len(found) >= EVERYTHING // every
    if every == 1:
        assert len(found) == EVERYTHING
    if every == 1000:
        assert len(found) < EVERYTHING / 3


def test_parts_are_the_whole_and_the_same_again(pytester: pytest.Pytester) -> None:
    whole = collected(pytester, "--every", "5")
    assert whole == collected(pytester, "--every", "5")
    parts = [collected(pytester, "--every", "5", "--part", f"{k}/3") for k in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    assert all(parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_a_number_everything_runs(pytester: pytest.Pytester) -> None:
    assert len(collected(pytester)) == EVERYTHING
