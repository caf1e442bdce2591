"""Reading files in a process that notes whatever else than reading them it does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_SCRIPT = """
import json, os, resource, sys
import gatewise
from gatewise import FormatError
job = json.loads(sys.stdin.read())
read = eval(job["reader"], {"gatewise": gatewise})
for path in job["warm"]:
    read(path)
noted = []
HARMLESS = ("object.", "sys._getframe", "marshal.", "array.", "code.__new__", "gc.",
            "builtins.id", "sys.excepthook", "sys.unraisablehook", "numpy.", "mmap.__new__")
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], int):
        # A descriptor that was noted when it was opened.
        return
    if noted is not None and not event.startswith(HARMLESS):
        noted.append([event, str(arguments[0]) if arguments else ""])
sys.addaudithook(note)
found = []
for path in job["paths"]:
    noted.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(path)
        kind, message = "", ""
    except BaseException as error:
        kind, message = type(error).__name__, str(error)
        error.__traceback__ = None
    events = [each for each in noted]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    found.append([path, kind, message, events, grown * 1024])
print(json.dumps(found))
"""


class Seen(NamedTuple):
    """How reading a file ended, and what happened meanwhile.

    `events` are Python's audit events, each with its first argument; `grown` is by how many
    bytes the process's peak memory grew.
    """

    path: str
    error: str
    message: str
    events: list[list[str]]
    grown: int

    @property
    def harm(self) -> list[list[str]]:
        """All that was done beside looking at the file itself."""
        looks = {"open", "os.stat", "os.lstat", "os.listdir", "os.fstat"}
        return [
            [event, argument]
            for event, argument in self.events
            if not (event in looks and argument == self.path)
        ]


def watched(
    paths: Sequence[Path],
    *,
    warm: Sequence[Path] = (),
    reader: str = "gatewise.load_arrays",
) -> list[Seen]:
    """Read files in a new process, after those of `warm`, which need the same imports."""
    job: dict[str, Any] = {
        "paths": [str(path) for path in paths],
        "warm": [str(path) for path in warm],
        "reader": reader,
    }
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return [Seen(*each) for each in json.loads(done.stdout)]
