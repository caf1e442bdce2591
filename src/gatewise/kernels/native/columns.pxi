# The notebook's own arrays, a part of compiled.pyx: columns.h called.

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
cdef dict STATES = columns.STATES
cdef dict VALUES = columns.VALUES
cdef dict PARAMETERS = columns.PARAMETERS


cdef class _Arrays:
    """Arrays whose memory it holds, and the sizes that they have."""

    cdef Py_buffer views[MOST_ARRAYS]
    cdef const void *data[MOST_ARRAYS]
    cdef int count, position
    cdef gw_columns columns
    cdef Py_ssize_t time
    cdef const gw_kernels *kernels
    cdef object dtype

    def __dealloc__(self):
        for k in range(self.count):
            PyBuffer_Release(&self.views[k])

    cdef bint take(self, cell, layout, tuple arrays) except -1:
        """Whether these arrays are of one layout and one dtype."""
        cdef const char *expected = PyUnicode_AsUTF8(layout)
        self.columns.cell = PyUnicode_AsUTF8(cell)
        self.columns.n_x = self.columns.n_a = self.columns.n_y = self.columns.m = -1
        self.time = -1
        for array in arrays:
            if expected[0] == 0 or not self.add(array, &expected):
                return False
        if expected[0] != 0 or self.columns.n_a <= 0:
            return False
        for k, array in enumerate(arrays):
            self.make_contiguous(k, array)
        return True

    cdef int make_contiguous(self, int k, array) except -1:
        """Copy it if need be, which is not worth its memory before all fit."""
        if not PyBuffer_IsContiguous(&self.views[k], b"C"):
            array = np.ascontiguousarray(array)
            PyBuffer_Release(&self.views[k])
            PyObject_GetBuffer(array, &self.views[k], PyBUF_FORMAT | PyBUF_ND)
        self.data[k] = self.views[k].buf
        return 0

    cdef bint add(self, array, const char **expected) except -1:
        cdef Py_buffer *view = &self.views[self.count]
        cdef int axis
        try:
            PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_STRIDES)
        except (BufferError, TypeError, ValueError):
            return False
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
            return size == self.columns.n_a + self.columns.n_x
        if name == b"x":
            known = &self.columns.n_x
        elif name == b"a":
            known = &self.columns.n_a
        elif name == b"y":
            known = &self.columns.n_y
        elif name == b"m":
            known = &self.columns.m
        elif name == b"t":
            known = &self.time
        else:
            return False
        if known[0] < 0:
            known[0] = size
        return size == known[0]

    cdef void read(self, const void **into, int count) noexcept:
        """Say where the next arrays are."""
        cdef int k
        for k in range(count):
            into[k] = self.data[self.position + k]
        self.position += count


cdef bint _are_large(const gw_columns *sizes) noexcept:
    return sizes.n_a * (sizes.n_a + sizes.n_x) > LARGE * min(sizes.m, MANY)


def cell_forward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> tuple[tuple[Array, ...], Array] | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef gw_columns_run run
    cdef gw_status status
    if not given.take(cell, layout, arrays):
        return None
    if _are_large(&given.columns):
        return columns.cell_forward(cell, layout, arrays)
    values = EMPTY((VALUES[cell], given.columns.n_a, given.columns.m), given.dtype)
    yt = EMPTY((given.columns.n_y, given.columns.m), given.dtype)
    cdef void *predictions = <void *>_address(yt)
    run.time, run.values = 1, <void *>_address(values)
    given.read(&run.x, 1)
    given.read(run.initial, STATES[cell])
    given.read(given.columns.parameters, PARAMETERS[cell])
    given.read(&given.columns.w_y, 1)
    given.read(&given.columns.b_y, 1)
    with nogil:
        status = given.kernels.columns_forward(&given.columns, &run, predictions)
    _check(status)
    return tuple(values), yt


