"""Writes ``numpy_wheels.txt``: for which Pythons and platforms NumPy has wheels.

``python -m tests.data.make_numpy_wheels 2.5.5 2.4.6`` asks pip for the files of these
releases, where the later is for Pythons that the earlier has left behind.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).with_name("numpy_wheels.txt")


def pairs(release: str) -> set[tuple[str, str]]:
    """The pairs of Python and platform that a release has wheels for."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-vvv", "--no-deps"]
        log = subprocess.run(
            [*command, "--dest", folder, f"numpy=={release}"],
            capture_output=True,
            text=True,
        ).stdout
    wheels = re.findall(rf"/numpy-{re.escape(release)}-(\w+)-(\w+)-([\w.]+)\.whl", log)
    return {
        (python if abi != f"{python}t" else abi, _platform(tags))
        for python, abi, tags in wheels
    }


def _platform(tags: str) -> str:
    """A platform without what it has to have of a system."""
    return re.sub(r"_\d+_\d+_", "_", tags.split(".")[0])


def main() -> None:
    """Ask for the releases that are named, and write what they have."""
    lines = []
    seen: set[str] = set()
    for release in sys.argv[1:]:
        found = pairs(release)
        fresh = {python for python, _ in found} - seen
        seen |= fresh
        lines += [f"{release} {p} {on}\n" for p, on in sorted(found) if p in fresh]
    FILE.write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
