# A Linear's product on arrays as they come, a part of compiled.pyx: linear.h called.


cdef class PackedLinear:
    """A Linear's weights and bias in the form its backend runs on."""

    cdef gw_linear *layer
    cdef const gw_kernels *kernels
    cdef object weight, dtype
    cdef Py_ssize_t inputs, outputs
    cdef char letter

    def __dealloc__(self):
        if self.layer is not NULL:
            self.kernels.release_linear(self.layer)

    def __reduce__(self):
        raise TypeError("packed weights are remade, not pickled")


def pack_linear(
    weight: Array,
    bias: Array | None,
    *,
    weight_format: str | None = None,
    scale: Array | None = None,
) -> PackedLinear:
    if weight_format is not None:
        format_table.check(weight_format, FLOAT64 if weight.itemsize == 8 else FLOAT32)
    return _pack_linear(weight, bias, 0, weight_format, scale)


cdef PackedLinear _pack_linear(
    weight, bias, Py_ssize_t taps, weight_format=None, scale=None
):
    cdef PackedLinear packed = PackedLinear.__new__(PackedLinear)
    cdef const void *weights = _address(weight)
    cdef const void *biases = _address(bias)
    cdef const void *scales = _address(scale)
    cdef const char *name = NULL
    # Narrow weights go with sums in single precision.
    cdef bint single = weight.itemsize < 8
    if weight_format is not None:
        name = PyUnicode_AsUTF8(weight_format)
    packed.weight = weight
    packed.outputs, packed.inputs = weight.shape
    packed.dtype = FLOAT32 if single else FLOAT64
    packed.letter = b"f" if single else b"d"
    packed.kernels = gw_get_kernels(single)
    cdef gw_status status
    with nogil:
        status = packed.kernels.pack_linear(
            packed.inputs, packed.outputs, name, weights, scales, biases, taps,
            &packed.layer,
        )
    _check(status, "packed weights")
    return packed


def linear(packed: PackedLinear, x: Array, *, num_threads: int = 1) -> Array | None:
    cdef PackedLinear layer = packed
    cdef int threads = num_threads
    cdef Py_buffer view
    cdef gw_block rows, out
    cdef gw_status status
    # A memoryview would cost as much as a small product.
    if type(x) is not ARRAY or not _holds(x, &view, layer.letter):
        return None
    try:
        if not rows_of_view(&view, layer.inputs, &rows):
            return None
        y = _empty_rows(&view, layer.outputs, layer.dtype)
        out = rows
        out.features = layer.outputs
        out.rows.data = <void *>_address(y)
        out.rows.row, out.rows.time = layer.outputs, rows.batch * layer.outputs
        with nogil:
            status = layer.kernels.linear(layer.layer, rows, out, threads)
        _check(status)
    finally:
        PyBuffer_Release(&view)
    return y


cdef bint _holds(x, Py_buffer *view, char letter) except -1:
    """Open a view of an array of numbers of this kind; False of one of any other."""
    try:
        PyObject_GetBuffer(x, view, PyBUF_FORMAT | PyBUF_STRIDES)
    except (BufferError, ValueError):
        return False
    if view.format[0] == letter and view.format[1] == 0:
        return True
    PyBuffer_Release(view)
    return False


cdef _empty_rows(const Py_buffer *view, Py_ssize_t features, dtype):
    """An array to be filled, of the shape of a view but for its last axis."""
    cdef Py_ssize_t size = features * view.itemsize
    cdef int axis
    if view.ndim == 1:
        return EMPTY(features, dtype)
    if view.ndim == 2:
        shape = (view.shape[0], features)
    else:
        shape = (*[view.shape[axis] for axis in range(view.ndim - 1)], features)
    for axis in range(view.ndim - 1):
        size *= view.shape[axis]
    return EMPTY(shape, dtype) if size < SMALL else empty(shape, dtype)


cdef bint rows_of_view(
    const Py_buffer *view, Py_ssize_t features, gw_block *rows
) noexcept nogil:
    """Whether an array is rows of so many features at one or two distances, and which."""
    cdef Py_ssize_t size, step
    cdef int last = view.ndim - 1, axis
    if last < 0 or view.shape[last] != features:
        return False
    rows.rows.data, rows.features = view.buf, features
    rows.time, rows.rows.time, rows.batch, rows.rows.row = 1, 0, 1, 0
    for axis in range(last):
        if view.shape[axis] == 0:
            rows.time = rows.batch = 0
            return True
    if features > 1 and view.strides[last] != view.itemsize:
        return False
    if <uintptr_t>view.buf % view.itemsize:
        return False
    for axis in range(last - 1, -1, -1):
        size = view.shape[axis]
        if size == 1:
            continue
        if view.strides[axis] % view.itemsize:
            return False
        step = view.strides[axis] // view.itemsize
        if rows.batch == 1:
            rows.batch, rows.rows.row = size, step
        elif rows.time == 1 and step == rows.batch * rows.rows.row:
            rows.batch *= size
        elif rows.time == 1:
            rows.time, rows.rows.time = size, step
        elif step == rows.time * rows.rows.time:
            rows.time *= size
        else:
            return False
    return True


def linear_back(
    packed: PackedLinear, dy: Array, dx: Array, *, num_threads: int = 1
) -> None:
    cdef PackedLinear layer = packed
    _check(layer.kernels.prepare_linear_back(layer.layer, _address(layer.weight)))
    if layer.dtype is FLOAT32:
        _linear_back[float](layer, dy, dx, num_threads)
    else:
        _linear_back[double](layer, dy, dx, num_threads)


cdef _linear_back(
    PackedLinear packed, const floating[:, :, :] dy, floating[:, :, :] dx, int threads
):
    cdef gw_status status
    with nogil:
        status = packed.kernels.linear_back(
            packed.layer, block_of(dy), block_of(dx), threads
        )
    _check(status)
