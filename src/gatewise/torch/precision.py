"""In which precision a call multiplies, and the dtypes of what comes out of it.

A module of bfloat16 gives bfloat16, and one of float32 or float64 what went in. Autocast is
another matter: which parts of a call PyTorch casts, and so which dtypes come out, depends
on the module, on the options and on the libraries that PyTorch runs on. So it is asked.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.kernels.formats import TO_BFLOAT16
from gatewise.torch.steps import FUNCTIONS
from gatewise.torch.weights import Sizes

# How the kernels keep the weights of a call with inputs of each dtype.
FORMATS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: TO_BFLOAT16,
}
# What autocast lets pass beside one another.
_MIXABLE = (torch.float32, torch.bfloat16)

_CELLS: dict[str, Any] = {
    "LSTM": torch._VF.lstm_cell,
    "GRU": torch._VF.gru_cell,
    "RNN_TANH": torch._VF.rnn_tanh_cell,
    "RNN_RELU": torch._VF.rnn_relu_cell,
}

__all__ = ["FORMATS", "Form", "Precision", "autocast_of", "chosen"]


class Form(NamedTuple):
    """What of a call, beside sizes and dtypes, decides what autocast casts.

    Of a packed sequence that is whether its sequences are equally long, which makes it
    another one to PyTorch.
    """

    is_cell: bool = False
    is_packed: bool = False
    is_ragged: bool = False


class Precision(NamedTuple):
    """How a call multiplies.

    Attributes
    ----------
    weight_format
        How the kernels keep the weights.
    accepted
        The dtypes that the call's tensors may have.
    is_mixed
        Whether that is autocast's doing.
    """

    weight_format: str
    accepted: tuple[torch.dtype, ...]
    is_mixed: bool

    def made(
        self, sizes: Sizes, form: Form, x: Tensor, states: Sequence[Tensor], weight: Tensor
    ) -> tuple[torch.dtype, ...]:
        """Return the dtypes of the outputs and of the parts of the final state."""
        count = len(sizes.state_widths)
        if not self.is_mixed:
            return (x.dtype,) * (1 + count)
        dtypes = tuple([each.dtype for each in states]) or (x.dtype,) * count
        key = _Asked(
            sizes.mode,
            sizes.bias,
            sizes.proj_size > 0,
            form,
            x.dtype,
            dtypes,
            weight.dtype,
            torch._C._get_mkldnn_enabled(),
        )
        found = _answers.get(key)
        if found is None:
            found = _answers[key] = _ask(key)
        return found


def autocast_of(dtype: torch.dtype) -> torch.dtype | None:
    """Return what autocast, where it is enabled, casts tensors of this dtype to."""
    if dtype is torch.float64 or not torch.is_autocast_enabled("cpu"):
        return None
    return torch.get_autocast_dtype("cpu")


def chosen(dtype: torch.dtype) -> Precision:
    """Return the precision of a call whose input has this dtype, one of `FORMATS`."""
    if autocast_of(dtype) is None:
        return Precision(FORMATS[dtype], (dtype,), False)
    return Precision(TO_BFLOAT16, _MIXABLE, True)


class _Asked(NamedTuple):
    """All that the dtypes of a call under autocast to bfloat16 may depend on."""

    mode: str
    bias: bool
    projects: bool
    form: Form
    x: torch.dtype
    states: tuple[torch.dtype, ...]
    weight: torch.dtype
    has_onednn: bool


_answers: dict[_Asked, tuple[torch.dtype, ...]] = {}


def _ask(asked: _Asked) -> tuple[torch.dtype, ...]:
    """The dtypes that PyTorch gives: those of a call of the smallest module like this."""
    hidden = 2 if asked.projects else 1
    sizes = Sizes(asked.mode, 1, hidden, int(asked.projects), 1, 1, asked.bias)
    weights = [torch.zeros(shape, dtype=asked.weight) for shape in sizes.shapes(0)]
    # Two sequences of which the second is shorter, or one; of one step.
    batch_sizes = torch.tensor([2, 1] if asked.form.is_ragged else [1])
    batch, rows = int(batch_sizes[0]), int(batch_sizes.sum())
    states = [
        torch.zeros(1, batch, width, dtype=dtype)
        for width, dtype in zip(sizes.state_widths, asked.states, strict=True)
    ]
    x, is_lstm = torch.zeros(1, rows, 1, dtype=asked.x), asked.mode == "LSTM"
    try:
        # It warns where oneDNN has no projections, which nobody wants to know of ours.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if asked.form.is_cell:
                hx: Any = [state[0] for state in states]
                found = _CELLS[asked.mode](x[0], hx if is_lstm else hx[0], *weights)
                final = found if is_lstm else [found]
                return (final[0].dtype, *[each.dtype for each in final])
            hx = states if is_lstm else states[0]
            last: list[Any] = [weights, asked.bias, 1, 0.0, False, False]
            if asked.form.is_packed:
                made = FUNCTIONS[asked.mode](x.flatten(0, 1), batch_sizes, hx, *last)
            else:
                made = FUNCTIONS[asked.mode](x, hx, *last, False)
            return tuple([each.dtype for each in made])
    except RuntimeError:
        # oneDNN has no LSTM of bfloat16 for every processor; where it has, all is narrow.
        return (torch.bfloat16,) * (1 + len(states))
