"""Who says how many threads a call may use, and when they are asked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import gatewise
from gatewise import _config
from gatewise.kernels import thread_limits
from tests.new_process import TASKS, VARIABLES, run

native = pytest.mark.parametrize("backend", ["native"], indirect=True)
needs_tasks = pytest.mark.skipif(not TASKS.is_dir(), reason="needs Linux's /proc")
needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks"
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nothing had been set, no variable was there, and nobody had asked."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(thread_limits, "_limited", None)
    monkeypatch.setattr(thread_limits, "_set", None)
    monkeypatch.setattr(thread_limits, "fixed", 0)
    thread_limits._forget()
    yield
    thread_limits._forget()


def cores() -> int:
    asked = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return min(len(asked(0)), 64)


REPORT = "from gatewise.kernels import thread_limits; print(thread_limits.describe())"


def test_the_environment_says_where_it_starts() -> None:
    own, openmp = VARIABLES
    assert run(REPORT, **{own: "3"}).stdout == f"3 ({own})\n"
    assert run(REPORT, **{openmp: "3"}).stdout == f"3 ({openmp})\n"
    assert run(REPORT, **{own: "5", openmp: "3"}).stdout == f"5 ({own})\n"
    assert run(REPORT, **{own: "", openmp: "3"}).stdout == f"3 ({openmp})\n"
    assert run(REPORT, **{own: "1000"}).stdout == f"64 ({own})\n"
    assert run(REPORT, **{openmp: "1000"}).stdout == f"64 ({openmp})\n"
    for nothing in ({}, {own: "", openmp: ""}):
        number, _, source = run(REPORT, **nothing).stdout.partition(" ")
        assert 1 <= int(number) <= cores()
        assert source[1:-2] not in VARIABLES


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", "2,2", " ", "9" * 5000])
def test_gatewise_num_threads_may_be_wrong(value: str) -> None:
    done = run("import gatewise", GATEWISE_NUM_THREADS=value)
    assert done.returncode != 0
    expected = "GATEWISE_NUM_THREADS should be a whole number of at least 1, got "
    assert done.stderr.splitlines()[-1] == f"ValueError: {expected}{value!r}"


@pytest.mark.parametrize(
    "value", ["3", " 3\t", "3,2", "3, 2", " 3 ,2,1 ", "+3", "03", "3,999999999999999999"]
)
def test_omp_num_threads_may_be_a_list(
    value: str, untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_limits.describe() == "3 (OMP_NUM_THREADS)"


# All of them are invalid for GCC's OpenMP.
INVALID = ["0", "-1", "", " ", "two", "3.0", "3x", "0x3", "1_0", "+ 3", "++3", "9" * 20]
INVALID += ["3 2", "3,", ",3", "3,,2", "3,two", "3,0", "3;2", "\u0663", "9" * 5000]


@pytest.mark.parametrize("value", INVALID)
def test_omp_num_threads_is_ignored_where_openmp_ignores_it(
    value: str, untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = thread_limits.describe()
    thread_limits._forget()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_limits.describe() == without


def test_what_is_set_counts_before_the_environment() -> None:
    code = "import gatewise; gatewise.set_num_threads(5)\n" + REPORT
    variables = dict.fromkeys(VARIABLES, "3")
    assert run(code, **variables).stdout == "5 (set_num_threads)\n"


def test_variables_are_read_at_first_use(
    untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert gatewise.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert gatewise.get_num_threads() == thread_limits.last_known() == 3
    thread_limits._forget()
    assert thread_limits.last_known() == 2
    thread_limits._forget()
    monkeypatch.setenv("GATEWISE_NUM_THREADS", "none")
    with pytest.raises(ValueError, match=r"^GATEWISE_NUM_THREADS should be .* got 'none'$"):
        gatewise.GRU(3, 4)([[[1, 2, 3]]])


@pytest.mark.parametrize(
    ("quota", "said"),
    [
        (None, "3 (affinity mask)"),
        (3, "3 (affinity mask)"),
        (2, "2 (CPU quota of the control group)"),
    ],
)
def test_the_machine_gives_the_less_of_two(
    quota: int | None, said: str, untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 7}, raising=False)
    monkeypatch.setattr(thread_limits, "cpu_quota", lambda: quota)
    assert thread_limits.describe() == said
    assert _config.read_config()["threads"] == said


def test_systems_without_masks_have_their_cores(
    untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(thread_limits, "cpu_quota", lambda: None)
    for cores, said in ((6, 6), (100, 64), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda found=cores: found)
        thread_limits._forget()
        assert thread_limits.describe() == f"{said} (number of cores)"


def test_a_mask_that_may_not_be_read_is_none(
    untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: int) -> Any:
        raise PermissionError

    monkeypatch.setattr(os, "sched_getaffinity", refuse, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(thread_limits, "cpu_quota", lambda: None)
    assert thread_limits.describe() == "6 (number of cores)"


def test_the_mask_is_asked_for_again_at_every_hundredth_call(
    untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask, quotas = {1, 2, 3}, iter([5])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: mask, raising=False)
    # The quota is asked for only once.
    monkeypatch.setattr(thread_limits, "cpu_quota", lambda: next(quotas))
    assert gatewise.get_num_threads() == 3
    mask.pop()
    assert [thread_limits.last_known() for _ in range(200)] == [3] * 200
    assert [thread_limits.resolve(None) for _ in range(102)] == [3] * 100 + [2, 2]
    mask.pop()
    assert thread_limits.resolve(None) == 2
    assert gatewise.get_num_threads() == thread_limits.resolve(None) == 1
    gatewise.set_num_threads(4)
    assert {thread_limits.resolve(None) for _ in range(200)} == {4}


def test_what_is_set_holds_though_other_threads_ask(untouched: None) -> None:
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            gatewise.get_num_threads()

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in [1, 2, 3, 4] * 100:
            gatewise.set_num_threads(number)
            found = (
                thread_limits.last_known(),
                thread_limits.resolve(None),
                thread_limits._limit().number,
            )
            assert found == (number,) * 3
    finally:
        stop.set()
        for thread in threads:
            thread.join()


CHILD = """
import os, sys
import gatewise
from gatewise.kernels import thread_limits

