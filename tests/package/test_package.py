"""The package as a whole: one interface on both backends, light to import, documented."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import gatewise
from gatewise.kernels import chooser
from gatewise.kernels import numpy as fallback

PUBLIC = sorted(set(gatewise.__all__) - {"__version__"})
HEAVY = ["argparse", "matplotlib", "scipy", "sklearn", "threadpoolctl", "torch", "tqdm"]
HEAVY += ["unittest"]


def in_a_new_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(function)
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


KERNELS = [name for name in fallback.__all__ if not name.startswith("Packed")]


@pytest.mark.parametrize("name", KERNELS)
def test_both_backends_have_the_same_kernels(name: str, backend: str) -> None:
    reference = getattr(fallback, name)
    kernel = getattr(chooser.kernels, name)
    assert parameters(kernel) == parameters(reference)
    assert inspect.getdoc(kernel) == inspect.getdoc(reference)
    assert inspect.getdoc(reference)


def test_both_backends_pack_into_a_class_of_their_own(backend: str) -> None:
    for name in set(fallback.__all__) - set(KERNELS):
        ours, theirs = getattr(fallback, name), getattr(chooser.kernels, name)
        assert isinstance(theirs, type)
        assert inspect.getdoc(theirs) == inspect.getdoc(ours)


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_documented_with_an_example(name: str) -> None:
    documentation = inspect.getdoc(getattr(gatewise, name))
    assert documentation
    assert ">>> " in documentation


def test_public_names_are_listed_once_and_all() -> None:
    assert len(gatewise.__all__) == len(set(gatewise.__all__))
    assert set(gatewise.__all__) <= set(dir(gatewise))
    code = "from gatewise import *; print(*dir())"
    assert set(gatewise.__all__) <= set(in_a_new_python(code).split())


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'gatewise' has no attribute 'LTSM'"):
        _ = gatewise.LTSM


def test_what_completion_offers_is_there_and_for_users() -> None:
    offered = {name for name in dir(gatewise) if not name.startswith("__")}
    modules = {"formats", "gates", "layers", "notebook", "testing", "training"}
    assert offered == modules | set(gatewise.__all__) - {"__version__"}
    code = (
        f"import gatewise; print(*(getattr(gatewise, n) and n for n in {sorted(offered)}))"
    )
    assert set(in_a_new_python(code).split()) == offered


@pytest.mark.parametrize("name", ["gates", "layers", "training"])
def test_what_is_imported_later_can_be_named_at_once(name: str) -> None:
    assert in_a_new_python(f"import gatewise; print(gatewise.{name}.__name__)") == (
        f"gatewise.{name}\n"
    )


def test_the_version_is_that_of_the_installed_package() -> None:
    try:
        installed = metadata.version("gatewise")
    except metadata.PackageNotFoundError:
        pytest.skip("gatewise is not installed but on the path")
    assert gatewise.__version__ == installed


def test_nothing_heavy_comes_with_the_import() -> None:
    code = """
import sys, numpy
before = set(sys.modules)
import gatewise
print(*(set(sys.modules) - before))
"""
    loaded = in_a_new_python(code).split()
    assert "gatewise" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
    # What is not the notebook's comes when it is first asked for.
    late = ("gatewise.layers", "gatewise.training", "gatewise.cli")
    assert not [name for name in loaded if name.startswith(late)]


def test_the_import_takes_half_of_numpys_processor_time_at_most(tmp_path: Path) -> None:
    code = """
from time import process_time
before = process_time()
import numpy
between = process_time()
import gatewise
print((process_time() - between) / (between - before))
"""
    # An empty PYTHONDONTWRITEBYTECODE lets the first run compile for the others.
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert min(float(in_a_new_python(code, **kept)) for _ in range(7)) < 0.5


def test_the_configuration_says_what_runs(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = importlib.import_module("gatewise._config").read_config()
    assert config["gatewise"] == gatewise.__version__
    assert config["backend"] == f"{backend}: {chooser.reason}"
    assert all(config.values())
    if backend == "native":
        assert config["instruction set"].startswith(chooser.kernels.instruction_set())
    gatewise.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:16].rstrip() for line in lines] == list(config)
    assert [line[17:] for line in lines] == list(config.values())


def test_a_numpy_that_says_nothing_of_its_build_is_shown_as_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = importlib.import_module("gatewise._config")
    monkeypatch.setattr(config.np, "show_config", lambda mode: None)
    assert config.read_config()["BLAS"] == "unknown"
    assert config.read_config()["CPU features"] == "unknown"


@pytest.mark.skipif(os.name == "nt", reason="pipes break differently on Windows")
def test_a_reader_that_goes_away_is_no_error_to_talk_about() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-m", "gatewise", "info"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""
