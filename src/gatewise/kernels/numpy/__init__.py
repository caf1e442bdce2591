"""The kernels in plain NumPy: the fallback, the reference, the maths to read.

`equations` is the page to begin with. What a kernel is, and what it works on, is said at
``gatewise.kernels``.
"""

from gatewise.kernels.numpy.activations import activate, relu, sigmoid, softmax, tanh
from gatewise.kernels.numpy.columns import (
    cell_backward,
    cell_forward,
    run_backward,
    run_forward,
)
from gatewise.kernels.numpy.convolution import (
    PackedConvolution,
    convolve,
    pack_convolution,
)
from gatewise.kernels.numpy.equations import Packed
from gatewise.kernels.numpy.memory import empty, release_memory
from gatewise.kernels.numpy.products import (
    PackedLinear,
    add_by_token,
    add_rows,
    linear,
    linear_back,
    outer,
    pack_linear,
    project_back,
)
from gatewise.kernels.numpy.rows import backward, forward, infer, infer_shares, pack
from gatewise.kernels.numpy.stepper import chain, stepper

__all__ = [
    "Packed",
    "PackedConvolution",
    "PackedLinear",
    "activate",
    "add_by_token",
    "add_rows",
    "backward",
    "cell_backward",
    "cell_forward",
    "chain",
    "convolve",
    "empty",
    "forward",
    "infer",
    "infer_shares",
    "linear",
    "linear_back",
    "outer",
    "pack",
    "pack_convolution",
    "pack_linear",
    "project_back",
    "release_memory",
    "relu",
    "run_backward",
    "run_forward",
    "sigmoid",
    "softmax",
    "stepper",
    "tanh",
]
