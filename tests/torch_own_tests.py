"""Run PyTorch's own tests of recurrent modules with gatewise's in their places.

It takes a checkout of PyTorch of the version that is installed, with what its tests need
(``pip install expecttest scipy``), runs each file twice, with torch.nn's classes and with
ours, and prints the tests whose outcomes differ. Nothing of the checkout is kept.

    python tests/torch_own_tests.py CHECKOUT [--timeout 1800]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

WORDS = ("rnn", "RNN", "lstm", "LSTM", "gru", "GRU", "cell", "Cell")
# The tests of each file: those that have one of the words in their names, or all.
FILES: dict[str, tuple[str, ...]] = {
    "test/test_nn.py": WORDS,
    "test/test_modules.py": ("RNN", "LSTM", "GRU"),
    "test/nn/test_packed_sequence.py": (),
    "test/nn/test_parametrization.py": (),
}

# Runs in the process of the tests, before PyTorch's file is read.
EXCHANGE = """
import runpy, sys, torch, gatewise.torch
from gatewise.torch import conditions
# Small single steps are left to PyTorch, and here shall run on the kernels too.
conditions._WORTHWHILE = conditions._LEAST_ROWS = 0
for name in ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"):
    for place in (torch.nn, torch.nn.modules) if sys.argv[1] == "ours" else ():
        setattr(place, name, getattr(gatewise.torch, name))
sys.argv[:] = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def outcomes(
    path: Path, words: tuple[str, ...], whose: str, timeout: int
) -> dict[str, str]:
    """What became of every test of a file, by its name."""
    command = [sys.executable, "-c", EXCHANGE, whose, str(path), "-v"]
    for word in words:
        command += ["-k", word]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=path.parent,
        check=False,
    )
    # A warning may stand between a name and its outcome.
    found = re.findall(
        r"^(test_\w+) \(.*?\.\.\..*?(ok|ERROR|FAIL|skipped|expected failure)",
        done.stderr,
        re.MULTILINE | re.DOTALL,
    )
    if not found:
        raise SystemExit(f"{path} ran no test:\n{done.stderr[-2000:]}")
    return dict(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--timeout", type=int, default=1800)
    arguments = parser.parse_args()
    worse = 0
    for name, words in FILES.items():
        path = arguments.checkout.resolve() / name
        theirs, ours = (
            outcomes(path, words, whose, arguments.timeout) for whose in ("theirs", "ours")
        )
        passed = [sum(each == "ok" for each in found.values()) for found in (theirs, ours)]
        print(f"{name}: {passed[0]} of {len(theirs)} pass with torch.nn's classes, "
              f"{passed[1]} of {len(ours)} with gatewise's")  # fmt: skip
        for test in sorted(theirs | ours):
            before, after = theirs.get(test, "missing"), ours.get(test, "missing")
            if before != after:
                print(f"  {test}: {before}, with gatewise's {after}")
                worse += before == "ok"
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
