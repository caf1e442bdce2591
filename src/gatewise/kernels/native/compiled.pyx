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
from libc.string cimport memcpy

from gatewise.kernels.native.core cimport (
    GW_FORKED,
    GW_FULL,
    GW_GRU,
    GW_GRU_RESET_BEFORE,
    GW_HALF,
    GW_INT8,
    GW_LSTM,
    GW_NO_MEMORY,
    GW_OK,
    GW_RNN_RELU,
    GW_RNN_TANH,
    gw_block,
    gw_call,
    gw_choose_instruction_set,
    gw_close,
    gw_columns,
    gw_get_kernels,
    gw_give_back,
    gw_goes_on,
    gw_instruction_set,
    gw_instruction_sets,
    gw_kernels,
    gw_linear,
    gw_open,
    gw_packed,
    gw_release,
    gw_rows,
    gw_sequence,
    gw_set_question,
    gw_state,
    gw_status,
    gw_take,
    gw_watch,
    gw_weights,
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

from gatewise.kernels import cells, formats
from gatewise.kernels.activations import STANDARD
from gatewise.kernels.numpy import columns
from gatewise.kernels import numpy as fallback

__all__ = [
    "Packed",
    "PackedLinear",
    "add_by_token",
    "backward",
    "cell_backward",
    "cell_forward",
    "empty",
    "forward",
    "infer",
    "infer_shares",
    "linear",
    "linear_back",
    "outer",
    "pack",
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
cdef object EMPTY = np.empty
cdef object FLOAT32 = np.dtype(np.float32)
cdef object FLOAT64 = np.dtype(np.float64)

cdef dict CELLS = {
    "rnn": GW_RNN_TANH,
    "lstm": GW_LSTM,
    "gru": GW_GRU,
    "gru_reset_before": GW_GRU_RESET_BEFORE,
}


cdef class Packed:
    """One direction of one layer's weights in the form its backend runs on."""

    cdef gw_packed *layer
    cdef const gw_kernels *kernels
    cdef Py_ssize_t input_size
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
    cdef const char *const *names = gw_instruction_sets()
    cdef list result = []
    cdef int i = 0
    while names[i] is not NULL:
        result.append(names[i].decode())
        i += 1
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
    narrow = formats.look_up(weight_format).dtype.itemsize
    weights.format = GW_HALF if narrow == 2 else GW_INT8 if narrow == 1 else GW_FULL
    weights.hidden_size = w_hh.shape[0] // cells.look_up(cell).gates
    weights.cell = CELLS[cell]
    if cell == "rnn" and activations.candidate.name == "relu":
        weights.cell = GW_RNN_RELU
    elif activations != STANDARD:
        raise ValueError(f"activations should be {STANDARD}, got {activations}")
    weights.input_size, weights.output_size = w_ih.shape[1], w_hh.shape[1]
    weights.w_ih, weights.w_hh = _address(w_ih), _address(w_hh)
    weights.w_hr = _address(w_hr)
    weights.scale_ih = _address(scales[0])
    weights.scale_hh = _address(scales[1])
    weights.scale_hr = _address(scales[2])
    weights.bias, weights.bias_hn = _address(bias), _address(bias_hn)
    weights.peepholes = _address(peepholes)
    packed.input_size = weights.input_size
    packed.single = bias.dtype.itemsize == 4
    packed.kernels = gw_get_kernels(packed.single)
    with nogil:
        status = packed.kernels.pack(&weights, &packed.layer)
    _check(status, "packed weights")
    return packed


cdef const void *_address(array) except? NULL:
    """The address of a contiguous array, which the caller keeps alive; NULL for None."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    PyBuffer_Release(&view)
    return view.buf


def infer(
    packed: Packed,
    x: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    c = state[1] if len(state) == 2 else None
    if (<Packed?>packed).single:
        _infer[float](packed, x, state[0], c, y, cells, batch_sizes, reverse, num_threads)
    else:
        _infer[double](packed, x, state[0], c, y, cells, batch_sizes, reverse, num_threads)


def infer_shares(
    packed: Packed,
    shares: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    c = state[1] if len(state) == 2 else None
    if (<Packed?>packed).single:
        _infer_shares[float](
            packed, shares, state[0], c, y, cells, batch_sizes, reverse, num_threads
        )
    else:
        _infer_shares[double](
            packed, shares, state[0], c, y, cells, batch_sizes, reverse, num_threads
        )


def forward(
    packed: Packed,
    gates: Array,
    state: tuple[Array, ...],
    y: Array,
    extra: Array | None,
    *,
    x: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    c = state[1] if len(state) == 2 else None
    if (<Packed?>packed).single:
        _forward[float](
            packed, x, gates, state[0], c, y, extra, batch_sizes, reverse, num_threads
        )
    else:
        _forward[double](
            packed, x, gates, state[0], c, y, extra, batch_sizes, reverse, num_threads
        )


def backward(
    packed: Packed,
    gates: Array,
    extra: Array | None,
    y: Array,
    initial: tuple[Array, ...],
    dy: Array,
    dstate: tuple[Array, ...],
    dgates: Array,
    dextra: Array | None,
    *,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    c = initial[1] if len(initial) == 2 else None
    dc = dstate[1] if len(dstate) == 2 else None
    if (<Packed?>packed).single:
        _backward[float](
            packed, gates, extra, y, initial[0], c, dy, dstate[0], dc, dgates, dextra,
            batch_sizes, reverse, num_threads,
        )
    else:
        _backward[double](
            packed, gates, extra, y, initial[0], c, dy, dstate[0], dc, dgates, dextra,
            batch_sizes, reverse, num_threads,
        )


cdef _infer(
    Packed packed,
    const floating[:, :, :] x,
    floating[:, ::1] h,
    floating[:, ::1] c,
    floating[:, :, :] y,
    floating[:, :, :] cells,
    const int64_t[::1] batch_sizes,
    bint reverse,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(y.shape[0], h.shape[0], batch_sizes, reverse)
    cdef gw_state state = state_of(h, c)
    cdef gw_status status
    with nogil:
        status = packed.kernels.infer(
            packed.layer, &sequence, rows_of(x), state, rows_of(y), rows_of(cells), threads
        )
    _check(status)


cdef _infer_shares(
    Packed packed,
    floating[:, :, :] shares,
    floating[:, ::1] h,
    floating[:, ::1] c,
    floating[:, :, :] y,
    floating[:, :, :] cells,
    const int64_t[::1] batch_sizes,
    bint reverse,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(y.shape[0], h.shape[0], batch_sizes, reverse)
    cdef gw_state state = state_of(h, c)
    cdef gw_status status
    with nogil:
        status = packed.kernels.infer_shares(
            packed.layer, &sequence, rows_of(shares), state, rows_of(y), rows_of(cells),
            threads,
        )
    _check(status)


cdef _forward(
    Packed packed,
    const floating[:, :, :] x,
    floating[:, :, :] gates,
    floating[:, ::1] h,
    floating[:, ::1] c,
    floating[:, :, :] y,
    floating[:, :, :] extra,
    const int64_t[::1] batch_sizes,
    bint reverse,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(y.shape[0], h.shape[0], batch_sizes, reverse)
    cdef gw_state state = state_of(h, c)
    cdef gw_status status
    with nogil:
        status = packed.kernels.forward(
            packed.layer, &sequence, rows_of(x), rows_of(gates), state, rows_of(y),
            rows_of(extra), threads,
        )
    _check(status)


cdef _backward(
    Packed packed,
    const floating[:, :, :] gates,
    const floating[:, :, :] extra,
    const floating[:, :, :] y,
    const floating[:, ::1] h,
    const floating[:, ::1] c,
    const floating[:, :, :] dy,
    floating[:, ::1] dh,
    floating[:, ::1] dc,
    floating[:, :, :] dgates,
    floating[:, :, :] dextra,
    const int64_t[::1] batch_sizes,
    bint reverse,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(y.shape[0], dh.shape[0], batch_sizes, reverse)
    cdef gw_state dstate = state_of(dh, dc)
    cdef gw_state initial = state_of(h, c)
    cdef gw_status status
    _check(packed.kernels.prepare_backward(packed.layer))
    with nogil:
        status = packed.kernels.backward(
            packed.layer, &sequence, rows_of(gates), rows_of(extra), rows_of(y), initial,
            rows_of(dy), dstate, rows_of(dgates), rows_of(dextra), threads,
        )
    _check(status)


cdef int _check(gw_status status, str what="the kernel's workspace") except -1:
    if status == GW_NO_MEMORY:
        raise MemoryError(f"no memory for {what}")
    if status == GW_FORKED and PyErr_Occurred() is NULL:
        raise RuntimeError("a call cannot go on in the child of a handler that forked")
    # What a signal's handler has raised is set already.
    return 0 if status == GW_OK else -1


include "signals.pxi"
include "memory.pxi"
include "stepper.pxi"
include "products.pxi"
include "linear.pxi"
include "columns.pxi"


def _choose_instruction_set():
    available = instruction_sets()
    name = os.environ.get("GATEWISE_ISA") or available[0]
    if not gw_choose_instruction_set(name.encode()):
        expected = " or ".join(available)
        raise ValueError(f"GATEWISE_ISA: expected {expected} on this CPU, got {name!r}")


_choose_instruction_set()

for _name in __all__:
    if not _name.startswith("Packed"):
        globals()[_name].__doc__ = getattr(fallback, _name).__doc__
