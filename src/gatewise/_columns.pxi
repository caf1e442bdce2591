# One step on the notebook's own arrays, a part of _native.pyx: columns.h called.

cdef enum:
    MOST_ARRAYS = 19
    # BLAS is faster with matrices of more elements than this for each of MANY examples.
    LARGE = 8192
    MANY = 32


cdef class _Arrays:
    """The arrays of a step, whose memory it holds, and the sizes that they have."""

    cdef Py_buffer views[MOST_ARRAYS]
    cdef const void *data[MOST_ARRAYS]
    cdef int count
    cdef gw_columns sizes
    cdef const gw_kernels *kernels
    cdef object dtype

    def __dealloc__(self):
        for k in range(self.count):
            PyBuffer_Release(&self.views[k])

    cdef bint take(self, cell, layout, tuple arrays) except -1:
        """Whether these arrays are as a step takes them."""
        cdef const char *expected = PyUnicode_AsUTF8(layout)
        self.sizes.cell = CELLS[cell]
        self.sizes.n_x = self.sizes.n_a = self.sizes.n_y = self.sizes.m = -1
        if 3 * len(arrays) != len(layout) + 1:
            return False
        for array in arrays:
            if not self.add(array, expected):
                return False
            expected += 3
        return self.sizes.n_a > 0

    cdef bint add(self, array, const char *expected) except -1:
        cdef Py_buffer *view = &self.views[self.count]
        try:
            PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_STRIDES)
            if not PyBuffer_IsContiguous(view, b"C"):
                PyBuffer_Release(view)
                array = np.ascontiguousarray(array)
                PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_ND)
        except (BufferError, TypeError, ValueError):
            return False
        self.data[self.count] = view.buf
        self.count += 1
        if view.ndim != 2 or view.format[0] == 0 or view.format[1] != 0:
            return False
        if self.count == 1:
            if view.format[0] not in b"fd":
                return False
            self.dtype = FLOAT32 if view.format[0] == b"f" else FLOAT64
            self.kernels = gw_get_kernels(view.format[0] == b"f")
        return (
            view.format[0] == self.views[0].format[0]
            and self.fits(view.shape[0], expected[0])
            and self.fits(view.shape[1], expected[1])
        )

    cdef bint fits(self, Py_ssize_t size, char name) noexcept:
        cdef Py_ssize_t *known
        if name == b"1":
            return size == 1
        if name == b"j":
            return size == self.sizes.n_a + self.sizes.n_x
        if name == b"x":
            known = &self.sizes.n_x
        elif name == b"a":
            known = &self.sizes.n_a
        elif name == b"y":
            known = &self.sizes.n_y
        else:
            known = &self.sizes.m
        if known[0] < 0:
            known[0] = size
        return size == known[0]

    cdef bint are_large(self) noexcept:
        cdef Py_ssize_t inputs = self.sizes.n_a + self.sizes.n_x
        return self.sizes.n_a * inputs > LARGE * min(self.sizes.m, MANY)

    cdef empty(self, Py_ssize_t rows, Py_ssize_t columns):
        return EMPTY((rows, columns), self.dtype)


cdef object EMPTY = np.empty
cdef object FLOAT32 = np.dtype(np.float32)
cdef object FLOAT64 = np.dtype(np.float64)


def cell_forward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> tuple[tuple[Array, ...], Array] | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef void *into
    cdef void *predictions
    if not given.take(cell, layout, arrays):
        return None
    if given.are_large():
        return _columns.cell_forward(cell, layout, arrays)
    values = EMPTY((_columns.VALUES[cell], given.sizes.n_a, given.sizes.m), given.dtype)
    yt = given.empty(given.sizes.n_y, given.sizes.m)
    into, predictions = <void *>_address(values), <void *>_address(yt)
    with nogil:
        given.kernels.cell_forward(&given.sizes, given.data, into, predictions)
    return tuple(values), yt


def cell_backward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> list[Array] | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef void *into[MOST_ARRAYS]
    cdef gw_status status
    cdef int first, k
    if not given.take(cell, layout, arrays):
        return None
    if given.are_large():
        return _columns.cell_backward(cell, layout, arrays)
    first = _columns.FIRST_PARAMETER[cell]
    cdef Py_ssize_t n_x = given.sizes.n_x, n_a = given.sizes.n_a, m = given.sizes.m
    cdef list gradients = [given.empty(n_x, m), given.empty(n_a, m)]
    if given.sizes.cell == GW_LSTM:
        gradients.append(given.empty(n_a, m))
    for k in range(first, given.count):
        gradients.append(given.empty(given.views[k].shape[0], given.views[k].shape[1]))
    for k in range(len(gradients)):
        into[k] = <void *>_address(gradients[k])
    with nogil:
        status = given.kernels.cell_backward(&given.sizes, given.data, into)
    _check(status)
    return gradients
