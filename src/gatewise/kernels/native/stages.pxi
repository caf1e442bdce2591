# Layers upon layers, and running them, a part of compiled.pyx.

cdef enum:
    TABLE
    RECURRENT
    LINEAR
    CONVOLUTION
    SOFTMAX
    ELEMENTWISE


cdef struct _stage:
    int kind
    const gw_packed *packed
    const gw_linear *linear
    Py_ssize_t inputs
    gw_elementwise *apply
    # Of a convolution; the steps before the next one are in state.h.
    gw_windows windows
    Py_ssize_t least_time
    gw_state state
    Py_ssize_t h_size, c_size
    # What sequences that start anew do so from.
    gw_state start
    # For each token a row: the output, or the input's share of the gates.
    const char *table
    Py_ssize_t columns
    char *shares
    # The output of a step.
    char *y
    Py_ssize_t features


# Where a stage finds its tokens: those of each sequence in their order.
cdef struct _tokens:
    const int64_t *first
    Py_ssize_t row


# How many sequences there are, how many threads, and which sequences start anew at which
# step: a byte for each of a step, or NULL where none does.
cdef struct _extent:
    Py_ssize_t batch
    int threads
    const uint8_t *resets


cdef class _Stages:
    # Whose memory the stages point to.
    cdef list held
    cdef _stage *stages
    cdef int count, recurrent
    # The last stage that does not work in place.
    cdef int last
    cdef const gw_kernels *kernels
    # The output of a step, whole and of the first sequence.
    cdef object y, first, dtype
    cdef _extent extent
    cdef Py_ssize_t features, widest, itemsize
    cdef Py_ssize_t token_count, saved_size
    # So many steps make one of the output.
    cdef Py_ssize_t multiple
    cdef bint odd

    def __cinit__(self, batch, features, dtype, threads, most):
        self.stages = <_stage *>calloc(most, sizeof(_stage))
        if self.stages is NULL:
            raise MemoryError("no memory for the stages of a stream")

    def __init__(self, batch, features, dtype, threads, most):
        self.held, self.multiple = [], 1
        self.extent, self.features = _extent(batch, threads, NULL), features
        self.dtype = np.dtype(dtype.type)
        self.itemsize = dtype.itemsize
        self.kernels = gw_get_kernels(self.itemsize == 4)

    def __dealloc__(self):
        free(self.stages)

    cdef char *hold(self, array) except NULL:
        """Keep an array for as long as this lives, and return its memory."""
        self.held.append(array)
        return <char *>_address(array)

    cdef append(self, kind, list what):
        cdef _stage *stage = &self.stages[self.count]
        cdef const _stage *before = &self.stages[self.count - 1] if self.count else NULL
        stage.features = before.features if self.count else self.features
        if kind == "table":
            stage.kind, stage.features = TABLE, what[0].shape[1]
            self.set_table(stage, what[0])
        elif kind == "recurrent":
            self.set_recurrent(stage, what[0], what[1], what[2])
            if len(what) == 4:
                self.set_table(stage, what[3])
        elif kind == "linear":
            stage.kind, stage.linear = LINEAR, (<PackedLinear?>what[0]).layer
            stage.inputs, stage.features = stage.features, (<PackedLinear>what[0]).outputs
        elif kind == "convolution":
            self.set_convolution(stage, what[0], what[1] if len(what) == 2 else None)
        elif kind == "softmax":
            stage.kind = SOFTMAX
        else:
            stage.kind, stage.apply = ELEMENTWISE, self.elementwise(kind)
        self.held.append(what)
        if stage.kind >= SOFTMAX and self.count:
            stage.y = before.y
        else:
            self.last = self.count
            self.y = EMPTY((self.extent.batch, stage.features), self.dtype)
            self.first = self.y[0]
            stage.y = self.hold(self.y)
        self.widest = max(self.widest, stage.features)
        self.count += 1

    cdef gw_elementwise *elementwise(self, kind) except NULL:
        if kind == "relu":
            return self.kernels.relu
        if kind == "sigmoid":
            return self.kernels.sigmoid
        if kind == "tanh":
            return self.kernels.tanh
        raise ValueError(f"a stage should be of a kind that there is, got {kind!r}")

    cdef set_recurrent(self, _stage *stage, Packed packed, state, start):
        stage.kind, stage.packed = RECURRENT, packed.layer
        stage.features = state[0].shape[1]
        stage.state.h, stage.h_size = <void *>_address(state[0]), state[0].nbytes
        if len(state) == 2:
            stage.state.c, stage.c_size = <void *>_address(state[1]), state[1].nbytes
        stage.start = _addresses(start)
        self.saved_size += stage.h_size + stage.c_size
        self.recurrent += 1

    cdef set_convolution(self, _stage *stage, PackedConvolution packed, history):
        cdef PackedLinear product = packed.product
        stage.linear, stage.windows = product.layer, packed.form
        stage.inputs, stage.features = packed.form.x.features, product.outputs
        if packed.is_pointwise:
            stage.kind = LINEAR
            return
        stage.kind = CONVOLUTION
        stage.least_time = packed.least_time
        if history is not None:
            stage.state.h, stage.h_size = <void *>_address(history), history.nbytes
            self.saved_size += stage.h_size
            # Of a stream no window reaches beyond the last step.
            stage.least_time = 1
        # No chunk has more steps than the most that there can be.
        if self.multiple > PY_SSIZE_T_MAX // packed.form.stride:
            self.multiple = PY_SSIZE_T_MAX
        else:
            self.multiple *= packed.form.stride

    cdef set_table(self, _stage *stage, table):
        stage.table, stage.columns = <const char *>_address(table), table.shape[1]
        self.token_count = table.shape[0]
        stage.shares = self.hold(EMPTY((self.extent.batch, stage.columns), self.dtype))

    cdef gw_status run_all(
        self, const _extent *extent, gw_rows x, _tokens tokens, Py_ssize_t time,
        gw_rows out, char *room, Py_ssize_t size,
    ) noexcept nogil:
        """Run all stages over some steps.

        There is room for two outputs of so many bytes, and then for shares of the gates.
        """
        cdef const _stage *stage
        cdef gw_status status = GW_OK
        cdef bint is_second = False
        cdef gw_rows y
        cdef int k
        for k in range(self.count):
            stage = &self.stages[k]
            if k >= self.last:
                y = gw_rows(out.data, stage.features, out.row)
            elif stage.kind >= SOFTMAX and k:
                y = x
            else:
                y = gw_rows(room + is_second * size, stage.features, 0)
                y.row = _steps_after(stage, time) * stage.features
                is_second = not is_second
            status = self.run(
                stage, extent, x, tokens, time, y, room + 2 * size, False
            )
            if status != GW_OK:
                break
            time = _steps_after(stage, time)
            tokens.first = NULL
            x = y
        return status

    cdef gw_status run(
        self, const _stage *stage, const _extent *extent, gw_rows x, _tokens tokens,
        Py_ssize_t time, gw_rows y, char *shares, bint is_step,
    ) noexcept nogil:
        """Run one stage over some steps; in a step, histories are left as they are."""
        cdef gw_rows none = gw_rows(NULL, 0, 0)
        cdef gw_sequence sequence
        cdef gw_block from_block, to_block
        if stage.kind == TABLE:
            self.look_up(stage, extent.batch, tokens, time, y)
        elif stage.kind == RECURRENT:
            sequence.time, sequence.batch, sequence.batch_sizes = time, extent.batch, NULL
            sequence.reverse, sequence.odd = False, self.odd
            sequence.in_place = is_step
            sequence.resets = gw_resets(extent.resets, stage.start)
            if tokens.first is NULL:
                return self.kernels.infer(
                    stage.packed, &sequence, x, stage.state, y, none, extent.threads
                )
            x = gw_rows(shares, stage.columns, time * stage.columns)
            self.look_up(stage, extent.batch, tokens, time, x)
            return self.kernels.infer_shares(
                stage.packed, &sequence, x, stage.state, y, none, extent.threads
            )
        elif stage.kind == LINEAR:
            from_block = _rows_of(x, extent.batch, time, stage.inputs)
            to_block = _rows_of(y, extent.batch, time, stage.features)
            return self.kernels.linear(stage.linear, from_block, to_block, extent.threads)
        elif stage.kind == CONVOLUTION:
            return self.slide(stage, extent, x, time, y, not is_step)
        else:
            return self.activate(stage, extent.batch, x, time, y)
        return GW_OK

    cdef gw_status slide(
        self, const _stage *stage, const _extent *extent, gw_rows x, Py_ssize_t time,
        gw_rows y, bint keeps,
    ) noexcept nogil:
        """Convolve some steps and those before them, and keep the last ones if wanted."""
        cdef gw_windows windows = stage.windows
        cdef gw_status status
        if time == 1:
            x.time = stage.inputs
        windows.x.rows, windows.x.time, windows.x.batch = x, time, extent.batch
        windows.out.rows, windows.out.time = y, _steps_after(stage, time)
        windows.out.batch = extent.batch
        if stage.h_size:
            windows.history.data = stage.state.h
            windows.history.time = stage.inputs
            windows.history.row = windows.before * stage.inputs
        status = self.kernels.convolve(stage.linear, &windows, extent.threads)
        if status == GW_OK and keeps and stage.h_size:
            self.keep_steps(stage, extent.batch, x, time)
        return status

    cdef void keep_steps(
        self, const _stage *stage, Py_ssize_t batch, gw_rows x, Py_ssize_t time
    ) noexcept nogil:
        """Move the history of a convolution on by some steps."""
        cdef Py_ssize_t size = stage.inputs * self.itemsize, b, t
        cdef Py_ssize_t before = stage.windows.before, kept = max(before - time, 0)
        cdef char *row
        cdef const char *step
        for b in range(batch):
            row = <char *>stage.state.h + b * before * size
            memmove(row, row + (before - kept) * size, kept * size)
            step = <const char *>x.data + b * x.row * self.itemsize
            for t in range(kept, before):
                memcpy(
                    row + t * size,
                    step + (time - before + t) * x.time * self.itemsize,
                    size,
                )

    cdef void look_up(
        self, const _stage *stage, Py_ssize_t batch, _tokens tokens, Py_ssize_t time,
        gw_rows y,
    ) noexcept nogil:
        """Copy the rows of a stage's table that the tokens name."""
        cdef Py_ssize_t size = stage.columns * self.itemsize, b, t
        cdef char *to
        for b in range(batch):
            for t in range(time):
                to = <char *>y.data + (b * y.row + t * y.time) * self.itemsize
                memcpy(to, stage.table + tokens.first[b * tokens.row + t] * size, size)

    cdef gw_status activate(
        self, const _stage *stage, Py_ssize_t batch, gw_rows x, Py_ssize_t time, gw_rows y
    ) noexcept nogil:
        cdef Py_ssize_t features = stage.features, count = 1, b, part
        cdef gw_status status = GW_OK
        cdef char *from_row
        cdef char *to_row
        # Steps that lie side by side are done at once.
        if x.time == features and y.time == features:
            count = time
        for b in range(batch):
            for part in range(time // count):
                from_row = <char *>x.data + (b * x.row + part * x.time) * self.itemsize
                to_row = <char *>y.data + (b * y.row + part * y.time) * self.itemsize
                if stage.kind == SOFTMAX:
                    status = self.kernels.softmax(from_row, to_row, count, features)
                else:
                    status = stage.apply(from_row, to_row, count * features)
                if status != GW_OK:
                    return status
        return GW_OK


cdef inline Py_ssize_t _steps_after(
    const _stage *stage, Py_ssize_t time
) noexcept nogil:
    """How many steps a stage gives for so many."""
    if stage.kind != CONVOLUTION:
        return time
    if not time or time < stage.least_time:
        return 0
    return (time - stage.least_time) // stage.windows.stride + 1


cdef inline gw_block _rows_of(
    gw_rows rows, Py_ssize_t batch, Py_ssize_t time, Py_ssize_t features
) noexcept nogil:
    """All rows of some steps, as a product takes them: many at one distance."""
    cdef gw_block block
    block.rows, block.features = rows, features
    block.time, block.batch = time, batch
    if time > 1:
        block.rows.time, block.rows.row = rows.row, rows.time
        block.time, block.batch = batch, time
    return block
