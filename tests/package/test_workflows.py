"""CI compares the bits on both kinds of processor, in the way of the scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def read(path: str) -> str:
    if not (ROOT / path).exists():
        pytest.skip("there are no workflows or scripts here")
    return (ROOT / path).read_text("utf-8")


def test_the_bits_are_compared_on_two_kinds_of_processor() -> None:
    text = read(".github/workflows/ci.yml")
    jobs = re.split(r"\n  (?=[\w-]+:\n)", text.partition("\njobs:")[2])
    (job,) = [job for job in jobs if re.search(r"^ +\.ci/same-bits$", job, re.MULTILINE)]
    machines = re.findall(r"ubuntu-[\w.-]+", job.partition("os: [")[2].partition("]")[0])
    assert {name.endswith("-arm") for name in machines} == {True, False}


@pytest.mark.parametrize("script", [".ci/same-bits", ".ci/emulate"])
def test_each_instruction_set_is_compared(script: str) -> None:
    text = read(script)
    assert "compiled; print(*compiled.instruction_sets())" in text
    assert "-m tests.same_bits" in text
    assert 'GATEWISE_ISA=$variant "$python"' in text or 'GATEWISE_ISA=$set "$run"' in text
    # None is named that would be left when another comes.
    assert not re.search(r"for \w+ in (neon|avx|scalar)", text)
