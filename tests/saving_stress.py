"""Several writers save to one path while others read it.

``python tests/saving_stress.py`` lets three processes and then three threads save sixty
checkpoints each to one path while it is read, kills writers in between, and says what was
found: every read must be whole, and nothing but the last file may be left.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from gatewise.training import load_checkpoint, save_checkpoint

SIZE = 50_000


def write(path: Path, writer: int, saves: int) -> None:
    """Save `saves` checkpoints that say whose they are, all through."""
    for number in range(saves):
        arrays = {name: np.full(SIZE, 1000 * writer + number) for name in ("a", "b")}
        save_checkpoint(path, "stress", arrays, {"writer": writer, "number": number})


def read(path: Path) -> None:
    """Read the file, and raise unless it is just what one save wrote."""
    arrays, metadata = load_checkpoint(path, "stress")
    expected = 1000 * metadata["writer"] + metadata["number"]
    assert list(arrays) == ["a", "b"]
    for array in arrays.values():
        assert array.shape == (SIZE,)
        assert (array == expected).all()


def start(path: Path, writer: int, saves: int) -> subprocess.Popen[bytes]:
    """Let another process write."""
    script = [sys.executable, __file__, "--write", str(writer), str(saves), str(path)]
    return subprocess.Popen(script)


def by_processes(path: Path, writers: int, saves: int) -> int:
    """Write from processes; return how many times the file was read meanwhile."""
    processes = [start(path, writer, saves) for writer in range(writers)]
    reads = 0
    while any(process.poll() is None for process in processes):
        if path.exists():
            read(path)
            reads += 1
    assert [process.returncode for process in processes] == [0] * writers
    return reads


def by_threads(path: Path, writers: int, saves: int) -> int:
    """Write from threads; return how many times the file was read meanwhile."""
    failures: list[BaseException] = []

    def work(writer: int) -> None:
        try:
            write(path, writer, saves)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=[w]) for w in range(writers)]
    for thread in threads:
        thread.start()
    reads = 0
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            read(path)
            reads += 1
    assert not failures, failures
    return reads


def kill_some(path: Path, times: int) -> int:
    """Kill writers at work; return how many unfinished files that left."""
    for attempt in range(times):
        process = start(path, attempt, 10**6)
        while not any(path.parent.glob("*.partial")) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(0.002 * attempt)
        process.kill()
        process.wait()
    return len(list(path.parent.glob(".*.partial")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--saves", type=int, default=60)
    parser.add_argument("--write", nargs=3, metavar=("WRITER", "SAVES", "PATH"))
    options = parser.parse_args()
    if options.write:
        writer, saves, path = options.write
        write(Path(path), int(writer), int(saves))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.safetensors"
        for how in (by_processes, by_threads):
            reads = how(path, options.writers, options.saves)
            left = sorted(os.listdir(directory))
            print(
                f"{how.__name__}: {options.writers} writers x {options.saves} saves, "
                f"{reads} reads, all whole; left over: {left}"
            )
            assert left == ["model.safetensors"]
        killed = kill_some(path, 10)
        write(path, 0, 1)
        left = sorted(os.listdir(directory))
        print(f"10 writers killed: {killed} unfinished files, after one save: {left}")
        assert left == ["model.safetensors"]


if __name__ == "__main__":
    main()
