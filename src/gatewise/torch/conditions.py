"""When a call runs on gatewise's kernels, and the words for why not.

Whatever is not plainly fine goes to torch.nn's own `forward`, wrong arguments too, so that
they are refused as PyTorch refuses them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.nn.utils.rnn import PackedSequence
from torch.utils._device import DeviceContext

from gatewise.kernels import chooser
from gatewise.torch.function import Call
from gatewise.torch.passes import Plan
from gatewise.torch.precision import FORMATS, Form, Precision, autocast_of, chosen
from gatewise.torch.resets import as_rows
from gatewise.torch.weights import Sizes, as_array, known, prepare, sizes_of
from gatewise.weights import Prepared

_TYPES = (Tensor, Parameter)
# PyTorch is done with a small single step before gatewise has looked at its arguments, but
# for its LSTM, which prepares itself for longer. So many multiply-adds are not small, and
# with so many rows to look at the weights takes little of the time to multiply by them.
_WORTHWHILE = 1 << 21
_LEAST_ROWS = 16

__all__ = ["cell_call", "recurrent_call"]


def recurrent_call(module: Any, x: Any, hx: Any, resets: Any = None) -> Call | str:
    """Return what to run for a call of a LSTM, GRU or RNN, or why torch.nn should.

    The input is three-dimensional or a packed sequence, whose states are sorted already.
    `resets` have been compared with it.
    """
    reason = _surroundings()
    if reason:
        return reason
    batch_sizes = None
    if isinstance(x, PackedSequence):
        batch_sizes = _batch_sizes(x)
        if batch_sizes is None:
            return "the batch sizes of the packed sequence are none"
        x = x.data
    reason = _unfit("the input", x) or _backend() or _autocast(x.dtype)
    if reason:
        return reason
    module._update_flat_weights()
    sizes = sizes_of(module)
    if x.dim() != (3 if batch_sizes is None else 2) or x.shape[-1] != sizes.input_size:
        return "the input has not the shape of the module's"
    if not x.numel():
        return "the input is empty"
    if batch_sizes is None:
        steps, batch = x.shape[:2]
        if module.batch_first:
            steps, batch = batch, steps
    else:
        steps, batch = len(batch_sizes), int(batch_sizes[0])
    if steps == 1 and sizes.mode != "LSTM" and _is_small(batch, sizes):
        return "a single step this small is faster in PyTorch"
    count = sizes.num_layers * sizes.directions
    shapes = [(count, batch, width) for width in sizes.state_widths]
    precision = chosen(x.dtype)
    states = _states(hx, shapes, precision)
    if isinstance(states, str):
        return states
    weights = module._flat_weights
    if not 0 <= module.dropout <= 1:
        return "dropout is no probability"
    prepared = _prepared(module, sizes, weights, precision)
    if isinstance(prepared, str):
        return prepared
    form = Form()
    if batch_sizes is not None:
        form = Form(is_packed=True, is_ragged=bool(batch_sizes[0] != batch_sizes[-1]))
    dtypes = precision.made(sizes, form, x, states, weights[0])
    threads = torch.get_num_threads()
    flags = None
    if resets is not None:
        if type(resets) is not Tensor or not resets.is_cpu:
            return "resets are no plain tensor on the CPU"
        flags = as_rows(resets, module.batch_first, batch_sizes is not None)
    plan = Plan(
        sizes,
        prepared,
        module.batch_first,
        batch_sizes,
        flags,
        threads,
        dtypes,
        precision.is_mixed,
    )
    masks: tuple[Tensor, ...] = ()
    return Call(plan, x, states, weights, masks)


def cell_call(module: Any, mode: str, x: Any, hx: Any) -> Call | str:
    """Return what to run for a step of a cell, as one of a sequence, or why not.

    The input is ``(batch, features)``, and so are the states.
    """
    reason = _surroundings() or _unfit("the input", x) or _backend()
    reason = reason or _autocast(x.dtype)
    if reason:
        return reason
    sizes = Sizes(
        mode, module.input_size, module.hidden_size, 0, 1, 1, module.bias_ih is not None
    )
    if x.dim() != 2 or x.shape[1] != sizes.input_size:
        return "the input has not the shape of the module's"
    if not x.numel():
        return "the input is empty"
    if _is_small(x.shape[0], sizes):
        return "a single step this small is faster in PyTorch"
    count = 2 if mode == "LSTM" else 1
    precision = chosen(x.dtype)
    states = _states(hx, [(x.shape[0], sizes.hidden_size)] * count, precision)
    if isinstance(states, str):
        return states
    weights = [module.weight_ih, module.weight_hh]
    if sizes.bias:
        weights += [module.bias_ih, module.bias_hh]
    prepared = _prepared(module, sizes, weights, precision)
    if isinstance(prepared, str):
        return prepared
    dtypes = precision.made(sizes, Form(is_cell=True), x, states, weights[0])
    threads, is_mixed = torch.get_num_threads(), precision.is_mixed
    plan = Plan(sizes, prepared, False, None, None, threads, dtypes, is_mixed)
    states = tuple([state.unsqueeze(0) for state in states])
    return Call(plan, x.unsqueeze(0), states, weights, ())


def _surroundings() -> str | None:
    """What goes on around a call that the kernels cannot take part in."""
    if torch._C._are_functorch_transforms_active():
        return "a transform of torch.func, such as vmap, is active"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation is active"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit traces"
    if torch._C._len_torch_dispatch_stack():
        return "a dispatch mode is active"
    if torch._C._len_torch_function_stack() and not _only_devices():
        return "a function mode is active"
    return None


def _autocast(dtype: torch.dtype) -> str | None:
    """Why autocast is none that the kernels take part in."""
    target = autocast_of(dtype)
    if target is None or target is torch.bfloat16:
        return None
    return f"autocast is enabled with {target}"


def _backend() -> str | None:
    """Why gatewise has no faster kernels than PyTorch."""
    if chooser.name != "native":
        return f"gatewise runs on NumPy: {chooser.reason}"
    return None


def _is_small(batch: int, sizes: Sizes) -> bool:
    """Whether a step has too few rows or products to be worth a call of the kernels."""
    w_ih, w_hh = sizes.shapes(0)[:2]
    products = math.prod(w_ih) + math.prod(w_hh)
    products *= batch * sizes.num_layers * sizes.directions
    return batch < _LEAST_ROWS or products < _WORTHWHILE


def _only_devices() -> bool:
    """Whether no other function mode is active than that of torch.set_default_device."""
    modes = torch.overrides._get_current_function_mode_stack()
    return all(isinstance(mode, DeviceContext) for mode in modes)


def _unfit(name: str, tensor: Any, precision: Precision | None = None) -> str | None:
    """Why a tensor is not one that the kernels read, in its place in memory."""
    if type(tensor) not in _TYPES:
        return f"{name} is a {type(tensor).__name__}"
    if not tensor.is_cpu:
        return f"{name} is on {tensor.device.type}, not on the CPU"
    if tensor.dtype not in FORMATS:
        return f"{name} is {tensor.dtype}, neither float32 nor float64 nor bfloat16"
    if tensor.layout is not torch.strided:
        return f"{name} is {tensor.layout}, not dense"
    if precision is not None and tensor.dtype not in precision.accepted:
        expected = " or ".join(map(str, precision.accepted))
        return f"{name} is {tensor.dtype}, and with this input not {expected}"
    if tensor.is_neg() or tensor._is_zerotensor():
        return f"{name} is not what stands in memory"
    return None


def _prepared(
    module: Any, sizes: Sizes, weights: list[Any], precision: Precision
) -> list[list[Prepared]] | str:
    """Every layer's directions, packed now or before."""
    try:
        prepared = None
        if weights[0].dtype in precision.accepted:
            prepared = known(module, sizes, weights, precision.weight_format)
    except (AttributeError, RuntimeError):
        # Something among them is no tensor, or one without versions.
        prepared = None
    if prepared is not None:
        return prepared
    for weight in weights:
        reason = _unfit("a weight", weight, precision)
        if reason:
            return reason
        if weight.dtype is not weights[0].dtype:
            return f"a weight is {weight.dtype}, another {weights[0].dtype}"
    prepared = prepare(module, sizes, weights, precision.weight_format)
    if prepared is None:
        return "the weights have not the shapes that the module's attributes say"
    return prepared


def _states(
    hx: Any, shapes: Sequence[tuple[int, ...]], precision: Precision
) -> tuple[Tensor, ...] | str:
    """The parts of a state of these shapes."""
    if hx is None:
        return ()
    if len(shapes) > 1:
        if type(hx) not in (tuple, list) or len(hx) != len(shapes):
            return "hx is no pair"
        states = tuple(hx)
    else:
        states = (hx,)
    for state, shape in zip(states, shapes, strict=True):
        reason = _unfit("hx", state, precision)
        if reason:
            return reason
        if state.shape != shape:
            return "hx has not the shape of the module's states"
    return states


def _batch_sizes(packed: PackedSequence) -> NDArray[np.int64] | None:
    """The numbers of running sequences, if they are that."""
    sizes = packed.batch_sizes
    if type(sizes) is not Tensor or not sizes.is_cpu or sizes.dtype is not torch.int64:
        return None
    if sizes.dim() != 1 or not len(sizes) or type(packed.data) not in _TYPES:
        return None
    array = np.ascontiguousarray(as_array(sizes))
    falls = (array[1:] <= array[:-1]).all()
    if not falls or array[-1] < 1 or array.sum() != len(packed.data):
        return None
    return array
