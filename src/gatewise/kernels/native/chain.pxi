# Layers without a state, one after another in one call, a part of compiled.pyx.


def chain(
    stages: Sequence[tuple[Any, ...]], features: int, dtype: np.dtype[Any]
) -> Callable[..., Array | None]:
    cdef _Chain chain = _Chain(1, features, dtype, 1, len(stages))
    for kind, *what in stages:
        chain.append(kind, what)
    return chain


cdef class _Chain(_Stages):
    def __call__(self, x, *, num_threads=1):
        cdef _extent extent = _extent(1, num_threads, NULL)
        cdef Py_buffer view
        cdef gw_block block, out
        cdef gw_rows rows
        cdef Py_ssize_t size
        cdef char *memory
        cdef gw_status status
        # A memoryview would cost as much as a small product.
        cdef char letter = b"f" if self.itemsize == 4 else b"d"
        if type(x) is not ARRAY or not _holds(x, &view, letter):
            return None
        try:
            block.features = self.features
            if not _sequences_of_view(&view, &block):
                return None
            extent.batch = out.batch = block.batch
            out.features = self.stages[self.count - 1].features
            size = self.room_for(block.time, &out.time) * block.batch * self.itemsize
            if not size or not out.time:
                return None
            y = _empty_steps(&view, &out, self.dtype)
            rows = gw_rows(<void *>_address(y), 0, out.time * out.features)
            room = empty((2 * size,), UINT8)
            memory = <char *>_address(room)
            with nogil:
                status = self.run_all(
                    &extent, block.rows, _tokens(NULL, 0), block.time, rows, memory, size
                )
            _check(status)
        finally:
            PyBuffer_Release(&view)
        return y

    cdef Py_ssize_t room_for(self, Py_ssize_t time, Py_ssize_t *after) noexcept:
        """How many numbers a sequence has between two stages at most."""
        cdef Py_ssize_t most = 0
        cdef int k
        for k in range(self.count):
            time = _steps_after(&self.stages[k], time)
            most = max(most, time * self.stages[k].features)
        after[0] = time
        return most
