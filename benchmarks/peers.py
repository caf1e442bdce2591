"""gatewise against others, as one has them: the same work, side by side.

How to repeat
-------------
From a checkout, with the compiled backend built and nothing else running:

    pip install '.[bench]'
    python benchmarks/peers.py --output results            # everything, an hour
    python benchmarks/peers.py --quick                     # a sample, 5 minutes
    python benchmarks/peers.py --only lstm --kind inference --threads 1 --match 'B1 T1 '
    python benchmarks/peers.py --precisions float32        # as if there were nothing else
    python benchmarks/peers.py --report results/peers.json # measures nothing

The times are those of two cores. The table goes to stdout; ``--output DIR`` adds
``peers.json``, and the page ``peers.md`` and the picture ``peers.png`` that are made of it;
``--report FILE`` makes them again, beside a file that was measured before. With ``--missing
--minutes 3``, over and over, everything is measured in pieces, on a machine that has other
work. A peer that is not installed is left out with a note; RTNeural, which no package index
has, is a checkout named by ``RTNEURAL`` in the environment. ``GATEWISE_ISA`` forces lesser
kernels, for gatewise alone.

Who is compared
---------------
gatewise in float32, bfloat16 and int8, with activations of 15 bits and of 8; torch in
float32, as a module of bfloat16, under autocast, and in its dynamic int8; ONNX Runtime in
float32 and in its own int8; OpenVINO held to float32, and without a hint, as its users have
it; JAX; and for single sequences ncnn in float32 and int8 (LSTM), numba and RTNeural (up to
64 units, many steps). `comparison/entries.py` lists them with the cases that each can do.

Each is compared with its like, and nobody is fooled by that: every case also has the ratio
of the best of ours to the best of everybody's, in whatever precision either is fastest.

What is compared
----------------
Every package runs in a process of its own with the same number of threads, pinned to the
same cores, with the same weights and inputs, and as one who knows it would use it (the
modules ``comparison/with_*.py`` say how). Weights are prepared, and rounded, beforehand,
and data lie in the layout and the type of array that the contestant likes best: batch first
for gatewise, time first for the peers. Before a case is timed, all results are compared
with those of the first peer in float32: outputs, and in training the gradients of the input
and of all weights. Whoever deviates by more than 1e-4 of the largest value (or of 1) in
float32, 0.03 in bfloat16 and int8, or 0.05 in training in bfloat16 is reported as wrong,
not timed.

Then all run in turns, round by round, so that whatever else the machine does hits them
alike; whoever has no turn is stopped, threads and all, and a turn begins with 5
milliseconds (20 with several threads) that are not counted. The figures are medians over
the rounds. A case is called disturbed when other processes took more than a tenth of the
cores' time (Linux only), and is then measured once more at the end; it is called noisy
when the middle half of the rounds is wider than a fifth of the median. A ratio of 2 means
that gatewise takes half the time of the fastest peer. Cases of one step (T1) carry
the state from call to call. In training the gradient of the outputs is given, and gradients
of the input and of the weights are asked for. Ragged batches are compared with
PackedSequence, including packing and padding, and float64 with torch alone.

The bound is what the machine allows in float32, measured in the same rounds
(``comparison/bounds.py``): the rate of a large product of matrices with the widest
instructions there are, and at batch 1 the rate at which weights can be read over and over.
"Of bound" is that time as a share of gatewise's.

Peak memory is that of training in a fresh process with one thread, above what the package
itself takes after a small warm-up (Linux only).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from comparison.contestant import missing
from comparison.entries import PEERS, PRECISIONS, entries_of
from comparison.grid import CELLS, KINDS, Case, grid, memory_cases, quick_grid
from comparison.machine import commit, cpu_name, usable_cores
from comparison.match import Match
from comparison.page import page, versions
from comparison.picture import draw
from comparison.report import summary
from comparison.rows import heading, row
from comparison.storage import Measured, Memory, as_json, from_json
from comparison.worker import Worker, WorkerError

FILE = "peers.json"


def main() -> None:
    options = _parse()
    if options.report:
        _show(options.report, _stored(options.report))
        return
    # A worker that is stopped would outlive a command that just ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = perf_counter()
    options.end = start + 60 * options.minutes
    packages = ["gatewise"]
    for peer in options.peers:
        if reason := missing(peer):
            print(f"{peer} is left out: {reason}")
        else:
            packages.append(peer)
    about: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": cpu_name(),
        "platform": platform.platform(),
        "Python": platform.python_version(),
        "load before": _load(),
    }
    measured = Measured(about)
    before = _stored(options.output / FILE) if options.add else Measured()
    try:
        _compare(options, packages, measured, before)
        if "memory" in options.kind:
            measured.memory += _weigh(options, packages, before)
    except KeyboardInterrupt:
        print("interrupted: what follows is of the part that was done", file=sys.stderr)
    about["load after"] = _load()
    about["minutes"] = round((perf_counter() - start) / 60, 1)
    print("\n".join(summary(measured)))
    load = f"load {about['load before']} to {about['load after']}"
    print(f"\n{about['minutes']} minutes, {load}")
    if options.output:
        before.add(measured)
        _write(options.output, before)


def _compare(
    options: argparse.Namespace,
    packages: Sequence[str],
    measured: Measured,
    before: Measured,
) -> None:
    """Run the selected cases and add what was measured to `measured`."""
    cases = _selected(options, quick_grid() if options.quick else grid())
    todo = {
        threads: [c for c in cases if not (options.missing and before.has(c, threads))]
        for threads in options.threads
    }
    about, outcomes = measured.about, measured.outcomes
    with _Progress(sum(map(len, todo.values()))) as progress:
        for threads in options.threads:
            if not todo[threads] or perf_counter() > options.end:
                continue
            with Match(entries_of(packages, options.precisions), threads) as match:
                about.setdefault("versions", {}).update(match.versions)
                rates = about.setdefault("sgemm of NumPy", {})
                rates[str(threads)], kernels = _numpy_rate(threads)
                _introduce(match, about, kernels, progress.say)
                progress.say(heading(threads))
                for case in todo[threads]:
                    if perf_counter() > options.end:
                        break
                    outcomes.append(match.measure(case, options.seconds))
                    progress.say(row(outcomes[-1]))
                    progress.advance()
                for place, outcome in enumerate(outcomes):
                    if outcome.threads == threads and outcome.disturbed:
                        outcomes[place] = match.measure(outcome.case, options.seconds)
                        progress.say(row(outcomes[place]))


def _introduce(
    match: Match, about: dict[str, Any], kernels: str, say: Callable[[str], None]
) -> None:
    threads = match.threads
    say("")
    say(f"{about['processor']}, {threads} of {len(usable_cores())} cores")
    say("; ".join(version for name, version in match.versions.items() if name != "bounds"))
    for name, reason in match.failures.items():
        say(f"{name} is left out: {reason}")
    widest = match.product_rate()
    about.setdefault("sgemm", {})[str(threads)] = widest
    plain = about["sgemm of NumPy"][str(threads)]
    say(
        f"sgemm {widest / 1e9:.0f} GFLOP/s; as {kernels} chooses, {plain / 1e9:.0f} GFLOP/s"
    )


def _numpy_rate(threads: int) -> tuple[float, str]:
    with Worker("numpy", threads) as worker:
        worker.greet()
        return worker.ask("product_rate", "float32"), worker.version


def _weigh(
    options: argparse.Namespace, packages: Sequence[str], before: Measured
) -> Iterable[Memory]:
    """Measure the peak memory of training, each in a process of its own."""
    if not sys.platform.startswith("linux"):
        print("peak memory is left out: only Linux tells it", file=sys.stderr)
        return
    for case in _selected(options, memory_cases(options.quick)):
        if options.missing and any(case == entry.case for entry in before.memory):
            continue
        entry = Memory(case, {}, {})
        in_float32 = [e for e in entries_of(packages, ["float32"]) if e.takes(case)]
        for name in dict.fromkeys(e.package for e in in_float32):
            try:
                with Worker(name, 1) as worker:
                    worker.greet()
                    found = worker.ask("peak_memory", _small(case), case)
            except WorkerError as error:
                print(f"peak memory of {name} at {case}: {error}", file=sys.stderr)
                continue
            entry.ready[name], entry.peak[name] = found["ready"], found["peak"]
        yield entry


def _small(case: Case) -> Case:
    return Case("memory", case.cell, 2, 3, 8, 8, dtype=case.dtype, training=True)


def _selected(options: argparse.Namespace, cases: Sequence[Case]) -> list[Case]:
    return [
        case
        for case in cases
        if case.cell in options.only
        and case.kind in options.kind
        and any(part in str(case) + " " for part in options.match)
    ]


def _stored(path: Path) -> Measured:
    """What a file holds; nothing where there is none."""
    if not path.exists():
        return Measured()
    with open(path, encoding="utf-8") as file:
        return from_json(json.load(file))


def _write(folder: Path, measured: Measured) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with open(path, "w", encoding="utf-8") as file:
        json.dump(as_json(measured), file, indent=1)
    _show(path, measured)


def _show(path: Path, measured: Measured) -> None:
    """Write the page and the picture beside the file that they are made of."""
    about = measured.about
    path.with_suffix(".md").write_text(page(measured, path.name), "utf-8")
    title = f"{about['processor']}, {about['date'][:10]}; {'; '.join(versions(about))}"
    try:
        draw(measured.outcomes, title, path.with_suffix(".png"))
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
    print(f"written to {path.parent}")


class _Progress:
    """A tqdm bar where tqdm is installed and stderr is a terminal, else plain lines."""

    def __init__(self, total: int) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, unit="case", leave=False, dynamic_ncols=True)

    def say(self, line: str) -> None:
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line, file=sys.stdout)

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _load() -> str:
    """How busy the machine was in the last minute, where it tells."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _parse() -> argparse.Namespace:
    kinds = (*KINDS, "memory")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="a sample of the cases, 3 minutes")
    add("--only", nargs="+", choices=CELLS, default=CELLS, help="cells")
    add("--kind", nargs="+", choices=kinds, default=kinds, help="kinds of work")
    add("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads")
    add("--peers", nargs="*", choices=PEERS, default=PEERS, help="whom to compare with")
    add(
        "--match",
        nargs="+",
        default=[""],
        help="only cases whose names contain one of these",
    )
    add(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        default=PRECISIONS,
        help="in which precisions to compare; float32 is always among them",
    )
    add("--seconds", type=float, help="time for each case and number of threads")
    add("--output", type=Path, metavar="DIR", help="where to write what was measured")
    add("--add", action="store_true", help="keep what DIR/peers.json holds of other cases")
    add("--missing", action="store_true", help="as --add, and leave out the cases it holds")
    add("--minutes", type=float, default=math.inf, help="begin no case after so many")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="measure nothing: make the page and the picture of this peers.json again",
    )
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = 0.5 if options.quick else 3.0
    # Narrow results are compared with those in float32.
    options.precisions = {PRECISIONS[0], *options.precisions}
    options.add |= options.missing
    if options.add and not options.output:
        parser.error("--add and --missing should come with --output")
    cores = len(usable_cores())
    for threads in () if options.report else options.threads:
        if not 1 <= threads <= cores:
            parser.error(
                f"--threads should be from 1 to {cores} on this machine, got {threads}"
            )
    return options


if __name__ == "__main__":
    main()
