"""No package of an extra is a dependency: what is said where one is missing."""

from __future__ import annotations

import pytest

from tests.new_process import run

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {0!r} or name.startswith({0!r} + "."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
NAMES = {"aeon": "aeon", "dask": "Dask", "sklearn": "scikit-learn"}


@pytest.mark.parametrize("package", NAMES)
def test_one_line_says_what_to_install(package: str) -> None:
    done = run(WITHOUT.format(package) + f"import gatewise.{package}")
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: gatewise.{package} needs {NAMES[package]}, which is not "
        f"installed: pip install 'gatewise[{package}]'"
    )


def test_training_leaves_them_alone() -> None:
    packages = "aeon", "dask", "mpi4py", "sklearn"
    done = run(
        "import sys, gatewise; gatewise.training.DataParallel(gatewise.GRU(1, 1));"
        f"print([name for name in {packages} if name in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr
