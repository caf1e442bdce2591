"""What the operating system tells of the machine, some of it on Linux alone, and git."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def usable_cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_flags() -> list[str]:
    """The processor's features where Linux tells them."""
    return _cpu_line("flags").split()


def cpu_name() -> str:
    """The processor's name where Linux tells it."""
    return _cpu_line("model name") or platform.processor()


def commit() -> str:
    """The commit of this checkout, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def busy_seconds(cores: list[int]) -> float:
    """How long these cores have been in use, by anybody; 0 where Linux does not tell."""
    names = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in _lines("/proc/stat"):
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / _ticks_per_second()


def process_seconds(pid: int) -> float:
    """How long a process has been running on any core; 0 where Linux does not tell."""
    lines = _lines(f"/proc/{pid}/stat")
    if not lines:
        return 0.0
    # The name of the program, in parentheses, may hold anything.
    fields = lines[0].rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _ticks_per_second()


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _cpu_line(name: str) -> str:
    lines = _lines("/proc/cpuinfo")
    found = [line.partition(":")[2] for line in lines if line.startswith(name)]
    return found[0].strip() if found else ""
