# The notebook's own arrays, a part of compiled.pyx: columns.h called, step by step.

cdef enum:
    MOST_ARRAYS = 19
    # BLAS is faster with matrices of more elements than this for each of MANY examples.
    LARGE = 8192
    MANY = 32
    # With more multiplications than this for each gate, and for FEW examples as many as for
    # more, the other kernels are faster.
    LONG = 1 << 17
    FEW = 8

cdef object ZEROS = np.zeros


cdef class _Arrays:
    """Arrays whose memory it holds, and the sizes that they have."""

    cdef Py_buffer views[MOST_ARRAYS]
    cdef const void *data[MOST_ARRAYS]
    cdef int count
    cdef gw_columns sizes
    cdef Py_ssize_t time
    cdef const gw_kernels *kernels
    cdef object dtype

    def __dealloc__(self):
        for k in range(self.count):
            PyBuffer_Release(&self.views[k])

    cdef bint take(self, cell, layout, tuple arrays) except -1:
        """Whether these arrays are of one layout and one dtype."""
        cdef const char *expected = PyUnicode_AsUTF8(layout)
        self.sizes.cell = CELLS[cell]
        self.sizes.n_x = self.sizes.n_a = self.sizes.n_y = self.sizes.m = self.time = -1
        for array in arrays:
            if expected[0] == 0 or not self.add(array, &expected):
                return False
        return expected[0] == 0 and self.sizes.n_a > 0

    cdef bint add(self, array, const char **expected) except -1:
        cdef Py_buffer *view = &self.views[self.count]
        cdef int axis
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
        if view.format[0] == 0 or view.format[1] != 0 or view.format[0] not in b"fd":
            return False
        if self.count == 1:
            self.dtype = FLOAT32 if view.format[0] == b"f" else FLOAT64
            self.kernels = gw_get_kernels(view.format[0] == b"f")
        if view.format[0] != self.views[0].format[0]:
            return False
        for axis in range(view.ndim):
            if not self.fits(view.shape[axis], expected[0][0]):
                return False
            expected[0] += 1
        if expected[0][0] == b" ":
            expected[0] += 1
            return True
        return expected[0][0] == 0

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
        elif name == b"m":
            known = &self.sizes.m
        elif name == b"t":
            known = &self.time
        else:
            return False
        if known[0] < 0:
            known[0] = size
        return size == known[0]

    cdef bint are_large(self) noexcept:
        cdef Py_ssize_t inputs = self.sizes.n_a + self.sizes.n_x
        return self.sizes.n_a * inputs > LARGE * min(self.sizes.m, MANY)


def cell_forward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> tuple[tuple[Array, ...], Array] | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef void *into
    cdef void *predictions
    cdef gw_call call
    cdef gw_watch watch
    cdef gw_status status
    if not given.take(cell, layout, arrays):
        return None
    if given.are_large():
        return columns.cell_forward(cell, layout, arrays)
    values = EMPTY((columns.VALUES[cell], given.sizes.n_a, given.sizes.m), given.dtype)
    yt = EMPTY((given.sizes.n_y, given.sizes.m), given.dtype)
    into, predictions = <void *>_address(values), <void *>_address(yt)
    with nogil:
        watch = gw_open(&call, True)
        given.sizes.watch = &watch
        given.kernels.cell_forward(&given.sizes, given.data, into, predictions)
        status = gw_close(&call, GW_OK)
    _check(status)
    return tuple(values), yt


def cell_backward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> list[Array] | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef void *into[MOST_ARRAYS]
    cdef gw_call call
    cdef gw_watch watch
    cdef gw_status status
    cdef int first, k
    if not given.take(cell, layout, arrays):
        return None
    if given.are_large():
        return columns.cell_backward(cell, layout, arrays)
    # xt, the states and the parameters.
    cdef int states = columns.STATES[cell]
    first = given.count - columns.PARAMETERS[cell]
    cdef list gradients = [_zeros_like(&given.views[first - 1], given.dtype)]
    for k in range(states):
        gradients.append(_zeros_like(&given.views[k], given.dtype))
    for k in range(first, given.count):
        gradients.append(_zeros_like(&given.views[k], given.dtype))
    for k in range(len(gradients)):
        into[k] = <void *>_address(gradients[k])
    with nogil:
        watch = gw_open(&call, True)
        given.sizes.watch = &watch
        status = given.kernels.cell_backward(&given.sizes, given.data, into)
        status = gw_close(&call, status)
    _check(status)
    return gradients


cdef _zeros_like(const Py_buffer *view, dtype):
    return ZEROS((view.shape[0], view.shape[1]), dtype)


