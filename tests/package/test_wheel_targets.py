"""There is a compiled wheel wherever NumPy has one, and the workflow builds all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github/workflows/wheels.yml"
NUMPYS = ROOT / "tests/data/numpy_wheels.txt"

# What NumPy has, and gatewise has not, with what stands against it.
MISSING = {
    "cp313t": "3.13's free-threaded build was an experiment: neither cibuildwheel nor "
    "NumPy, from 2.5 on, makes wheels for it",
    "pp311": "PyPy emulates CPython's interface, which costs the smallest calls more than "
    "the kernels save; it gets the pure wheel, and is told so",
}


def numpys() -> set[str]:
    """What NumPy has wheels for, named as cibuildwheel names it."""
    lines = NUMPYS.read_text("utf-8").splitlines()
    return {"-".join(line.split()[1:]) for line in lines}


@pytest.fixture(scope="module")
def built() -> set[str]:
    """What the configuration builds on the three systems together."""
    pytest.importorskip("cibuildwheel", reason="cibuildwheel is not installed")
    if not (ROOT / "setup.py").exists():
        pytest.skip("there are only the tests here")
    # Whatever a job has set for its own machine is not asked here.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CIBW_")}
    identifiers: set[str] = set()
    for system in ("linux", "macos", "windows"):
        command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers"]
        done = subprocess.run(
            [*command, "--platform", system],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        identifiers |= set(done.stdout.split())
    return identifiers


def test_a_wheel_wherever_numpy_has_one(built: set[str]) -> None:
    missing = {pair for pair in numpys() - built if pair.split("-")[0] not in MISSING}
    assert not missing, f"NumPy has these, and no sentence says why we do not: {missing}"
    # So that a reason which has become none does not stay.
    assert {pair.split("-")[0] for pair in numpys() - built} == set(MISSING)


def test_none_that_could_not_be_tested_where_it_was_built(built: set[str]) -> None:
    assert built <= numpys()


def test_the_workflow_has_a_machine_for_each() -> None:
    if not WORKFLOW.exists():
        pytest.skip("an sdist has no workflows")
    systems = {"ubuntu": "linux", "macos": "macos", "windows": "windows"}
    rows = re.findall(r"{os: (\w+)-[\w.-]+, archs: (\w+)}", WORKFLOW.read_text("utf-8"))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    wanted = {
        (system, arch)
        for system in systems.values()
        for arch in settings["cibuildwheel"][system]["archs"]
    }
    assert {(systems[name], archs) for name, archs in rows} == wanted
    assert len(rows) == len(wanted)
