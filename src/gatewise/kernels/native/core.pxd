"""The C core as Cython sees it: csrc/gatewise.h, call.h and store.h."""

cimport cython
from cython cimport floating
from libc.stdint cimport int64_t, uint8_t


cdef extern from "gatewise.h" nogil:
    ctypedef enum gw_status:
        GW_OK
        GW_NO_MEMORY
        GW_UNKNOWN
        GW_INTERRUPTED
        GW_FORKED

    ctypedef struct gw_matrix:
        void *data
        Py_ssize_t rows
        Py_ssize_t columns
        Py_ssize_t step

    ctypedef struct gw_rows:
        void *data
        Py_ssize_t time
        Py_ssize_t row

    ctypedef struct gw_block:
        gw_rows rows
        Py_ssize_t time
        Py_ssize_t batch
        Py_ssize_t features

    ctypedef struct gw_state:
        void *h
        void *c

    ctypedef struct gw_resets:
        const uint8_t *rows
        gw_state state

    ctypedef struct gw_sequence:
        Py_ssize_t time
        Py_ssize_t batch
        const int64_t *batch_sizes
        int reverse
        int odd
        int in_place
        gw_resets resets

    ctypedef struct gw_activation:
        const char *name
        double alpha
        double beta

    ctypedef struct gw_weights:
        const char *cell
        const char *format
        gw_activation gate
        gw_activation candidate
        gw_activation output
        Py_ssize_t rows
        Py_ssize_t input_size
        Py_ssize_t output_size
        const void *w_ih
        const void *w_hh
        const void *bias
        const void *bias_hn
        const void *w_hr
        const void *peepholes
        const void *scale_ih
        const void *scale_hh
        const void *scale_hr

    enum:
        GW_MOST_STATES
        GW_MOST_GATES
        GW_MOST_PARAMETERS

    ctypedef struct gw_columns:
        const char *cell
        Py_ssize_t n_x
        Py_ssize_t n_a
        Py_ssize_t n_y
        Py_ssize_t m
        const void *parameters[GW_MOST_PARAMETERS]
        const void *w_y
        const void *b_y

    ctypedef struct gw_columns_step:
        const void *xt
        const void *before[GW_MOST_STATES]
        void *after[GW_MOST_STATES]
        void *gates[GW_MOST_GATES]

    ctypedef struct gw_columns_gradients:
        const void *after[GW_MOST_STATES]
        void *xt
        void *before[GW_MOST_STATES]
        void *parameters[GW_MOST_PARAMETERS]

    ctypedef struct gw_columns_run:
        Py_ssize_t time
        const void *x
        const void *initial[GW_MOST_STATES]
        void *values

    ctypedef struct gw_packed:
        pass

    ctypedef struct gw_linear:
        pass

    ctypedef struct gw_windows:
        Py_ssize_t taps
        Py_ssize_t stride
        Py_ssize_t dilation
        Py_ssize_t before
        gw_block x
        gw_block out
        gw_rows history
        const int64_t *lengths

    ctypedef struct gw_outer_side:
        gw_block b
        gw_matrix out

    ctypedef gw_status gw_elementwise(const void *, void *, Py_ssize_t) noexcept nogil

    ctypedef struct gw_kernels:
        gw_status (*pack)(const gw_weights *, gw_packed **) noexcept nogil
        void (*release)(gw_packed *) noexcept nogil
        gw_status (*prepare_backward)(gw_packed *) noexcept nogil
        gw_status (*infer)(
            const gw_packed *, const gw_sequence *, gw_rows, gw_state, gw_rows, gw_rows, int
        ) noexcept nogil
        gw_status (*infer_shares)(
            const gw_packed *, const gw_sequence *, gw_rows, gw_state, gw_rows, gw_rows, int
        ) noexcept nogil
        gw_status (*forward)(
            const gw_packed *, const gw_sequence *, gw_rows, gw_rows, gw_state, gw_rows,
            gw_rows, int
        ) noexcept nogil
        gw_status (*backward)(
            const gw_packed *, const gw_sequence *, gw_rows, gw_rows, gw_rows, gw_state,
            gw_rows, gw_state, gw_rows, gw_rows, gw_state, int
        ) noexcept nogil
        gw_status (*project_back)(
            const gw_packed *, gw_block, gw_block, int
        ) noexcept nogil
        gw_status (*pack_linear)(
            Py_ssize_t, Py_ssize_t, const char *, const void *, const void *, const void *,
            Py_ssize_t, gw_linear **,
        ) noexcept nogil
        void (*release_linear)(gw_linear *) noexcept nogil
        gw_status (*prepare_linear_back)(gw_linear *, const void *) noexcept nogil
        gw_status (*linear)(const gw_linear *, gw_block, gw_block, int) noexcept nogil
        gw_status (*linear_back)(const gw_linear *, gw_block, gw_block, int) noexcept nogil
        gw_status (*convolve)(const gw_linear *, const gw_windows *, int) noexcept nogil
        gw_status (*outer)(
            gw_block, const gw_outer_side *, int, int, int
        ) noexcept nogil
        gw_status (*add_rows)(gw_block, void *) noexcept nogil
        gw_status (*add_by_token)(
            const int64_t *, gw_block, gw_matrix
        ) noexcept nogil
        gw_status (*columns_forward)(
            const gw_columns *, const gw_columns_run *, void *
        ) noexcept nogil
        gw_status (*columns_step_back)(
            const gw_columns *, const gw_columns_step *, const gw_columns_gradients *
        ) noexcept nogil
        gw_status (*columns_back)(
            const gw_columns *, const gw_columns_run *, void *, void *, void *,
            void *const *,
        ) noexcept nogil
        gw_elementwise *relu
        gw_elementwise *tanh
        gw_elementwise *sigmoid
        gw_status (*activate)(
            const gw_activation *, const void *, void *, Py_ssize_t
        ) noexcept nogil
        gw_status (*softmax)(
            const void *, void *, Py_ssize_t, Py_ssize_t
        ) noexcept nogil

    const char *gw_instruction_set_at(int index)
    int gw_choose_instruction_set(const char *)
    const char *gw_instruction_set()
    const gw_kernels *gw_get_kernels(int single)