def cell_backward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> list[Array] | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef gw_columns_step step
    cdef gw_columns_gradients gradients
    cdef int states = STATES[cell], first, k
    cdef gw_status status
    if not given.take(cell, layout, arrays):
        return None
    if _are_large(&given.columns):
        return columns.cell_backward(cell, layout, arrays)
    given.read(gradients.after, states)
    given.read(<const void **>step.after, states)
    given.read(step.before, states)
    given.read(<const void **>step.gates, VALUES[cell] - states)
    given.read(&step.xt, 1)
    first = given.position
    given.read(given.columns.parameters, PARAMETERS[cell])
    cdef list made = [_zeros_like(&given.views[first - 1], given.dtype)]
    gradients.xt = <void *>_address(made[0])
    for k in range(states):
        made.append(_zeros_like(&given.views[k], given.dtype))
        gradients.before[k] = <void *>_address(made[1 + k])
    for k in range(given.count - first):
        made.append(_zeros_like(&given.views[first + k], given.dtype))
        gradients.parameters[k] = <void *>_address(made[1 + states + k])
    with nogil:
        status = given.kernels.columns_step_back(&given.columns, &step, &gradients)
    _check(status)
    return made


cdef _zeros_like(const Py_buffer *view, dtype):
    return ZEROS((view.shape[0], view.shape[1]), dtype)


def run_forward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> Run | Preference | None:
    cdef _Arrays given = _Arrays.__new__(_Arrays)
    cdef gw_columns_run run
    cdef int states = STATES[cell], k
    cdef gw_status status
    if not given.take(cell, layout, arrays):
        return None
    cdef Py_ssize_t n_x = given.columns.n_x, n_a = given.columns.n_a, m = given.columns.m
    if given.time * max(m, FEW) * n_a * (n_a + n_x) > LONG:
        return columns.Preference.OTHER_KERNELS
    run.time = given.time
    kept = [np.asarray(arrays[0]).transpose(2, 0, 1).copy()]
    kept += [np.array(array, order="C") for array in arrays[1:given.count - 2]]
    if states == 2:
        kept.insert(2, ZEROS((n_a, m), given.dtype))
    values = EMPTY((run.time, VALUES[cell], n_a, m), given.dtype)
    predictions = EMPTY((run.time, given.columns.n_y, m), given.dtype)
    run.x, run.values = _address(kept[0]), <void *>_address(values)
    for k in range(states):
        run.initial[k] = _address(kept[1 + k])
    given.position = 2
    given.read(given.columns.parameters, PARAMETERS[cell])
    given.read(&given.columns.w_y, 1)
    given.read(&given.columns.b_y, 1)
    cdef void *into = <void *>_address(predictions)
    with nogil:
        status = given.kernels.columns_forward(&given.columns, &run, into)
    _check(status)
    sequences = [values[:, k].transpose(1, 2, 0).copy() for k in range(states)]
    return columns.Run(sequences, predictions.transpose(1, 2, 0), values, kept)


def run_backward(
    cell: str, values: Any, kept: Sequence[Array], da: Array
) -> list[Array]:
    cdef gw_columns sizes
    cdef gw_columns_run run
    cdef void *dparameters[GW_MOST_PARAMETERS]
    cdef int states = STATES[cell], k
    cdef gw_status status
    sizes.cell = PyUnicode_AsUTF8(cell)
    sizes.n_x, sizes.n_a, sizes.m = kept[0].shape[1], len(kept[1]), kept[0].shape[2]
    if _are_large(&sizes):
        return columns.run_backward(cell, values, kept, da)
    cdef const gw_kernels *kernels = gw_get_kernels(da.dtype.itemsize == 4)
    values = np.ascontiguousarray(values)
    da_steps = da.transpose(2, 0, 1).copy()
    like = [*kept[:2], *kept[1 + states:]]
    made = [ZEROS(array.shape, da.dtype) for array in like]
    run.time, run.x, run.values = len(values), _address(kept[0]), <void *>_address(values)
    for k in range(states):
        run.initial[k] = _address(kept[1 + k])
    for k in range(PARAMETERS[cell]):
        sizes.parameters[k] = _address(kept[1 + states + k])
        dparameters[k] = <void *>_address(made[2 + k])
    cdef void *da_t = <void *>_address(da_steps)
    cdef void *dx = <void *>_address(made[0])
    cdef void *da_initial = <void *>_address(made[1])
    with nogil:
        status = kernels.columns_back(&sizes, &run, da_t, dx, da_initial, dparameters)
    _check(status)
    return [made[0].transpose(1, 2, 0), *made[1:]]
