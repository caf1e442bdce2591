"""torch.nn's cells, whose steps run on gatewise's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.torch.conditions import cell_call
from gatewise.torch.function import Call, run_call
from gatewise.torch.scripting import by_torch_alone, proxied

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "planned"]


class LSTMCell(nn.LSTMCell):
    """``torch.nn.LSTMCell`` on gatewise's kernels.

    See Also
    --------
    gatewise.torch.LSTM : A whole sequence in one call, which is many times faster.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> cell = gatewise.torch.LSTMCell(3, 4)
    >>> h, c = cell(torch.ones(2, 3))
    >>> h.shape, c.shape
    (torch.Size([2, 4]), torch.Size([2, 4]))
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the next h and c, as ``torch.nn.LSTMCell`` does."""
        return _forward(self, super().forward, input, hx)

    def __prepare_scriptable__(self) -> nn.Module:
        return by_torch_alone(self, LSTMCell.__bases__[0])


class GRUCell(nn.GRUCell):
    """``torch.nn.GRUCell`` on gatewise's kernels.

    See Also
    --------
    gatewise.torch.GRU : A whole sequence in one call, which is many times faster.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> gatewise.torch.GRUCell(3, 4)(torch.ones(2, 3)).shape
    torch.Size([2, 4])
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the next state, as ``torch.nn.GRUCell`` does."""
        return _forward(self, super().forward, input, hx)

    def __prepare_scriptable__(self) -> nn.Module:
        return by_torch_alone(self, GRUCell.__bases__[0])


class RNNCell(nn.RNNCell):
    """``torch.nn.RNNCell`` on gatewise's kernels.

    See Also
    --------
    gatewise.torch.RNN : A whole sequence in one call, which is many times faster.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> gatewise.torch.RNNCell(3, 4, nonlinearity="relu")(torch.ones(3)).shape
    torch.Size([4])
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the next state, as ``torch.nn.RNNCell`` does."""
        return _forward(self, super().forward, input, hx)

    def __prepare_scriptable__(self) -> nn.Module:
        return by_torch_alone(self, RNNCell.__bases__[0])


def _forward(module: Any, own: Callable[..., Any], x: Any, hx: Any) -> Any:
    """A step, on the kernels or else by torch.nn's own `forward`."""
    if torch.compiler.is_compiling():
        return own(x, hx)
    call = planned(module, x, hx)
    if isinstance(call, str):
        traced = proxied(module, x, hx)
        return own(x, hx) if traced is None else traced
    _, *final = run_call(call)
    final = [part.squeeze(0) for part in final]
    if x.dim() == 1:
        final = [part.squeeze(0) for part in final]
    return tuple(final) if len(final) > 1 else final[0]


def planned(module: Any, x: Any, hx: Any) -> Call | str:
    """What a step runs, its tensors with a batch axis, or why torch.nn should."""
    mode = _mode(module)
    if mode is None:
        return "the nonlinearity is unknown"
    if isinstance(x, Tensor) and x.dim() == 1:
        # What is no vector, or no tensor, is left for who refuses it.
        parts = hx if isinstance(hx, tuple | list) else [] if hx is None else [hx]
        if not all(isinstance(part, Tensor) and part.dim() == 1 for part in parts):
            return "hx has not the shape of the module's states"
        x = x.unsqueeze(0)
        if hx is not None:
            states = tuple([part.unsqueeze(0) for part in parts])
            hx = states if isinstance(hx, tuple | list) else states[0]
    return cell_call(module, mode, x, hx)


def _mode(module: Any) -> str | None:
    if isinstance(module, nn.LSTMCell):
        return "LSTM"
    if isinstance(module, nn.GRUCell):
        return "GRU"
    return {"tanh": "RNN_TANH", "relu": "RNN_RELU"}.get(module.nonlinearity)
