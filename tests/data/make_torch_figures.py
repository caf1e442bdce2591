"""Write PyTorch's results for the cases in ``layers_reference`` to ``torch_figures.npz``.

Run it as ``python tests/data/make_torch_figures.py`` where torch is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests import layers_reference as reference  # noqa: E402


def main() -> None:
    figures = {
        case.name: np.concatenate(
            [reference.digest(array) for array in reference.run_torch(case).values()]
        )
        for case in reference.CASES
    }
    path = HERE / reference.FIGURES
    np.savez_compressed(path, **figures)
    print(f"{path.name}: {len(figures)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
