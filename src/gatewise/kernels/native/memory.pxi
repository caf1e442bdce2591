# Arrays made of memory that was used before, a part of compiled.pyx: store.h called.

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    int PyTraceMalloc_Track(unsigned int domain, uintptr_t memory, size_t size)
    int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t memory)


cdef extern from "memory/memory.h" nogil:
    void gw_try_allocations(int number)
    void gw_end_trial()
    int gw_allocations_asked()
    int gw_allocations_held()


cdef enum:
    # Any number that others do not use.
    TRACE_DOMAIN = 0x67617465
    SMALL = 1 << 16


cdef class _Block:
    """Memory of the store's, for as long as an array refers to it."""

    cdef void *memory
    cdef size_t size
    cdef Py_ssize_t wanted

    def __cinit__(self, Py_ssize_t wanted):
        self.wanted = self.size = wanted
        self.memory = gw_take(&self.size)
        if self.memory is NULL:
            raise MemoryError(f"no memory for {wanted} bytes")
        # So that tracemalloc sees it, as it sees NumPy's.
        PyTraceMalloc_Track(TRACE_DOMAIN, <uintptr_t>self.memory, wanted)

    def __dealloc__(self):
        if self.memory is not NULL:
            PyTraceMalloc_Untrack(TRACE_DOMAIN, <uintptr_t>self.memory)
            gw_give_back(self.memory, self.size)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.memory, self.wanted, False, flags)


def release_memory() -> int:
    cdef size_t size
    with nogil:
        size = gw_release()
    return size


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    cdef Py_ssize_t size = math.prod(shape) * dtype.itemsize
    # Small arrays are not made of fresh memory anyway.
    if size < SMALL:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, _Block(size))


def _try_allocations(number: int) -> None:
    """Let an allocation of the core's fail, counted from now on; -1 ends it. For tests."""
    if number < 0:
        gw_end_trial()
    else:
        gw_try_allocations(number)


def _allocations() -> tuple[int, int]:
    """How many were asked for since then, and how many are held since it all began."""
    return gw_allocations_asked(), gw_allocations_held()
