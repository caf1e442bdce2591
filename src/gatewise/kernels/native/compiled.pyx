"""The compiled kernels: typed memoryviews in, the GIL released, the C core called.

Twin of ``kernels.numpy``, which says what each function does and lends it its docstring.
Besides those, `instruction_set` names the variant of the core in use and `instruction_sets`
those that this CPU can run; the environment variable GATEWISE_ISA chooses one.
"""

cimport cython
from cython cimport floating
from libc.stdint cimport (
    int8_t,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uintptr_t,
)
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from gatewise.kernels.native.core cimport (
    GW_FORKED,
    GW_INTERRUPTED,
    GW_MOST_PARAMETERS,
    GW_NO_MEMORY,
    GW_OK,
    GW_UNKNOWN,
    gw_activation,
    gw_block,
    gw_choose_instruction_set,
    gw_columns,
    gw_columns_gradients,
    gw_columns_run,
    gw_columns_step,
    gw_elementwise,
    gw_get_kernels,
    gw_give_back,
    gw_instruction_set,
    gw_instruction_set_at,
    gw_is_to_end,
    gw_kernels,
    gw_linear,
    gw_outer_side,
    gw_packed,
    gw_release,
    gw_resets,
    gw_rows,
    gw_sequence,
    gw_set_question,
    gw_state,
    gw_status,
    gw_take,
    gw_weights,
    gw_windows,
    block_of,
    matrix_of,
    rows_of,
    sequence_of,
    state_of,
)
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBUF_STRIDES,
    PyBuffer_FillInfo,
    PyBuffer_IsContiguous,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_Occurred
from cpython.unicode cimport PyUnicode_AsUTF8

import math
import os

import numpy as np

from gatewise.kernels import activations as activation_table
from gatewise.kernels import cells as cell_table
from gatewise.kernels import formats as format_table
from gatewise.kernels import numpy as fallback
from gatewise.kernels.numpy import columns

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

cdef object ARRAY = np.ndarray
cdef object BOOL = np.dtype(np.bool_)
cdef object EMPTY = np.empty
cdef object FLOAT32 = np.dtype(np.float32)
cdef object FLOAT64 = np.dtype(np.float64)
cdef object INT64 = np.dtype(np.int64)
cdef object UINT8 = np.dtype(np.uint8)


cdef class Packed:
    """One direction of one layer's weights in the form its backend runs on."""

    cdef gw_packed *layer
    cdef const gw_kernels *kernels
    cdef bint single

    def __dealloc__(self):
        if self.layer is not NULL:
            self.kernels.release(self.layer)

    def __reduce__(self):
        raise TypeError("packed weights are remade, not pickled")


def instruction_set() -> str:
    """Name the variant of the core in use."""
    return gw_instruction_set().decode()


def instruction_sets() -> tuple[str, ...]:
    """Name the variants that this CPU can run, best first."""
    cdef list result = []
    cdef const char *name = gw_instruction_set_at(0)
    while name is not NULL:
        result.append(name.decode())
        name = gw_instruction_set_at(len(result))
    return tuple(result)


def pack(
    cell: str,
    w_ih: Array,
    w_hh: Array,
    bias: Array,
    *,
    bias_hn: Array | None = None,
    w_hr: Array | None = None,
    peepholes: Array | None = None,
    activations: Activations,
    weight_format: str,
    scales: tuple[Array | None, ...] = (None, None, None),
) -> Packed:
    cdef Packed packed = Packed.__new__(Packed)
    cdef gw_weights weights
    cdef gw_status status
    weights.cell = PyUnicode_AsUTF8(cell)
    weights.format = PyUnicode_AsUTF8(weight_format)
    weights.gate = _activation(activations.gate)
    weights.candidate = _activation(activations.candidate)
    weights.output = _activation(activations.output)
    weights.rows = w_hh.shape[0]
    weights.input_size, weights.output_size = w_ih.shape[1], w_hh.shape[1]
    weights.w_ih, weights.w_hh = _address(w_ih), _address(w_hh)
    weights.w_hr = _address(w_hr)
    weights.scale_ih = _address(scales[0])
    weights.scale_hh = _address(scales[1])
    weights.scale_hr = _address(scales[2])
    weights.bias, weights.bias_hn = _address(bias), _address(bias_hn)
    weights.peepholes = _address(peepholes)
    packed.single = bias.dtype.itemsize == 4
    packed.kernels = gw_get_kernels(packed.single)
    with nogil:
        status = packed.kernels.pack(&weights, &packed.layer)
    if status == GW_UNKNOWN:
        _refuse(cell, activations, weight_format, bias.dtype)
    _check(status, "packed weights")
    return packed


cdef gw_activation _activation(activation) except *:
    """What the core takes; the name is the activation's own, which the caller keeps."""
    return gw_activation(
        PyUnicode_AsUTF8(activation.name), activation.alpha, activation.beta
    )


def _refuse(cell, activations, weight_format, dtype):
    """Say which name the core does not know, in the words of the tables that have it."""
    cell_table.look_up(cell)
    format_table.check(weight_format, dtype)
    for activation in activations:
        activation_table.activation("activation", activation.name)
    raise ValueError(
        f"the compiled kernels do not have all of cell {cell!r}, weight_format "
        f"{weight_format!r} and {activations}, which the tables have"
    )


cdef const void *_address(array) except? NULL:
    """The address of a contiguous array, which the caller keeps alive; NULL for None."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    PyBuffer_Release(&view)
    return view.buf


cdef int _check(gw_status status, str what="the kernel's workspace") except -1:
    if status == GW_NO_MEMORY:
        raise MemoryError(f"no memory for {what}")
    if status == GW_FORKED and PyErr_Occurred() is NULL:
        raise RuntimeError("a call cannot go on in the child of a handler that forked")
    if status == GW_UNKNOWN:
        raise ValueError("the core has no cell of this name here")
    # What a signal's handler has raised is set already.
    return 0 if status == GW_OK else -1


include "signals.pxi"
include "memory.pxi"
include "sequence.pxi"
include "products.pxi"
include "linear.pxi"
include "convolution.pxi"
include "stages.pxi"
include "stepper.pxi"
include "chain.pxi"
include "columns.pxi"


def _choose_instruction_set():
    available = instruction_sets()
    name = os.environ.get("GATEWISE_ISA") or available[0]
    if not gw_choose_instruction_set(name.encode()):
        expected = ", ".join(available)
        raise ValueError(
            f"GATEWISE_ISA should be one of {expected} on this CPU, got {name!r}"
        )


_choose_instruction_set()

for _name in __all__:
    if not _name.startswith("Packed"):
        globals()[_name].__doc__ = getattr(fallback, _name).__doc__
