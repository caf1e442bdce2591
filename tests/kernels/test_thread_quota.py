"""The CPU quota of control groups: read from files made for it, obeyed in a real group."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.kernels import cgroup
from gatewise.kernels.cgroup import cpu_quota
from tests.new_process import run_command

V1 = "30 24 0:26 {top} {point} rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
V2 = "35 24 0:31 {top} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
OTHERS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
37 31 0:34 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
"""


class Machine:
    """The files of a machine, in a folder that stands for its root."""

    def __init__(self, root: Path, groups: str, *mounts: str) -> None:
        self.root = root
        self.write("proc/self/cgroup", groups)
        self.write("proc/self/mountinfo", OTHERS + "\n".join(mounts) + "\n")

    def write(self, path: str, text: str | bytes) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def limit_v1(self, folder: str, quota: int, period: int = 100000) -> None:
        self.write(f"{folder}/cpu.cfs_quota_us", f"{quota}\n")
        self.write(f"{folder}/cpu.cfs_period_us", f"{period}\n")

    @property
    def quota(self) -> int | None:
        return cpu_quota(str(self.root))


@pytest.fixture
def v1(tmp_path: Path) -> Machine:
    groups = "12:cpuset:/elsewhere\n4:cpu,cpuacct:/work/job\n1:name=systemd:/x\n"
    return Machine(tmp_path, groups, V1.format(top="/", point="/sys/fs/cgroup/cpu"))


@pytest.fixture
def v2(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "0::/work/job\n", V2.format(top="/", point="/sys/fs/cgroup"))


@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [
        (100000, 100000, 1),
        (1000, 100000, 1),
        (150000, 100000, 2),
        (200000, 100000, 2),
        (200001, 100000, 3),
        (10000, 5000, 2),
        (6400000, 100000, 64),
    ],
)
def test_a_quota_is_rounded_up(
    quota: int, period: int, cpus: int, tmp_path: Path, v1: Machine
) -> None:
    v1.limit_v1("/sys/fs/cgroup/cpu/work/job", quota, period)
    assert v1.quota == cpus
    v2 = Machine(tmp_path / "v2", "0::/work/job\n", V2.format(top="/", point="/cgroup"))
    v2.write("/cgroup/work/job/cpu.max", f"{quota} {period}\n")
    assert v2.quota == cpus


def test_no_quota(v1: Machine) -> None:
    assert v1.quota is None
    v1.limit_v1("/sys/fs/cgroup/cpu/work/job", -1)
    assert v1.quota is None


def test_no_quota_in_version_2(v2: Machine) -> None:
    assert v2.quota is None
    v2.write("/sys/fs/cgroup/work/job/cpu.max", "max 100000\n")
    assert v2.quota is None


@pytest.mark.parametrize("tightest", ["", "/work", "/work/job"])
def test_the_tightest_of_nested_groups_counts(
    tightest: str, v1: Machine, tmp_path: Path
) -> None:
    v2 = Machine(tmp_path / "v2", "0::/work/job\n", V2.format(top="/", point="/cgroup"))
    for folder in ("", "/work", "/work/job"):
        quota = 200000 if folder == tightest else 500000
        v1.limit_v1(f"/sys/fs/cgroup/cpu{folder}", quota)
        v2.write(f"/cgroup{folder}/cpu.max", f"{quota} 100000\n")
    # Neither a neighbour nor a group below has a say.
    for folder in ("/worker", "/work/other", "/work/job/below"):
        v1.limit_v1(f"/sys/fs/cgroup/cpu{folder}", 100000)
        v2.write(f"/cgroup{folder}/cpu.max", "100000 100000\n")
    assert v1.quota == v2.quota == 2


def test_a_group_without_files_is_in_groups_with_them(v2: Machine) -> None:
    v2.write("/sys/fs/cgroup/cpu.max", "300000 100000\n")
    assert v2.quota == 3


def test_both_versions_at_once(tmp_path: Path) -> None:
    machine = Machine(
        tmp_path,
        "3:cpu:/job\n0::/job\n",
        V1.format(top="/", point="/sys/fs/cgroup/cpu"),
        V2.format(top="/", point="/sys/fs/cgroup/unified"),
    )
    machine.limit_v1("/sys/fs/cgroup/cpu/job", 300000)
    assert machine.quota == 3
    machine.write("/sys/fs/cgroup/unified/job/cpu.max", "200000 100000\n")
    assert machine.quota == 2


