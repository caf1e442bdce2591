"""The choice of the backend: every way it can go, each in a Python of its own.

The package is copied, so that its compiled module can be taken out or broken.
"""

from __future__ import annotations

import importlib.machinery
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gatewise
from gatewise.kernels import chooser
from gatewise.kernels import numpy as fallback

PACKAGE = Path(gatewise.__file__).parent
HOME = Path("gatewise", "kernels", "native")
TESTS = Path(__file__).parents[1]
NATIVE_NAMES = ["compiled" + suffix for suffix in importlib.machinery.EXTENSION_SUFFIXES]
REPORT = (
    "from gatewise.kernels import chooser; print(chooser.name, chooser.reason, sep='|')"
)


@pytest.fixture
def missing(tmp_path: Path) -> Path:
    """A directory to import a gatewise from that has no compiled module."""
    ignore = shutil.ignore_patterns("compiled.*", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "gatewise", ignore=ignore)
    return tmp_path


@pytest.fixture
def broken(missing: Path) -> Path:
    """The same with a compiled module that cannot be loaded."""
    (missing / HOME / NATIVE_NAMES[0]).write_bytes(b"this is no shared library")
    return missing


def run(
    where: Path, code: str, wanted: str | None = None, **others: str
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWISE_")}
    environment |= {"PYTHONPATH": str(where)} | others
    environment.pop("PYTHONWARNINGS", None)
    if wanted is not None:
        environment["GATEWISE_BACKEND"] = wanted
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=where,
        capture_output=True,
        text=True,
    )


