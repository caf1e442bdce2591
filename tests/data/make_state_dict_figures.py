"""Write modules of PyTorch and what they answer to ``state_dict_figures.npz``.

Run it as ``python tests/data/make_state_dict_figures.py`` where torch is installed. Each
array is named ``case:what``; ``state_dict.`` begins the names of a module's own arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

PATH = Path(__file__).parent / "state_dict_figures.npz"
CASES: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"num_layers": 2}),
    ("LSTM", {"bidirectional": True, "bias": False}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("GRU", {"bias": False}),
    ("RNNCell", {}),
    ("LSTMCell", {}),
    ("GRUCell", {"bias": False}),
]


def run(kind: str, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a module, an input and a state for it, and its answers."""
    module: Any = getattr(torch.nn, kind)(3, 4, **options)
    is_cell, is_lstm = kind.endswith("Cell"), kind.startswith("LSTM")
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    x = torch.randn(2, 5, 3)
    state = [torch.randn(count, options.get("proj_size", 0) or 4)]
    if is_lstm:
        state.append(torch.randn(count, 4))
    if is_cell:
        now: Any = tuple(part.expand(2, -1) for part in state)
        outputs = []
        for step in range(5):
            now = module(x[:, step], now if is_lstm else now[0])
            now = now if is_lstm else (now,)
            outputs.append(now[0])
        y, final = torch.stack(outputs, 1), [part[None] for part in now]
    else:
        module.batch_first = True
        start = [part[:, None].expand(-1, 2, -1).contiguous() for part in state]
        y, found = module(x, tuple(start) if is_lstm else start[0])
        final = list(found) if is_lstm else [found]
    named = {f"state_dict.{name}": value for name, value in module.state_dict().items()}
    named |= {"x": x, "y": y}
    for part, first, last in zip("hc", state, final, strict=False):
        named |= {f"start_{part}": first, f"final_{part}": last}
    return {name: value.detach().numpy() for name, value in named.items()}


def main() -> None:
    torch.manual_seed(0)
    figures = {
        f"{number} {kind}:{name}": value
        for number, (kind, options) in enumerate(CASES)
        for name, value in run(kind, options).items()
    }
    np.savez_compressed(PATH, **figures)  # type: ignore[arg-type]
    print(f"{PATH.name}: {len(CASES)} cases, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