@pytest.mark.parametrize(
    ("path", "top", "folder"),
    [
        ("/", "/", "/cgroup"),
        # A container that sees the paths of its host, and only its own folder.
        ("/docker/a1", "/docker/a1", "/cgroup"),
        ("/docker/a1/job", "/docker/a1", "/cgroup/job"),
        # Paths as they look from namespaces that the mount, or the process, is not in.
        ("/docker/a1", "/docker/a10", "/cgroup"),
        ("/", "/..", "/cgroup"),
        ("/../other", "/", "/cgroup"),
        ("/docker/a1", "/", "/cgroup"),
    ],
)
def test_what_is_mounted_may_be_a_part(
    path: str, top: str, folder: str, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, f"0::{path}\n", V2.format(top=top, point="/cgroup"))
    machine.write(f"{folder}/cpu.max", "200000 100000\n")
    machine.write("/other/cpu.max", "100000 100000\n")
    assert machine.quota == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_may_have_any_characters(tmp_path: Path) -> None:
    mount = V2.format(top="/", point="/my\\040group\\134s")
    machine = Machine(tmp_path, "0::/a:b c\n", mount)
    machine.write("/my group\\s/a:b c/cpu.max", "200000 100000\n")
    assert machine.quota == 2


BAD = [b"", b"\n", b"max", b"100000", b"1 2 3", b"x y", b"0 100000", b"100000 0", b"-1 -1"]
BAD += [b"1e5 100000", b"\xff\xfe \x00", b"nan inf", b"9" * 5000 + b" 1"]


@pytest.mark.parametrize("bad", BAD)
def test_bad_quotas_are_none(bad: bytes, v1: Machine, tmp_path: Path) -> None:
    v2 = Machine(tmp_path / "v2", "0::/work/job\n", V2.format(top="/", point="/cgroup"))
    v2.write("/cgroup/work/job/cpu.max", bad)
    assert v2.quota is None
    # Nor do they hide a good one.
    v2.write("/cgroup/work/cpu.max", "200000 100000")
    assert v2.quota == 2
    v1.write("/sys/fs/cgroup/cpu/work/job/cpu.cfs_quota_us", bad)
    assert v1.quota is None
    v1.limit_v1("/sys/fs/cgroup/cpu/work/job", 200000)
    v1.write("/sys/fs/cgroup/cpu/work/job/cpu.cfs_period_us", b"")
    assert v1.quota is None


def test_a_folder_for_a_file_is_no_quota(v2: Machine) -> None:
    (v2.root / "sys/fs/cgroup/work/job/cpu.max").mkdir(parents=True)
    assert v2.quota is None


WORDS = st.sampled_from(
    [":", "/", " ", "\n", " - ", "cgroup", "cgroup2", "cpu", ",", "..", "0"]
)
TEXTS = st.one_of(st.binary(), st.lists(WORDS).map(lambda words: "".join(words).encode()))


@given(groups=TEXTS, mounts=TEXTS, quota=TEXTS)
def test_nothing_in_the_files_is_an_error(
    groups: bytes, mounts: bytes, quota: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    machine = Machine(tmp_path_factory.mktemp("machine"), "0::/work\n", V2)
    machine.write("proc/self/mountinfo", V2.format(top="/", point="/c").encode() + mounts)
    machine.write("/c/cpu.max", quota)
    machine.quota  # noqa: B018
    machine.write("proc/self/cgroup", groups)
    machine.quota  # noqa: B018


def test_systems_without_such_files_have_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(str(tmp_path)) is None
    assert cpu_quota("a\0b") is None


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of half a CPU, and in it one without a limit of its own."""
    groups = cgroup._groups("")
    with ExitStack() as made:
        for kind, top, point in cgroup._mounts(""):
            if kind not in groups:
                continue
            own = next(cgroup._folders(groups[kind], top, point))
            outer = Path(own, f"gatewise-{os.getpid()}")
            try:
                outer.mkdir()
                made.callback(outer.rmdir)
                if kind == "cgroup":
                    Path(outer, "cpu.cfs_period_us").write_text("100000")
                    Path(outer, "cpu.cfs_quota_us").write_text("50000")
                else:
                    Path(outer, "cpu.max").write_text("50000 100000")
                inner = outer / "inner"
                inner.mkdir()
                made.callback(inner.rmdir)
            except OSError:
                continue
            yield inner
            return
        pytest.skip("no control group with a quota can be made here")


COUNT = (
    "from tests.new_process import threads_of_a_call; print(*threads_of_a_call(), sep=', ')"
)


@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_a_call_in_a_group_with_a_quota_starts_no_thread(group: Path, backend: str) -> None:
    python = f'echo $$ > "{group}/cgroup.procs" && exec "$0" -c "{COUNT}"'
    done = run_command(["sh", "-c", python, sys.executable])
    several = len(os.sched_getaffinity(0)) > 1
    source = "CPU quota of the control group" if several else "affinity mask"
    assert done.stdout == f"1, 1 ({source})\n", done.stderr
