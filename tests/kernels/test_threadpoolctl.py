"""threadpoolctl limits the threads of the compiled kernels, whichever is imported first."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

import gatewise
from gatewise.kernels import chooser, thread_limits, threadpoolctl
from tests.new_process import TASKS, run

pytestmark = pytest.mark.parametrize("backend", ["native"], indirect=True)

BOTH = ["import threadpoolctl", "import gatewise"]
ORDERS = pytest.mark.parametrize(
    "imports",
    ["; ".join(BOTH), "; ".join(reversed(BOTH))],
    ids=["imported before", "imported after"],
)

LIMIT = """
layer = gatewise.GRU(3, 4)
describe = gatewise.kernels.thread_limits.describe
with threadpoolctl.threadpool_limits(2):
    print(describe())
    with threadpoolctl.threadpool_limits(1, "gatewise"):
        print(describe())
    with threadpoolctl.threadpool_limits(1, "blas"):
        print(describe())
print(describe())
"""


@ORDERS
@pytest.mark.parametrize("number", ["3", "2"])
def test_a_limit_holds_for_its_time(number: str, imports: str, backend: str) -> None:
    done = run(imports + LIMIT, OMP_NUM_THREADS=number)
    before = f"{number} (OMP_NUM_THREADS)"
    outer = before if number == "2" else "2 (threadpoolctl)"
    expected = [outer, "1 (threadpoolctl)", outer, before]
    assert done.stdout.splitlines() == expected, done.stderr


SET = """
gatewise.set_num_threads(3)
with threadpoolctl.threadpool_limits(2):
    print(describe())
print(describe())
with threadpoolctl.threadpool_limits(2):
    gatewise.set_num_threads(1)
    print(describe())
"""


def test_a_limit_leaves_behind_what_was_set(backend: str) -> None:
    code = "; ".join([*BOTH, "describe = gatewise.kernels.thread_limits.describe"])
    expected = ["2 (threadpoolctl)", "3 (set_num_threads)", "1 (set_num_threads)"]
    done = run(code + SET)
    assert done.stdout.splitlines() == expected, done.stderr


def test_get_num_threads_is_enough_to_be_known(backend: str) -> None:
    code = "gatewise.get_num_threads()\nwith threadpoolctl.threadpool_limits(2): print("
    code = f"{'; '.join(reversed(BOTH))}; {code}gatewise.kernels.thread_limits.describe())"
    done = run(code, OMP_NUM_THREADS="3")
    assert done.stdout == "2 (threadpoolctl)\n", done.stderr


COUNT = """
from tests.new_process import threads_of_a_call
with threadpoolctl.threadpool_limits(2):
    print(*threads_of_a_call(), sep=", ")
print(*threads_of_a_call(), sep=", ")
"""


@ORDERS
@pytest.mark.skipif(not TASKS.is_dir(), reason="needs Linux's /proc")
def test_a_call_starts_no_more_threads_than_the_limit(imports: str, backend: str) -> None:
    # A thread that was started stays, so the second call starts one less.
    done = run(f"{imports}; gatewise.get_num_threads(){COUNT}", OMP_NUM_THREADS="3")
    assert done.stdout == "2, 2 (threadpoolctl)\n2, 3 (OMP_NUM_THREADS)\n", done.stderr


INFO = """
mine = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "gatewise"]
print(mine == [{
    "user_api": "gatewise",
    "internal_api": "gatewise",
    "num_threads": 3,
    "prefix": mine[0]["prefix"],
    "filepath": mine[0]["filepath"],
    "version": gatewise.__version__,
}], mine[0]["filepath"], sep=os.linesep)
"""


def test_the_information_names_the_module(backend: str) -> None:
    code = f"import os, threadpoolctl, gatewise\n{INFO}"
    right, path = run(code, OMP_NUM_THREADS="3").stdout.splitlines()
    assert right == "True"
    assert Path(path).samefile(str(chooser.kernels.__file__))


def test_a_module_of_the_same_name_is_not_taken_for_ours(
    backend: str, tmp_path: Path
) -> None:
    file = Path(str(chooser.kernels.__file__))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    code = f"import sys, threadpoolctl, gatewise; sys.path.append({str(tmp_path)!r})\n"
    code += "import other.compiled\n"
    code += "print(*(one['user_api'] for one in threadpoolctl.threadpool_info()))"
    done = run(code)
    assert done.stdout.split().count("gatewise") == 1, done.stderr


def test_it_is_not_imported_and_not_needed(backend: str) -> None:
    code = "import sys; sys.modules['threadpoolctl'] = None; import gatewise\n"
    code += (
        "gatewise.GRU(3, 4); gatewise.get_num_threads(); del sys.modules['threadpoolctl']"
    )
    code += "; gatewise.GRU(3, 4); print('threadpoolctl' in sys.modules)"
    done = run(code)
    assert done.stdout == "False\n", done.stderr


def test_on_numpy_there_is_nothing_to_register(backend: str) -> None:
    code = "import threadpoolctl, gatewise; gatewise.GRU(3, 4)\n"
    code += "print(*(one['user_api'] for one in threadpoolctl.threadpool_info()))"
    done = run(code, GATEWISE_BACKEND="numpy")
    assert done.returncode == 0, done.stderr
    assert "gatewise" not in done.stdout


def test_an_old_version_cannot_register(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threadpoolctl, "_turn", threading.Lock())
    monkeypatch.setitem(sys.modules, "threadpoolctl", type(sys)("threadpoolctl"))
    assert gatewise.get_num_threads() >= 1


def test_a_limit_is_a_number_of_at_least_one(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_limits, "_limited", None)
    for limit in (0, -1):
        with pytest.raises(
            ValueError, match=f"^num_threads should be at least 1, got {limit}$"
        ):
            thread_limits._set_for_a_time(limit)
    assert thread_limits._limited is None
