# Convolutions over the steps of sequences, a part of compiled.pyx: convolution.h called.


cdef class PackedConvolution:
    """A convolution's weights, bias and windows in the form its backend runs on."""

    cdef readonly PackedLinear product
    # The same for the kernels in NumPy.
    cdef readonly object plain
    cdef gw_windows form
    cdef Py_ssize_t least_time, after
    # Every step alone, so that a Linear does the same.
    cdef bint is_pointwise

    def __reduce__(self):
        raise TypeError("packed weights are remade, not pickled")

    cdef Py_ssize_t count(self, Py_ssize_t time) noexcept nogil:
        """How many steps the output of so many has."""
        if not time or time < self.least_time:
            return 0
        return (time - self.least_time) // self.form.stride + 1


def pack_convolution(
    weight: Array, bias: Array | None, windows: Windows
) -> PackedConvolution:
    cdef PackedConvolution packed = PackedConvolution.__new__(PackedConvolution)
    cdef gw_windows *form = &packed.form
    packed.is_pointwise = windows == (1, 1, windows.dilation, 0, 0)
    taps = 0 if packed.is_pointwise else windows.taps
    packed.product = _pack_linear(weight, bias, taps)
    packed.plain = fallback.pack_convolution(weight, bias, windows)
    form.taps, form.stride, form.dilation, form.before, packed.after = windows
    form.x.features = packed.product.inputs // form.taps
    form.out.features = packed.product.outputs
    packed.least_time = windows.span - form.before - packed.after
    return packed


def convolve(
    packed: PackedConvolution,
    x: Array,
    *,
    history: Array | None = None,
    lengths: NDArray[np.int64] | None = None,
    num_threads: int = 1,
) -> Array | None:
    cdef PackedConvolution layer = packed
    cdef PackedLinear product = layer.product
    cdef int threads = num_threads
    cdef gw_windows windows = layer.form
    cdef Py_buffer view
    cdef gw_status status
    if layer.is_pointwise:
        return _pointwise(product, x, lengths, num_threads)
    # A memoryview would cost as much as a small product.
    if type(x) is not ARRAY or not _holds(x, &view, product.letter):
        return None
    try:
        if not _sequences_of_view(&view, &windows.x):
            return None
        windows.out.batch = windows.x.batch
        windows.out.time = layer.count(windows.x.time)
        y = _empty_steps(&view, &windows.out, product.dtype)
        windows.out.rows.data = <void *>_address(y)
        windows.out.rows.time = windows.out.features
        windows.out.rows.row = windows.out.time * windows.out.features
        if history is not None:
            windows.history.data = <void *>_address(history)
            windows.history.time = windows.x.features
            windows.history.row = windows.before * windows.x.features
        if lengths is not None:
            counts = [layer.plain.windows.count(length) for length in lengths.tolist()]
            both = np.array([lengths, counts], np.int64)
            windows.lengths = <const int64_t *>_address(both)
            y[...] = 0
        with nogil:
            status = product.kernels.convolve(product.layer, &windows, threads)
        _check(status)
    finally:
        PyBuffer_Release(&view)
    return y


cdef _pointwise(PackedLinear product, x, lengths, num_threads):
    if type(x) is not ARRAY or not 2 <= x.ndim <= 3:
        return None
    y = linear(product, x, num_threads=num_threads)
    if y is not None and lengths is not None:
        y[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    return y


cdef bint _sequences_of_view(const Py_buffer *view, gw_block *x) noexcept nogil:
    """Whether an array is steps of so many features, of one sequence or a batch."""
    cdef int last = view.ndim - 1, axis
    if not 1 <= last <= 2 or view.shape[last] != x.features:
        return False
    for axis in range(last):
        if view.shape[axis] == 0:
            # Nothing is read, whatever the strides are.
            x.time, x.batch = view.shape[last - 1], view.shape[0] if last == 2 else 1
            x.rows.time = x.rows.row = x.features
            return True
    if x.features > 1 and view.strides[last] != view.itemsize:
        return False
    if <uintptr_t>view.buf % view.itemsize:
        return False
    for axis in range(last):
        if view.strides[axis] % view.itemsize:
            return False
    x.rows.data = view.buf
    x.time, x.rows.time = view.shape[last - 1], view.strides[last - 1] // view.itemsize
    x.batch, x.rows.row = 1, 0
    if last == 2:
        x.batch, x.rows.row = view.shape[0], view.strides[0] // view.itemsize
    if x.time == 1:
        x.rows.time = x.features
    return True


cdef _empty_steps(const Py_buffer *view, const gw_block *out, dtype):
    """An array to be filled: the steps of the output of one sequence or a batch."""
    cdef Py_ssize_t size = out.batch * out.time * out.features * view.itemsize
    shape = (out.time, out.features)
    if view.ndim == 3:
        shape = (out.batch, out.time, out.features)
    return EMPTY(shape, dtype) if size < SMALL else empty(shape, dtype)
