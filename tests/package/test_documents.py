"""Figures that the documents give are those that were measured, or can be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatewise.kernels import chooser

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    os.environ.get("GATEWISE_DEBUG") == "1", reason="what is built for debugging is larger"
)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_the_compiled_module_has_less_than_two_megabytes(backend: str) -> None:
    words = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert "a compiled module of less than two megabytes" in words
    assert Path(str(chooser.kernels.__file__)).stat().st_size < 2e6


def shares(memory: list[Any], beyond_what_is_ready: bool) -> Iterator[int]:
    """Of torch's peak, in percent."""
    for entry in memory:
        used = {
            name: peak - beyond_what_is_ready * entry["ready"][name]
            for name, peak in entry["peak"].items()
        }
        yield round(100 * used["gatewise"] / used["torch"])


def test_the_shares_of_memory_are_those_of_the_measurement() -> None:
    measured = ROOT / "docs" / "peers.json"
    if not measured.exists():
        pytest.skip("the measurement is not installed")
    memory = json.loads(measured.read_text("utf-8"))["memory"]
    text = (ROOT / "PERFORMANCE.md").read_text("utf-8")
    whole, beyond = list(shares(memory, False)), list(shares(memory, True))
    said = re.search(
        r"\*\*Half of torch's memory in training\*\*: (\d+) to (\d+) % of torch's peak, "
        r"weights and data included, and (\d+) to (\d+) %\s+of what it takes beyond",
        text,
    )
    assert said
    assert [int(share) for share in said.groups()] == [
        min(whole),
        max(whole),
        min(beyond),
        max(beyond),
    ]
    table = text[text.index("Peak memory beyond weights and data") :]
    rows = re.findall(r"^\|.*\| (\d+) % \|$", table, re.MULTILINE)
    assert [int(share) for share in rows] == beyond
