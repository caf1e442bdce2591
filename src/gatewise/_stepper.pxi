# Layers upon layers, a step at a time and in place, a part of _native.pyx.


def stepper(
    packed: Sequence[Packed],
    states: Sequence[tuple[Array, ...]],
    outputs: Sequence[Array],
    *,
    num_threads: int = 1,
) -> Callable[[Array], Array | None]:
    cdef _Stepper stepper = _Stepper(packed[0], outputs[len(outputs) - 1], num_threads)
    for layer, state, y in zip(packed, states, outputs, strict=True):
        stepper.append(_Step(layer, state, y))
    return stepper


cdef class _Step:
    """One layer's share of a step: what it runs on, whose memory it keeps alive."""

    cdef Packed packed
    cdef object arrays
    cdef gw_state state
    cdef gw_rows y

    def __init__(self, packed, state, y):
        cdef Packed layer = packed
        c = state[1] if len(state) == 2 else None
        self.packed, self.arrays = layer, (state, y)
        if layer.single:
            self.state, self.y = state_of[float](state[0], c), rows_of[float](y[None])
        else:
            self.state, self.y = state_of[double](state[0], c), rows_of[double](y[None])


cdef class _Stepper:
    cdef list steps
    cdef object y, first
    cdef char *y_begin
    cdef char *y_end
    cdef Py_ssize_t batch, features
    cdef int threads
    cdef bint odd

    def __init__(self, packed, y, threads):
        self.steps, self.y, self.first = [], y, y[0]
        self.y_begin = <char *>_address(y)
        self.y_end = self.y_begin + <Py_ssize_t>y.nbytes
        self.batch, self.features = len(y), (<Packed?>packed).input_size
        self.threads = threads

    cdef append(self, _Step step):
        self.steps.append(step)

    def __call__(self, x):
        cdef Py_buffer view
        # A memoryview would cost as much as a small step.
        PyObject_GetBuffer(x, &view, PyBUF_STRIDES)
        try:
            if not self.takes(&view):
                return None
            self.advance(&view)
        finally:
            PyBuffer_Release(&view)
        return self.y if view.ndim == 2 else self.first

    cdef bint takes(self, const Py_buffer *view):
        cdef Py_ssize_t row = 0
        if view.ndim == 1:
            if self.batch != 1:
                return False
        elif view.ndim != 2 or view.shape[0] != self.batch:
            return False
        else:
            row = view.strides[0]
        return (
            view.shape[view.ndim - 1] == self.features
            and view.strides[view.ndim - 1] == view.itemsize
            and row % view.itemsize == 0
            and <uintptr_t>view.buf % view.itemsize == 0
            and not self.overlaps(view, (self.batch - 1) * row)
        )

    cdef bint overlaps(self, const Py_buffer *view, Py_ssize_t last_row):
        """Whether a step would write its output over the inputs that it still reads."""
        cdef char *first = <char *>view.buf + min(last_row, 0)
        cdef char *end = <char *>view.buf + max(last_row, 0) + self.features * view.itemsize
        return first < self.y_end and self.y_begin < end

    cdef advance(self, const Py_buffer *view):
        cdef gw_rows rows
        cdef gw_rows none
        cdef gw_sequence sequence
        cdef gw_status status
        cdef _Step step
        none.data = NULL
        sequence.time, sequence.batch, sequence.batch_sizes = 1, self.batch, NULL
        sequence.reverse, sequence.odd = False, self.odd
        # Stopped between two layers, these would stand at different times.
        sequence.in_place = True
        self.odd = not self.odd
        rows.data, rows.time, rows.row = view.buf, 0, 0
        if view.ndim == 2:
            rows.row = view.strides[0] // view.itemsize
        for step in self.steps:
            with nogil:
                status = step.packed.kernels.infer(
                    step.packed.layer, &sequence, rows, step.state, step.y, none,
                    self.threads,
                )
            _check(status)
            rows = step.y
