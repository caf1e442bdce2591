"""Write ONNX Runtime's results for the cases in ``onnx_reference`` to ``onnx_figures.npz``.

Run it as ``python tests/data/make_onnx_figures.py`` where onnxruntime is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.formats import onnx_reference as reference  # noqa: E402


def main() -> None:
    figures = {}
    for number, case in enumerate(reference.figure_cases()):
        outputs = reference.run_onnxruntime(case)
        figures[f"{number}"] = np.concatenate([output.ravel() for output in outputs])
    path = HERE / reference.FIGURES
    np.savez_compressed(path, **figures)
    print(f"{path.name}: {len(figures)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