def run_forward(cell: str, layout: str, arrays: tuple[Any, ...]) -> Run | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef const void *step[MOST_ARRAYS]
    cdef int states = columns.STATES[cell], k
    cdef gw_call call
    cdef gw_watch watch
    cdef gw_status status
    if not given.take(cell, layout, arrays):
        return None
    cdef Py_ssize_t n_x = given.sizes.n_x, n_a = given.sizes.n_a, m = given.sizes.m
    cdef Py_ssize_t time = given.time, t, itemsize = given.views[0].itemsize
    if time * max(m, FEW) * n_a * (n_a + n_x) > LONG:
        return None
    cdef int count = columns.VALUES[cell]
    kept = [np.asarray(arrays[0]).transpose(2, 0, 1).copy()]
    kept += [np.array(array, order="C") for array in arrays[1:given.count - 2]]
    if states == 2:
        kept.insert(2, ZEROS((n_a, m), given.dtype))
    values = EMPTY((time, count, n_a, m), given.dtype)
    predictions = EMPTY((time, given.sizes.n_y, m), given.dtype)
    cdef const char *x = <const char *>_address(kept[0])
    cdef char *into = <char *>_address(values)
    cdef char *yt = <char *>_address(predictions)
    cdef Py_ssize_t x_size = n_x * m * itemsize, size = n_a * m * itemsize
    cdef Py_ssize_t y_size = given.sizes.n_y * m * itemsize
    for k in range(1, len(kept)):
        step[k] = _address(kept[k])
    for k in range(2):
        step[len(kept) + k] = given.data[given.count - 2 + k]
    with nogil:
        watch = gw_open(&call, True)
        given.sizes.watch = &watch
        for t in range(time):
            if not gw_goes_on(&watch, 0):
                break
            step[0] = x + t * x_size
            given.kernels.cell_forward(&given.sizes, step, into, yt)
            for k in range(states):
                step[1 + k] = into + k * size
            into += count * size
            yt += y_size
        status = gw_close(&call, GW_OK)
    _check(status)
    sequences = [values[:, k].transpose(1, 2, 0).copy() for k in range(states)]
    return columns.Run(sequences, predictions.transpose(1, 2, 0), values, kept)


def run_backward(
    cell: str, values: Any, kept: Sequence[Array], da: Array
) -> list[Array]:
    cdef const void *step[MOST_ARRAYS]
    cdef void *into[MOST_ARRAYS]
    cdef gw_columns sizes
    cdef gw_call call
    cdef gw_watch watch
    cdef int states = columns.STATES[cell], count = columns.VALUES[cell], k
    cdef int parameters = len(kept) - 1 - states, gates = count - states
    cdef Py_ssize_t time = len(values), t
    sizes.cell = CELLS[cell]
    sizes.n_x, sizes.n_a, sizes.m = kept[0].shape[1], len(kept[1]), kept[0].shape[2]
    if sizes.n_a * (sizes.n_a + sizes.n_x) > LARGE * min(sizes.m, MANY):
        return columns.run_backward(cell, values, kept, da)
    dtype = da.dtype
    cdef Py_ssize_t itemsize = dtype.itemsize
    cdef const gw_kernels *kernels = gw_get_kernels(itemsize == 4)
    values = np.ascontiguousarray(values)
    # A step adds what it hands on to the gradient that the step before it has already.
    da_steps = da.transpose(2, 0, 1).copy()
    dx, da0 = ZEROS(kept[0].shape, dtype), ZEROS(kept[1].shape, dtype)
    dc_steps = ZEROS((time + 1, *da0.shape), dtype) if states == 2 else None
    gradients = [ZEROS(array.shape, dtype) for array in kept[1 + states:]]
    cdef const char *x = <const char *>_address(kept[0])
    cdef const char *after = <const char *>_address(values)
    cdef char *dxt = <char *>_address(dx)
    cdef char *da_t = <char *>_address(da_steps)
    cdef char *dc_t = <char *>_address(dc_steps)
    cdef void *da_first = <void *>_address(da0)
    cdef Py_ssize_t x_size = sizes.n_x * sizes.m * itemsize
    cdef Py_ssize_t size = sizes.n_a * sizes.m * itemsize
    cdef const void *initial[2]
    cdef gw_status status = GW_OK
    for k in range(states):
        initial[k] = _address(kept[1 + k])
    for k in range(parameters):
        step[3 * states + gates + 1 + k] = _address(kept[1 + states + k])
        into[1 + states + k] = <void *>_address(gradients[k])
    with nogil:
        watch = gw_open(&call, True)
        sizes.watch = &watch
        for t in range(time - 1, -1, -1):
            if not gw_goes_on(&watch, 0):
                break
            step[0] = da_t + t * size
            into[0] = dxt + t * x_size
            into[1] = da_t + (t - 1) * size if t else da_first
            if states == 2:
                step[1] = dc_t + (t + 1) * size
                into[2] = dc_t + t * size
            for k in range(states):
                step[states + k] = after + (t * count + k) * size
                step[2 * states + k] = initial[k]
                if t:
                    step[2 * states + k] = after + ((t - 1) * count + k) * size
            for k in range(gates):
                step[3 * states + k] = after + (t * count + states + k) * size
            step[3 * states + gates] = x + t * x_size
            status = kernels.cell_backward(&sizes, step, into)
            if status != GW_OK:
                break
        status = gw_close(&call, status)
    _check(status)
    return [dx.transpose(1, 2, 0), da0, *gradients]
