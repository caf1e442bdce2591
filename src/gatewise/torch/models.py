"""What becomes of the recurrent modules of a model that exists."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gatewise.torch import cells, modules

__all__ = ["accelerate", "restore", "why_not"]

# Each of torch.nn's classes, and the one of ours that takes its place.
_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: modules.LSTM,
    nn.GRU: modules.GRU,
    nn.RNN: modules.RNN,
    nn.LSTMCell: cells.LSTMCell,
    nn.GRUCell: cells.GRUCell,
    nn.RNNCell: cells.RNNCell,
}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}


def accelerate(model: nn.Module) -> int:
    """Let the recurrent modules of a model run on gatewise's kernels, in place.

    Their classes change and nothing else: optimizers, hooks and references go on working,
    and a state dictionary loads before and after. Modules of classes that somebody derived
    from torch.nn's stay as they are, since these may have a `forward` of their own; so do
    modules that ``torch.jit`` has compiled. Those with parametrizations change too.

    Parameters
    ----------
    model : torch.nn.Module
        Any module, such as a whole policy or one LSTM.

    Returns
    -------
    int
        How many modules have changed.

    Raises
    ------
    TypeError
        If `model` is no module.

    See Also
    --------
    restore : Undoes it, as before a model is pickled for those without gatewise.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> model = torch.nn.Sequential(torch.nn.GRU(3, 4), torch.nn.Identity())
    >>> gatewise.torch.accelerate(model)
    1
    >>> type(model[0])
    <class 'gatewise.torch.modules.GRU'>
    """
    return _exchange(model, _OURS)


def restore(model: nn.Module) -> int:
    """Make torch.nn's own of the modules that `accelerate` changed, in place.

    Modules that were made as gatewise's change too.

    Parameters
    ----------
    model : torch.nn.Module
        Any module.

    Returns
    -------
    int
        How many modules have changed.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> model = torch.nn.Sequential(gatewise.torch.GRU(3, 4))
    >>> gatewise.torch.restore(model)
    1
    >>> type(model[0])
    <class 'torch.nn.modules.rnn.GRU'>
    """
    return _exchange(model, _THEIRS)


def _exchange(model: nn.Module, classes: dict[type[nn.Module], type[nn.Module]]) -> int:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got {type(model).__name__}")
    count = 0
    for module in model.modules():
        own = type(module)
        if own in classes:
            # Past a model's own idea of what setting an attribute means.
            object.__setattr__(module, "__class__", classes[own])
        elif nn.utils.parametrize.is_parametrized(module) and own.__base__ in classes:
            # PyTorch made this class for this module alone.
            kept = {
                name: value
                for name, value in vars(own).items()
                if name not in ("__dict__", "__weakref__")
            }
            made = type(own.__name__, (classes[own.__base__],), kept)
            object.__setattr__(module, "__class__", made)
        else:
            continue
        count += 1
    return count


def why_not(
    module: nn.Module, input: Any, hx: Any = None, resets: Any = None
) -> str | None:
    """Say why a call of a module would not run on gatewise's kernels.

    Parameters
    ----------
    module : torch.nn.Module
        A recurrent module.
    input : torch.Tensor or torch.nn.utils.rnn.PackedSequence
        What it would be called with.
    hx : torch.Tensor or tuple of torch.Tensor
        The initial state it would be called with.
    resets : torch.Tensor or torch.nn.utils.rnn.PackedSequence
        The resets it would be called with, if it is no cell.

    Returns
    -------
    str or None
        A reason, or None if it would run on them.

    Notes
    -----
    A backward pass with ``create_graph=True`` always is PyTorch's own, which is only known
    when it comes.

    Examples
    --------
    >>> import torch, gatewise.torch
    >>> layer = gatewise.torch.GRU(3, 4)
    >>> gatewise.torch.why_not(layer, torch.ones(5, 2, 3, device="meta"))
    'the input is on meta, not on the CPU'
    >>> gatewise.torch.why_not(torch.nn.GRU(3, 4), torch.ones(5, 2, 3))
    "GRU is torch.nn's own; gatewise.torch.accelerate changes it"
    """
    if type(module) in _OURS:
        name = type(module).__name__
        return f"{name} is torch.nn's own; gatewise.torch.accelerate changes it"
    if not isinstance(module, tuple(_THEIRS)):
        return f"{type(module).__name__} is none of gatewise.torch's classes"
    if torch.compiler.is_compiling():
        return "torch.compile traces"
    if isinstance(module, nn.RNNCellBase):
        call = cells.planned(module, input, hx)
    else:
        call = modules.planned(module, input, hx, resets)
    return call if isinstance(call, str) else None
