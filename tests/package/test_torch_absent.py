"""PyTorch is no dependency: what is said where it is missing, and what it costs."""

from __future__ import annotations

from tests.new_process import run

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def test_import_gatewise_leaves_it_alone() -> None:
    done = run("import sys, gatewise; gatewise.GRU(1, 1); print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


def test_one_line_says_what_to_install() -> None:
    done = run(WITHOUT + "import gatewise.torch")
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: gatewise.torch needs PyTorch, which is not installed: "
        "pip install torch"
    )


def test_a_broken_one_is_not_called_missing() -> None:
    code = WITHOUT.replace(
        'name == "torch" or name.startswith("torch.")', "name == 'torch'"
    )
    code = code.replace("name=name)", "name='libtorch')")
    done = run(code + "import gatewise.torch")
    assert "libtorch" not in done.stderr or "pip install" not in done.stderr
    assert "pip install torch" not in done.stderr
