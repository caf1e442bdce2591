"""What torch.jit and torch.fx make of modules instead of calling them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["by_torch_alone", "proxied"]


def by_torch_alone(module: nn.Module, own: type[nn.Module]) -> nn.Module:
    """A module of torch.nn's own class with everything of this one, its tensors too.

    ``torch.jit.script`` compiles it in this one's place: it reads sources, and knows those
    of torch.nn.
    """
    made: nn.Module = object.__new__(own)
    made.__dict__.update(module.__dict__)
    return made


def proxied(module: nn.Module, x: Any, hx: Any, resets: Any = None) -> Any:
    """What ``torch.fx`` writes down for a call, or None where nothing is traced.

    It calls torch.nn's own modules as they are, but looks into those of others.
    """
    if not isinstance(x, torch.fx.Proxy):
        return None
    name = x.tracer.path_of_module(module)
    arguments = (x,) if hx is None else (x, hx)
    named = {} if resets is None else {"resets": resets}
    return x.tracer.create_proxy("call_module", name, arguments, named)
