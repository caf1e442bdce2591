"""torch.nn's LSTM, GRU and RNN, whose calls run on gatewise's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewise.torch.conditions import recurrent_call
from gatewise.torch.function import Call, run_call
from gatewise.torch.resets import fitting
from gatewise.torch.scripting import by_torch_alone, proxied
from gatewise.torch.steps import run_steps

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
    >>> layer.weight_ih_l0.grad is None
    False
    """

    def forward(self, input: Any, hx: Any = None, resets: Any = None) -> Any:
        """Return the outputs and the final h and c, as ``torch.nn.LSTM`` does.

        Parameters
        ----------
        input, hx
            As ``torch.nn.LSTM`` takes them.
        resets : torch.Tensor or torch.nn.utils.rnn.PackedSequence of bool
            Which steps start from zeros in place of the state before, as the first of an
            episode does: in the layout of the input, so ``(time, batch)``, with
            `batch_first` ``(batch, time)``, and ``(time,)`` without a batch; for a packed
            input booleans that are packed alike. Backwards in time, a step starts from
            zeros where the next one is such a first. None is for no such step.

        Raises
        ------
        TypeError
            If `resets` is no tensor of booleans, or not packed as the input is.
        ValueError
            If `resets` has another shape than the steps of the input.
        """
        return _forward(self, super().forward, input, hx, resets)

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

    def forward(self, input: Any, hx: Any = None, resets: Any = None) -> Any:
        """Return the outputs and the final state, as ``torch.nn.GRU`` does.

        Parameters
        ----------
        input, hx
            As ``torch.nn.GRU`` takes them.
        resets : torch.Tensor or torch.nn.utils.rnn.PackedSequence of bool
            Which steps start from zeros in place of the state before, as the first of an
            episode does: in the layout of the input, so ``(time, batch)``, with
            `batch_first` ``(batch, time)``, and ``(time,)`` without a batch; for a packed
            input booleans that are packed alike. Backwards in time, a step starts from
            zeros where the next one is such a first. None is for no such step.

        Raises
        ------
        TypeError
            If `resets` is no tensor of booleans, or not packed as the input is.
        ValueError
            If `resets` has another shape than the steps of the input.
        """
        return _forward(self, super().forward, input, hx, resets)

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

    def forward(self, input: Any, hx: Any = None, resets: Any = None) -> Any:
        """Return the outputs and the final state, as ``torch.nn.RNN`` does.

        Parameters
        ----------
        input, hx
            As ``torch.nn.RNN`` takes them.
        resets : torch.Tensor or torch.nn.utils.rnn.PackedSequence of bool
            Which steps start from zeros in place of the state before, as the first of an
            episode does: in the layout of the input, so ``(time, batch)``, with
            `batch_first` ``(batch, time)``, and ``(time,)`` without a batch; for a packed
            input booleans that are packed alike. Backwards in time, a step starts from
            zeros where the next one is such a first. None is for no such step.

        Raises
        ------
        TypeError
            If `resets` is no tensor of booleans, or not packed as the input is.
        ValueError
            If `resets` has another shape than the steps of the input.
        """
        return _forward(self, super().forward, input, hx, resets)

    def __prepare_scriptable__(self) -> nn.Module:
        return by_torch_alone(self, RNN.__bases__[0])


def _forward(module: Any, own: Callable[..., Any], x: Any, hx: Any, resets: Any) -> Any:
    """A call, on the kernels or else by torch.nn's own code."""
    if torch.compiler.is_compiling():
        return own(x, hx) if resets is None else _by_steps(module, own, x, hx, resets)
    traced = None if resets is None else proxied(module, x, hx, resets)
    if traced is not None:
        return traced
    call = planned(module, x, hx, resets)
    if isinstance(call, str):
        if resets is not None:
            return _by_steps(module, own, x, hx, resets)
        traced = proxied(module, x, hx)
        return own(x, hx) if traced is None else traced
    return _finished(module, x, run_call(call._replace(masks=_draw(module, call))))


def _by_steps(module: Any, own: Callable[..., Any], x: Any, hx: Any, resets: Any) -> Any:
    """A call with resets where the kernels cannot run."""
    flags = fitting(x, resets)
    if flags is None:
        return own(x, hx)
    if isinstance(x, Tensor) and (x.dim() not in (2, 3) or not flags.numel()):
        # Without steps or sequences nothing starts anew, or is refused.
        return own(x, hx)
    made = run_steps(module, lambda: own(x, hx), *_batched(module, x, hx, flags))
    return _finished(module, x, made)


def _finished(module: Any, x: Any, made: tuple[Tensor, ...]) -> Any:
    """Outputs and final state in the form that the input asks for."""
    y, *final = made
    if isinstance(x, PackedSequence):
        y = PackedSequence(y, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        if x.unsorted_indices is not None:
            final = [part.index_select(1, x.unsorted_indices) for part in final]
    elif x.dim() == 2:
        y = y.squeeze(0 if module.batch_first else 1)
        final = [part.squeeze(1) for part in final]
    return y, tuple(final) if len(final) > 1 else final[0]


def planned(module: Any, x: Any, hx: Any, resets: Any = None) -> Call | str:
    """What a call runs, its tensors in the shapes and order of a batch, or why not."""
    if resets is not None:
        resets = fitting(x, resets)
    return recurrent_call(module, *_batched(module, x, hx, resets))


def _batched(module: Any, x: Any, hx: Any, resets: Any) -> tuple[Any, Any, Any]:
    """A call's arguments with a batch axis, the states in a packed sequence's order."""
    if isinstance(x, PackedSequence):
        if x.sorted_indices is not None and hx is not None:
            hx = _each(hx, lambda part: part.index_select(1, x.sorted_indices))
    elif isinstance(x, Tensor) and x.dim() == 2:
        axis = 0 if module.batch_first else 1
        x = x.unsqueeze(axis)
        hx = _each(hx, lambda part: part.unsqueeze(1))
        resets = None if resets is None else resets.unsqueeze(axis)
    return x, hx, resets


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
        mask = torch.empty((*shape[:-1], width), dtype=call.plan.dtypes[0], device="cpu")
        if rate == 1:
            mask.zero_()
        else:
            mask.bernoulli_(1 - rate).div_(1 - rate)
        if call.plan.batch_sizes is None and call.plan.batch_first:
            mask = mask.transpose(0, 1)
        masks.append(mask)
    return tuple(masks)