cdef extern from "threads/call.h" nogil:
    void gw_set_question(int (*ask)() noexcept nogil)
    int gw_is_to_end(int64_t *next_question)


cdef extern from "memory/store.h" nogil:
    void *gw_take(size_t *size)
    void gw_give_back(void *memory, size_t size)
    size_t gw_release()


# What the kernels take, of typed memoryviews. None gives what stands for an absent array.
# Where an array has no elements, its address is taken without a check of bounds.


cdef inline gw_sequence sequence_of(
    Py_ssize_t time, Py_ssize_t batch, const int64_t[::1] batch_sizes, bint reverse,
    gw_resets resets,
) noexcept:
    cdef gw_sequence sequence
    sequence.time = time
    sequence.batch = batch
    sequence.batch_sizes = NULL
    sequence.reverse = reverse
    sequence.odd = sequence.in_place = False
    sequence.resets = resets
    if batch_sizes is not None:
        sequence.time = batch_sizes.shape[0]
        with cython.boundscheck(False):
            sequence.batch_sizes = &batch_sizes[0]
    return sequence


cdef inline gw_state state_of(
    const floating[:, ::1] h, const floating[:, ::1] c
) noexcept nogil:
    cdef gw_state state
    with cython.boundscheck(False):
        state.h = <void *>&h[0, 0]
    state.c = NULL
    if c is not None:
        with cython.boundscheck(False):
            state.c = <void *>&c[0, 0]
    return state


cdef inline gw_rows rows_of(const floating[:, :, :] array) noexcept nogil:
    cdef gw_rows rows
    rows.data = NULL
    rows.time = rows.row = 0
    if array is not None:
        with cython.boundscheck(False):
            rows.data = <void *>&array[0, 0, 0]
        rows.time = array.strides[0] // <Py_ssize_t>sizeof(floating)
        rows.row = array.strides[1] // <Py_ssize_t>sizeof(floating)
    return rows


cdef inline gw_block block_of(const floating[:, :, :] array) noexcept nogil:
    cdef gw_block block
    block.rows = rows_of(array)
    block.time = array.shape[0]
    block.batch = array.shape[1]
    block.features = array.shape[2]
    return block


cdef inline gw_matrix matrix_of(const floating[:, :] array) noexcept nogil:
    cdef gw_matrix matrix
    with cython.boundscheck(False):
        matrix.data = <void *>&array[0, 0]
    matrix.rows = array.shape[0]
    matrix.columns = array.shape[1]
    matrix.step = array.strides[0] // <Py_ssize_t>sizeof(floating)
    return matrix
