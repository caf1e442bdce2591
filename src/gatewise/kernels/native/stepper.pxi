# A step or a chunk through layers upon layers, in place, a part of compiled.pyx.

cdef enum:
    # So many rows of a chunk, and at least so many steps, go through all stages before the
    # next do: what the stages leave for each other then takes little memory.
    CHUNK_ROWS = 4096
    CHUNK_STEPS = 64

cdef object INTEGER = np.integer


def stepper(
    stages: Sequence[tuple[Any, ...]],
    batch: int,
    features: int,
    dtype: np.dtype[Any],
    *,
    num_threads: int = 1,
) -> Callable[[Any], Array | None]:
    cdef _Stepper stepper = _Stepper(batch, features, dtype, num_threads, len(stages))
    for kind, *what in stages:
        stepper.append(kind, what)
    stepper.finish()
    return stepper


@cython.final
cdef class _Stepper(_Stages):
    cdef char letter
    # A step's tokens, what a chunk's stages leave for each other, the states from before.
    cdef int64_t *step_tokens
    cdef char *room
    cdef char *saved
    cdef Py_ssize_t room_size
    cdef object room_owner
    cdef bint is_busy

    def __init__(self, batch, features, dtype, threads, most):
        _Stages.__init__(self, batch, features, dtype, threads, most)
        self.letter = b"f" if self.itemsize == 4 else b"d"
        self.step_tokens = <int64_t *>self.hold(EMPTY(batch, np.int64))

    cdef finish(self):
        self.saved = self.hold(EMPTY(self.saved_size, np.uint8))

    def __call__(self, x, resets=None):
        cdef int64_t token
        cdef const _extent *extent = &self.extent
        cdef _extent anew
        if resets is not None:
            resets = self.copied(x, resets)
            if resets is None:
                return None
            anew = self.extent
            anew.resets = <const uint8_t *>_address(resets)
            extent = &anew
        if type(x) is ARRAY:
            return self.take(x, extent)
        if not self.token_count or self.extent.batch != 1 or self.multiple != 1:
            return None
        if type(x) is not int and not isinstance(x, INTEGER):
            return None
        try:
            token = x
        except OverflowError:
            return None
        if not 0 <= token < self.token_count:
            return None
        self.step(gw_rows(NULL, 0, 0), _tokens(&token, 1), extent)
        return self.first

    cdef copied(self, x, resets):
        """Booleans in the order of the steps, which nobody else changes, if they fit x."""
        cdef tuple shape = x.shape if type(x) is ARRAY else ()
        if shape and not (self.token_count and x.dtype.kind in "iu"):
            shape = shape[:len(shape) - 1]
        if type(resets) is bool:
            resets = np.array(resets)
        if type(resets) is not ARRAY or resets.shape != shape or resets.dtype is not BOOL:
            return None
        if len(shape) > 2 or (shape[0] if shape else 1) != self.extent.batch:
            return None
        copies = EMPTY(resets.size, np.uint8)
        _read_resets(resets, <uint8_t *>_address(copies))
        return copies

    cdef take(self, x, const _extent *extent):
        cdef Py_buffer view
        # The one object that arrays of these kinds have, nearly always: to have the format
        # spelt out takes longer.
        dtype = x.dtype
        cdef bint is_plain = dtype is self.dtype, is_int64 = dtype is INT64
        cdef bint is_known = is_plain or is_int64
        # A memoryview would cost as much as a small step.
        try:
            PyObject_GetBuffer(x, &view, PyBUF_STRIDES | (0 if is_known else PyBUF_FORMAT))
        except (BufferError, ValueError):
            return None
        try:
            if is_plain:
                return self.take_rows(&view, extent)
            if is_int64:
                return self.take_tokens(&view, True, extent) if self.token_count else None
            if view.format[0] == self.letter and view.format[1] == 0:
                return self.take_rows(&view, extent)
            if self.token_count and _are_integers(&view):
                return self.take_tokens(&view, view.format[0] >= b"a", extent)
        finally:
            PyBuffer_Release(&view)

    cdef take_rows(self, const Py_buffer *view, const _extent *extent):
        cdef gw_rows rows = gw_rows(view.buf, 0, 0)
        cdef int last = view.ndim - 1, axis
        if self.stages[0].kind == TABLE:
            return None
        if not 0 <= last <= 2 or view.shape[last] != self.features:
            return None
        if (view.shape[0] if last else 1) != self.extent.batch:
            return None
        if self.features > 1 and view.strides[last] != view.itemsize:
            return None
        if (view.shape[1] if last == 2 else 1) % self.multiple:
            return None
        for axis in range(last):
            if view.strides[axis] % view.itemsize:
                return None
        if <uintptr_t>view.buf % view.itemsize:
            return None
        if last:
            rows.row = view.strides[0] // view.itemsize
        if last == 2:
            rows.time = view.strides[1] // view.itemsize
            return self.take_chunk(rows, _tokens(NULL, 0), view.shape[1], extent)
        if self.overlaps(view, (self.extent.batch - 1) * rows.row * view.itemsize):
            return None
        self.step(rows, _tokens(NULL, 0), extent)
        return self.y if last else self.first

    cdef bint overlaps(self, const Py_buffer *view, Py_ssize_t last_row) noexcept:
        """Whether a step would write its output over the inputs that it still reads."""
        cdef char *y = self.stages[self.count - 1].y
        cdef Py_ssize_t size = self.extent.batch * self.stages[self.count - 1].features
        cdef char *first = <char *>view.buf + min(last_row, 0)
        cdef char *end = <char *>view.buf + max(last_row, 0) + self.features * view.itemsize
        return first < y + size * view.itemsize and y < end

    cdef take_tokens(self, const Py_buffer *view, bint is_signed, const _extent *extent):
        cdef Py_ssize_t time = view.shape[1] if view.ndim == 2 else 1
        if view.ndim > 2 or (view.shape[0] if view.ndim else 1) != self.extent.batch:
            return None
        if time % self.multiple:
            return None
        # A copy, since what is checked here may change before it is used.
        cdef int64_t *first = self.step_tokens
        if view.ndim == 2:
            copies = EMPTY(self.extent.batch * time, np.int64)
            first = <int64_t *>_address(copies)
        cdef Py_ssize_t batch = self.extent.batch
        if not _read_tokens(view, is_signed, batch, time, self.token_count, first):
            return None
        if view.ndim == 2:
            return self.take_chunk(
                gw_rows(NULL, 0, 0), _tokens(first, time), time, extent
            )
        self.step(gw_rows(NULL, 0, 0), _tokens(first, 1), extent)
        return self.y if view.ndim else self.first

    cdef step(self, gw_rows x, _tokens tokens, const _extent *extent):
        cdef gw_status status = GW_OK
        cdef const _stage *stage
        cdef gw_rows rows = x, y
        cdef int k
        # A layer alone does all or nothing, and histories wait until all is done.
        cdef bint saves = self.recurrent and self.count > 1
        with nogil:
            if saves:
                self.copy_states(True, False)
            for k in range(self.count):
                stage = &self.stages[k]
                y = gw_rows(stage.y, stage.features, stage.features)
                status = self.run(
                    stage, extent, rows, tokens, 1, y, stage.shares, True
                )
                if status != GW_OK:
                    break
                tokens.first = NULL
                rows = y
            if status == GW_OK:
                self.keep_step(x)
            elif saves:
                self.copy_states(True, True)
        self.odd = not self.odd
        _check(status)

    cdef void keep_step(self, gw_rows x) noexcept nogil:
        """Move the histories on by a step: what each convolution had is still there."""
        cdef const _stage *stage
        cdef int k
        for k in range(self.count):
            stage = &self.stages[k]
            if stage.kind == CONVOLUTION and stage.h_size:
                self.keep_steps(stage, self.extent.batch, x, 1)
            x = gw_rows(stage.y, stage.features, stage.features)

    cdef take_chunk(
        self, gw_rows rows, _tokens tokens, Py_ssize_t time, const _extent *extent
    ):
        if self.is_busy:
            # With another thread's chunk, for which there is room once.
            return None
        cdef Py_ssize_t features = self.stages[self.count - 1].features
        cdef Py_ssize_t steps = max(CHUNK_STEPS, CHUNK_ROWS // self.extent.batch)
        cdef gw_status status = GW_OK
        steps = min(max(steps - steps % self.multiple, self.multiple), time)
        y = empty((self.extent.batch, time // self.multiple, features), self.dtype)
        cdef gw_rows out = gw_rows(
            <char *>_address(y), features, time // self.multiple * features
        )
        self.find_room(steps)
        self.is_busy = True
        with nogil:
            self.copy_states(False, False)
            status = self.run_chunk(rows, tokens, time, steps, out, extent)
            if status != GW_OK:
                self.copy_states(False, True)
        self.is_busy = False
        _check(status)
        return y

    cdef find_room(self, Py_ssize_t steps):
        """Have two buffers for what goes from stage to stage, and one for shares."""
        cdef Py_ssize_t size = self.extent.batch * steps * self.itemsize
        size *= 2 * self.widest + self.stages[0].columns
        if size > self.room_size:
            self.room_owner = EMPTY(size, np.uint8)
            self.room, self.room_size = <char *>_address(self.room_owner), size

    cdef void copy_states(self, bint recurrent_alone, bint back) noexcept nogil:
        """Keep copies of the states, of recurrent stages or of all, or put these back."""
        cdef char *saved = self.saved
        cdef const _stage *stage
        cdef int k
        for k in range(self.count):
            stage = &self.stages[k]
            if stage.h_size and (stage.kind == RECURRENT or not recurrent_alone):
                _copy(saved, stage.state.h, stage.h_size, back)
                _copy(saved + stage.h_size, stage.state.c, stage.c_size, back)
                saved += stage.h_size + stage.c_size

    cdef gw_status run_chunk(
        self, gw_rows x, _tokens tokens, Py_ssize_t time, Py_ssize_t steps, gw_rows out,
        const _extent *extent,
    ) noexcept nogil:
        """Run a chunk some steps at a time, each of them through all stages."""
        cdef Py_ssize_t first = 0, count
        cdef _extent here = extent[0]
        cdef Py_ssize_t size = self.extent.batch * steps * self.widest * self.itemsize
        cdef gw_status status = GW_OK
        cdef int64_t next_question = 0
        while first < time and status == GW_OK:
            if gw_is_to_end(&next_question):
                return GW_INTERRUPTED
            count = min(steps, time - first)
            status = self.run_all(&here, x, tokens, count, out, self.room, size)
            if tokens.first is not NULL:
                tokens.first += count
            else:
                x.data = <char *>x.data + count * x.time * self.itemsize
            if here.resets is not NULL:
                here.resets += count * here.batch
            out.data = <char *>out.data + count // self.multiple * out.time * self.itemsize
            first += count
        return status


cdef inline void _copy(
    char *saved, void *state, Py_ssize_t size, bint back
) noexcept nogil:
    if size:
        memcpy(state if back else saved, saved if back else state, size)


cdef _read_resets(resets, uint8_t *into):
    """Copy booleans step by step."""
    cdef Py_buffer view
    cdef Py_ssize_t batch, time, b, t
    cdef char *row
    PyObject_GetBuffer(resets, &view, PyBUF_STRIDES)
    batch = view.shape[0] if view.ndim else 1
    time = view.shape[1] if view.ndim == 2 else 1
    for b in range(batch):
        row = <char *>view.buf + (b * view.strides[0] if view.ndim else 0)
        for t in range(time):
            into[t * batch + b] = row[0] != 0
            row += view.strides[1] if view.ndim == 2 else 0
    PyBuffer_Release(&view)


cdef bint _are_integers(const Py_buffer *view) noexcept:
    return view.format[0] in b"bhilqnBHILQN" and view.format[1] == 0


cdef bint _read_tokens(
    const Py_buffer *view, bint is_signed, Py_ssize_t batch, Py_ssize_t time,
    Py_ssize_t count, int64_t *into,
) noexcept nogil:
    """Copy integers of any width; False where one of them is no token."""
    cdef Py_ssize_t row = view.strides[0] if view.ndim else 0, b, t
    cdef Py_ssize_t step = view.strides[1] if view.ndim == 2 else 0
    cdef int64_t token
    for b in range(batch):
        for t in range(time):
            token = _read_integer(
                <char *>view.buf + b * row + t * step, view.itemsize, is_signed
            )
            if not 0 <= token < count:
                return False
            into[b * time + t] = token
    return True


cdef int64_t _read_integer(
    const char *memory, Py_ssize_t size, bint is_signed
) noexcept nogil:
    """An integer of so many bytes, aligned or not; one too large becomes negative."""
    cdef int64_t eight
    cdef int32_t four
    cdef int16_t two
    if size == 8:
        memcpy(&eight, memory, size)
        return eight
    if size == 4:
        memcpy(&four, memory, size)
        return four if is_signed else <uint32_t>four
    if size == 2:
        memcpy(&two, memory, size)
        return two if is_signed else <uint16_t>two
    return (<const int8_t *>memory)[0] if is_signed else (<const uint8_t *>memory)[0]