if SET:
    gatewise.set_num_threads(3)
print(thread_limits.describe(), flush=True)
if os.fork() == 0:
    os.environ["OMP_NUM_THREADS"] = "7"
    print(thread_limits.describe(), flush=True)
    os._exit(0)
os.wait()
print(thread_limits.describe())
"""


@needs_fork
def test_a_child_asks_anew_unless_a_number_was_set() -> None:
    parent, child, after = run(f"SET = False\n{CHILD}").stdout.splitlines()
    assert parent == after != child == "7 (OMP_NUM_THREADS)"
    assert run(f"SET = True\n{CHILD}").stdout.split("\n")[:3] == ["3 (set_num_threads)"] * 3


COUNT = (
    "from tests.new_process import threads_of_a_call; print(*threads_of_a_call(), sep=', ')"
)


@native
@needs_tasks
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_call_starts_as_many_threads_as_the_environment_says(
    variable: str, backend: str
) -> None:
    for number in ("1", "3"):
        done = run(COUNT, **{variable: number})
        assert done.stdout == f"{number}, {number} ({variable})\n", done.stderr


@native
@needs_tasks
def test_a_call_starts_as_many_threads_as_its_argument_says(backend: str) -> None:
    for number in ("1", "3"):
        code = COUNT.replace("call()", f"call({number})")
        done = run(code, OMP_NUM_THREADS="2")
        assert done.stdout == f"{number}, 2 (OMP_NUM_THREADS)\n", done.stderr


MASKED = f"""
import os
import gatewise
if EARLY:
    gatewise.get_num_threads()
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
if EARLY:
    gatewise.kernels.thread_limits._calls = 100
{COUNT}
"""


@native
@needs_tasks
@needs_affinity
@pytest.mark.parametrize("early", [False, True], ids=["before first use", "after it"])
def test_a_call_starts_no_thread_where_one_core_is_left(early: bool, backend: str) -> None:
    done = run(f"EARLY = {early}\n{MASKED}")
    assert done.stdout == "1, 1 (affinity mask)\n", done.stderr
