"""How many CPUs the control groups of this process leave it; Linux knows such groups.

A container's limit is a quota of its group: so many microseconds of CPU time in a period.
A group has no more than the groups that it is in, so the tightest along the path counts.
Files that are missing, or say what nobody expects, are taken for no limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["cpu_quota"]

# The files of version 1 and of version 2, which the kernel mounts as different filesystems.
_FILES = {"cgroup": ("cpu.cfs_quota_us", "cpu.cfs_period_us"), "cgroup2": ("cpu.max",)}


def cpu_quota(root: str = "") -> int | None:
    """Return the tightest quota, rounded up to whole CPUs, or None where there is none.

    Parameters
    ----------
    root : str, default ""
        The folder that stands for ``/``; for tests.

    Examples
    --------
    >>> from gatewise.kernels.cgroup import cpu_quota
    >>> cpu_quota("no such folder") is None
    True
    """
    quotas = []
    groups = _groups(root)
    for kind, top, point in _mounts(root):
        if kind in groups:
            for folder in _folders(groups[kind], top, point):
                quota = _quota(kind, root + folder)
                if quota is not None:
                    quotas.append(quota)
    return min(quotas, default=None)


def _groups(root: str) -> dict[str, str]:
    """The path of the process's group in the hierarchies that have a say about CPUs."""
    groups = {}
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            groups["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            groups["cgroup"] = path
    return groups


def _mounts(root: str) -> Iterator[tuple[str, str, str]]:
    """The kind of each such hierarchy, and which of its folders is mounted where."""
    for line in _read(f"{root}/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        place, filesystem = before.split(" "), after.split(" ")
        if len(place) < 5 or filesystem[0] not in _FILES:
            continue
        if filesystem[0] == "cgroup2" or "cpu" in filesystem[-1].split(","):
            yield filesystem[0], _unescaped(place[3]), _unescaped(place[4])


def _folders(path: str, top: str, point: str) -> Iterator[str]:
    """The folder of the group `path` and of all that it is in, up to the mount point."""
    inside = f"{path}/".startswith(f"{top.rstrip('/')}/") and "/.." not in path
    # From another namespace a path says nothing, but the process is in what is mounted.
    below = path[len(top.rstrip("/")) :].rstrip("/") if inside else ""
    while below:
        yield point + below
        below = os.path.dirname(below).rstrip("/")
    yield point


def _quota(kind: str, folder: str) -> int | None:
    words = " ".join(_read(f"{folder}/{name}") for name in _FILES[kind]).split()
    try:
        quota, period = map(int, words)
    except ValueError:
        # Of version 2, which says "max" where there is no limit, or nothing at all.
        return None
    return -(-quota // period) if quota > 0 and period > 0 else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _unescaped(path: str) -> str:
    """A path as it is: mountinfo has octal numbers for what separates its words."""
    for character in " \t\n\\":
        path = path.replace(f"\\{ord(character):03o}", character)
    return path
