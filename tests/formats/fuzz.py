"""Read files that are damaged at random: ``python -m tests.formats.fuzz --count 100000``.

Each must be read, or refused by a `FormatError` (by any `ValueError` where a layer is to be
made of it); must take neither more memory than is allowed here nor more than a few seconds;
and must not end the process. What breaks a rule is kept in a folder and named.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.formats.fuzzed import TARGETS, Target, outcome
from tests.formats.mutations import mutated

_SECONDS = 10
_MEMORY = 1 << 30
_BLOCK = 2500


def run(name: str, seed: int, count: int, keep: Path) -> Counter[str]:
    """Read `count` files, and return how many ended in which way."""
    target = TARGETS[name]
    draw = random.Random(f"{name} {seed}")
    examples, found = target.examples(), Counter[str]()
    signal.signal(signal.SIGALRM, _too_long)
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
        path = Path(folder, "file" + target.suffix)
        # Everything is imported, and what libraries take once is taken.
        path.write_bytes(examples[0])
        outcome(target, path)
        _limit_memory()
        for _ in range(count):
            data = mutated(examples, draw)
            path.write_bytes(data)
            # Kept while it is read, since it may end the process.
            last = keep / f"{name}-{seed}{target.suffix}"
            last.write_bytes(data)
            found[_watched(target, path, keep, data)] += 1
            last.unlink()
    return found


def _watched(target: Target, path: Path, keep: Path, data: bytes) -> str:
    signal.alarm(_SECONDS)
    try:
        return outcome(target, path)
    except BaseException as error:
        signal.alarm(0)
        kind = f"WRONG: {type(error).__name__}"
        kept = keep / f"{target.name}-{abs(hash(data)):x}{target.suffix}"
        kept.write_bytes(data)
        Path(f"{kept}.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return kind
    finally:
        signal.alarm(0)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"it took more than {_SECONDS} seconds")


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    size = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def in_new_process(name: str, seed: int, count: int, keep: Path) -> Counter[str]:
    """`run`, where a file that ends the process does not end this one."""
    command = [sys.executable, "-m", "tests.formats.fuzz", "--format", name, "--block"]
    command += ["--seed", str(seed), "--count", str(count), "--keep", str(keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        error = (done.stderr.strip().splitlines() or [""])[-1]
        return Counter({f"WRONG: process {seed} ended with {done.returncode} {error}": 1})
    return Counter(json.loads(done.stdout))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--format", choices=sorted(TARGETS), action="append")
    parser.add_argument("--count", type=int, default=100_000, help="files of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "fuzz"))
    parser.add_argument("--block", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.keep.mkdir(exist_ok=True)
    if options.block:
        print(json.dumps(run(options.format[0], options.seed, options.count, options.keep)))
        return 0
    wrong = 0
    for name in options.format or sorted(TARGETS):
        start, total = time.monotonic(), Counter[str]()
        sizes = [_BLOCK] * (options.count // _BLOCK) + [options.count % _BLOCK]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [
                pool.submit(in_new_process, name, seed, size, options.keep)
                for seed, size in enumerate(sizes, options.seed)
                if size
            ]
            for job in jobs:
                total += job.result()
        seconds = time.monotonic() - start
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(total.items()))
        print(f"{name}: {sum(total.values())} files in {seconds:.0f} s: {said}", flush=True)
        wrong += sum(count for kind, count in total.items() if kind.startswith("WRONG"))
    if wrong:
        print(f"{wrong} broke a rule; see {options.keep}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