def test_a_missing_module_is_called_never_built(missing: Path) -> None:
    done = run(missing, REPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("numpy|the compiled module was never built")
    assert done.stderr.count("RuntimeWarning") == 1
    assert "never built" in done.stderr
    assert "broken" not in done.stderr


def test_a_broken_module_is_called_broken_with_the_cause(broken: Path) -> None:
    done = run(broken, REPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("numpy|")
    assert done.stderr.count("RuntimeWarning") == 1
    assert f"{NATIVE_NAMES[0]} is broken: ImportError: " in done.stderr
    assert "never built" not in done.stderr


def test_a_module_that_fails_in_its_own_code_is_broken_too(missing: Path) -> None:
    (missing / HOME / "compiled.py").write_text("raise RuntimeError('wrong cpu')")
    done = run(missing, REPORT)
    assert "compiled.py is broken: RuntimeError: wrong cpu" in done.stderr
    assert done.stdout.startswith("numpy|")


@pytest.mark.parametrize("state", ["missing", "broken"])
def test_numpy_asked_for_is_silent(state: str, request: pytest.FixtureRequest) -> None:
    done = run(request.getfixturevalue(state), REPORT, "numpy")
    assert done.stdout == "numpy|GATEWISE_BACKEND=numpy asks for it\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("state", "cause", "said"),
    [
        ("missing", "ModuleNotFoundError", "never built"),
        ("broken", "ImportError", "is broken"),
    ],
)
def test_native_raises_with_the_original_error(
    state: str, cause: str, said: str, request: pytest.FixtureRequest
) -> None:
    code = """
try:
    import gatewise.kernels.chooser
except ImportError as error:
    print(type(error.__cause__).__name__, error, sep="|")
"""
    done = run(request.getfixturevalue(state), code, "native")
    kind, _, message = done.stdout.partition("|")
    assert kind == cause
    assert message.startswith("GATEWISE_BACKEND=native, but the compiled module")
    assert said in message
    assert done.stderr == ""


def test_the_warning_comes_once(missing: Path) -> None:
    code = """
import importlib, warnings
warnings.simplefilter("always")
import gatewise, gatewise.kernels.chooser
from gatewise import rnn_forward, lstm_forward
importlib.import_module("gatewise.direction")
"""
    assert run(missing, code).stderr.count("RuntimeWarning") == 1


@pytest.mark.parametrize(
    ("disguise", "way_out"),
    [
        ("", "pip install --force-reinstall --no-binary gatewise gatewise compiles it"),
        ("sys.implementation.name = 'pypy'; ", "with CPython pip installs a compiled one"),
        ("sys.platform = 'emscripten'; ", "outside browsers pip installs a compiled one"),
    ],
)
def test_the_warning_says_how_to_get_the_fast_one(
    disguise: str, way_out: str, missing: Path
) -> None:
    done = run(missing, f"import numpy, sys; {disguise}{REPORT}")
    assert done.stdout.startswith("numpy|the compiled module was never built")
    assert done.stderr.count("RuntimeWarning") == 1
    assert f"for this Python; {way_out}" in done.stderr
    assert "GATEWISE_BACKEND=numpy accepts this silently" in done.stderr


SUB_INTERPRETER = """
import _interpreters
import gatewise  # which the main interpreter has all the same
made = _interpreters.create("isolated")
failed = _interpreters.run_string(made, "import gatewise")
_interpreters.destroy(made)
print(gatewise.GRU(2, 3), failed.type.__name__, failed.msg, sep="|")
"""


def test_a_sub_interpreter_is_refused_in_one_line(backend: str) -> None:
    pytest.importorskip("_interpreters", reason="this Python has no such interpreters")
    done = run(PACKAGE.parent, SUB_INTERPRETER, backend)
    assert done.returncode == 0, done.stderr
    said = "gatewise cannot be imported in a sub-interpreter, as NumPy cannot"
    assert f"|ImportError|{said}: use threads or processes\n" in done.stdout
    assert done.stderr == ""


def test_a_broken_numpy_is_not_called_a_broken_module(missing: Path) -> None:
    (missing / "numpy.py").write_text("raise ImportError('no BLAS')")
    done = run(missing, "import gatewise")
    assert done.stderr.strip().endswith("ImportError: no BLAS")
    assert "RuntimeWarning" not in done.stderr


@pytest.mark.parametrize("value", ["fast", "NumPy", " "])
def test_an_unknown_backend_is_refused(missing: Path, value: str) -> None:
    done = run(missing, REPORT, value)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    expected = "GATEWISE_BACKEND should be one of auto, native, numpy, got "
    assert last == f"ValueError: {expected}{value!r}"


def test_an_empty_value_means_auto(missing: Path) -> None:
    assert run(missing, REPORT, "").stdout == run(missing, REPORT, "auto").stdout


def test_a_working_module_is_taken(backend: str) -> None:
    """The other half of the story, where there is a compiled module to take."""
    if backend == "numpy":
        assert chooser.kernels is fallback
        return
    assert chooser.kernels.__name__ == "gatewise.kernels.native.compiled"
    for wanted in (None, "auto", "native"):
        done = run(PACKAGE.parent, REPORT, wanted)
        assert done.stdout.startswith("native|")
        assert done.stderr == ""


# Tests of the kernels that ask for the compiled module, each in its own way.
ASKING = [
    "kernels/test_columns.py::test_larger_sequences",
    "kernels/test_parity.py::test_activations",
    "kernels/test_products.py::test_no_rows_at_all[native]",
    "notebook/test_hypothesis.py::test_activations",
    "notebook/test_long.py::test_gradients_on_either_backend",
    "layers/test_quantized.py::test_backends_agree",
]


@pytest.mark.parametrize(("required", "outcome"), [("0", "skipped"), ("1", "errors")])
def test_without_a_compiled_module_its_tests_are_skipped_or_fail(
    missing: Path, required: str, outcome: str
) -> None:
    tests = [str(TESTS / name) for name in ASKING]
    options = ["-q", "-p", "no:cacheprovider", "-k", "not numpy"]
    code = f"import pytest; pytest.main({options + tests})"
    done = run(missing, code, GATEWISE_REQUIRE_NATIVE=required)
    outcomes = set(re.findall(r"\d+ (\w+)", done.stdout.splitlines()[-1]))
    found = outcomes & {"passed", "failed", "skipped", "errors"}
    assert found == {outcome}, done.stdout


def test_use_puts_back_what_was_there(backend: str) -> None:
    before = chooser.kernels, chooser.name, chooser.reason
    with chooser.use("numpy") as kernels:
        assert kernels is chooser.kernels is fallback
        assert chooser.name == "numpy"
    assert (chooser.kernels, chooser.name, chooser.reason) == before
    with pytest.raises(KeyError), chooser.use("numpy"):
        raise KeyError
    assert (chooser.kernels, chooser.name, chooser.reason) == before
    with pytest.raises(ValueError, match="should be one of"), chooser.use("fast"):
        pass
    assert chooser.kernels is before[0]
