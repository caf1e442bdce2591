"""Write PyTorch's results for the cases in ``convolution_reference`` to a file beside this.

Run it as ``python tests/data/make_convolution_figures.py`` where torch is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.layers import convolution_reference as reference  # noqa: E402


def main() -> None:
    figures = {
        f"{case.name}: {name}": array
        for case in reference.CASES
        for name, array in reference.torch_results(case).items()
    }
    path = HERE / reference.FIGURES
    np.savez_compressed(path, **figures)
    print(f"{path.name}: {len(figures)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
