"""Write files of PyTorch's to ``torch_files/``, and what is in them to ``figures.npz``.

Run it as ``python tests/data/make_torch_files.py`` where torch is installed.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.formats import torch_cases as cases  # noqa: E402


def main() -> None:
    # Of quantized and sparse tensors, whose time is over, or not yet come.
    warnings.simplefilter("ignore")
    folder = HERE / "torch_files"
    folder.mkdir(exist_ok=True)
    figures = {}
    for name, content in cases.files().items():
        (folder / name).write_bytes(content)
        found = cases.expected(content)
        figures |= {f"{name}:{array}": value for array, value in found.items()}
        print(f"{name}: {len(found)} arrays, {len(content)} bytes")
    np.savez_compressed(folder / "figures.npz", **figures)


if __name__ == "__main__":
    main()
