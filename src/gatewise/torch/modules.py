"""torch.nn's LSTM, GRU and RNN, whose calls run on gatewise's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewise.torch.conditions import recurrent_call
from gatewise.torch.function import Call, run_call
from gatewise.torch.scripting import by_torch_alone, proxied

__all__ = ["GRU", "LSTM", "RNN", "planned"]


class LSTM(nn.LSTM):
    """``torch.nn.LSTM`` on gatewise's kernels.

    Everything but the way it computes is that class's own: the arguments of the
    constructor and of a call, the parameters, the state dictionary, the errors.

    See Also
    --------
    gatewise.torch.why_not : Says where a call does not run on the kernels.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> layer = gatewise.torch.LSTM(3, 4, batch_first=True)
    >>> y, (h, c) = layer(torch.ones(2, 5, 3))
    >>> y.shape, h.shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    >>> y.sum().backward()
    >>> layer.weight_ih_l0.grad.shape
    torch.Size([16, 3])
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the outputs and the final h and c, as ``torch.nn.LSTM`` does."""
        return _forward(self, super().forward, input, hx)

    def __prepare_scriptable__(self) -> nn.Module:
        return by_torch_alone(self, LSTM.__bases__[0])


class GRU(nn.GRU):
    """``torch.nn.GRU`` on gatewise's kernels.

    Everything but the way it computes is that class's own: the arguments of the
    constructor and of a call, the parameters, the state dictionary, the errors.

    See Also
    --------
    gatewise.torch.why_not : Says where a call does not run on the kernels.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> layer = gatewise.torch.GRU(3, 4, bidirectional=True)
    >>> sequences = [torch.ones(2, 3), torch.ones(5, 3)]
    >>> packed = torch.nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    >>> y, h = layer(packed)
    >>> y.data.shape, h.shape
    (torch.Size([7, 8]), torch.Size([2, 2, 4]))
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the outputs and the final state, as ``torch.nn.GRU`` does."""
        return _forward(self, super().forward, input, hx)

    def __prepare_scriptable__(self) -> nn.Module:
        return by_torch_alone(self, GRU.__bases__[0])


class RNN(nn.RNN):
    """``torch.nn.RNN`` on gatewise's kernels.

    Everything but the way it computes is that class's own: the arguments of the
    constructor and of a call, the parameters, the state dictionary, the errors.

    See Also
    --------
    gatewise.torch.why_not : Says where a call does not run on the kernels.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> layer = gatewise.torch.RNN(3, 4, nonlinearity="relu")
    >>> y, h = layer(torch.ones(5, 3))
    >>> y.shape, h.shape
    (torch.Size([5, 4]), torch.Size([1, 4]))
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the outputs and the final state, as ``torch.nn.RNN`` does."""
        return _forward(self, super().forward, input, hx)

    def __prepare_scriptable__(self) -> nn.Module:
        return by_torch_alone(self, RNN.__bases__[0])


def _forward(module: Any, own: Callable[..., Any], x: Any, hx: Any) -> Any:
    """A call, on the kernels or else by torch.nn's own `forward`."""
    if torch.compiler.is_compiling():
        return own(x, hx)
    call = planned(module, x, hx)
    if isinstance(call, str):
        traced = proxied(module, x, hx)
        return own(x, hx) if traced is None else traced
    y, *final = run_call(call._replace(masks=_draw(module, call)))
    if isinstance(x, PackedSequence):
        y = PackedSequence(y, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        if x.unsorted_indices is not None:
            final = [part.index_select(1, x.unsorted_indices) for part in final]
    elif x.dim() == 2:
        y = y.squeeze(0 if module.batch_first else 1)
        final = [part.squeeze(1) for part in final]
    return y, tuple(final) if len(final) > 1 else final[0]


def planned(module: Any, x: Any, hx: Any) -> Call | str:
    """What a call runs, its tensors in the shapes and order of a batch, or why not."""
    if isinstance(x, PackedSequence):
        if x.sorted_indices is not None and hx is not None:
            hx = _each(hx, lambda part: part.index_select(1, x.sorted_indices))
    elif isinstance(x, Tensor) and x.dim() == 2:
        x = x.unsqueeze(0 if module.batch_first else 1)
        hx = _each(hx, lambda part: part.unsqueeze(1))
    return recurrent_call(module, x, hx)


def _each(hx: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change the parts of a state; what is none is left for who refuses it."""
    try:
        return tuple(map(change, hx)) if isinstance(hx, tuple | list) else change(hx)
    except (AttributeError, IndexError, RuntimeError, TypeError):
        return hx


def _draw(module: Any, call: Call) -> tuple[Tensor, ...]:
    """What dropout multiplies each layer's outputs by, drawn as torch.nn draws it."""
    rate, sizes = module.dropout, call.plan.sizes
    if not rate or not module.training or sizes.num_layers == 1:
        return ()
    width = sizes.directions * sizes.output_size
    shape = list(call.x.shape)
    if call.plan.batch_sizes is None and call.plan.batch_first:
        shape[:2] = shape[1], shape[0]
    masks = []
    for _ in range(sizes.num_layers - 1):
        # Always with time before batch, in which order the numbers come.
        mask = torch.empty((*shape[:-1], width), dtype=call.x.dtype, device="cpu")
        if rate == 1:
            mask.zero_()
        else:
            mask.bernoulli_(1 - rate).div_(1 - rate)
        if call.plan.batch_sizes is None and call.plan.batch_first:
            mask = mask.transpose(0, 1)
        masks.append(mask)
    return tuple(masks)
