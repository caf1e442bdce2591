"""PyTorch's recurrent modules on gatewise's kernels, to train and to run on a CPU.

`LSTM`, `GRU`, `RNN` and the cells are subclasses of those of ``torch.nn``, so their
constructors, parameters, state dictionaries and pickles are PyTorch's own. Only `forward`
is another one: it runs on gatewise's kernels where it can, and is ``torch.nn``'s where it
cannot. `why_not` says why. `accelerate` does the same to a model that exists.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "gatewise.torch needs PyTorch, which is not installed: pip install torch",
        name="torch",
    ) from None

from gatewise.torch.cells import GRUCell, LSTMCell, RNNCell
from gatewise.torch.models import accelerate, restore, why_not
from gatewise.torch.modules import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "accelerate",
    "restore",
    "why_not",
]
