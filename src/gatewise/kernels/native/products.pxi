# Products of all rows, sums by token and activations, a part of compiled.pyx. Where an
# array has no elements, its address is taken without a check of bounds.


def project_back(packed: Packed, dgates: Array, dx: Array, *, num_threads: int = 1) -> None:
    if (<Packed?>packed).single:
        _project_back[float](packed, dgates, dx, num_threads)
    else:
        _project_back[double](packed, dgates, dx, num_threads)


def add_by_token(tokens: NDArray[np.int64], rows: Array, out: Array) -> None:
    if out.dtype.itemsize == 4:
        _add_by_token[float](tokens, rows, out)
    else:
        _add_by_token[double](tokens, rows, out)


def add_rows(rows: Array, out: Array) -> None:
    if out.dtype.itemsize == 4:
        _add_rows[float](rows, out)
    else:
        _add_rows[double](rows, out)


def outer(
    a: Array,
    b: Array,
    out: Array,
    *,
    second: tuple[Array, Array] | None = None,
    in_bfloat16: bool = False,
    num_threads: int = 1,
) -> None:
    other, into = (None, None) if second is None else second
    if out.dtype.itemsize == 4:
        _outer[float](a, b, out, other, into, in_bfloat16, num_threads)
    else:
        _outer[double](a, b, out, other, into, False, num_threads)


def relu(z: Array, out: Array) -> None:
    _apply(gw_get_kernels(z.dtype.itemsize == 4).relu, z, out)


def sigmoid(z: Array, out: Array) -> None:
    _apply(gw_get_kernels(z.dtype.itemsize == 4).sigmoid, z, out)


def tanh(z: Array, out: Array) -> None:
    _apply(gw_get_kernels(z.dtype.itemsize == 4).tanh, z, out)


def activate(activation: Activation, z: Array, out: Array) -> None:
    cdef const gw_kernels *kernels = gw_get_kernels(z.dtype.itemsize == 4)
    cdef gw_activation chosen = _activation(activation)
    cdef const void *values = _address(z)
    cdef void *into = <void *>_address(out)
    cdef Py_ssize_t count = z.size
    cdef gw_status status
    with nogil:
        status = kernels.activate(&chosen, values, into, count)
    if status == GW_UNKNOWN:
        activation_table.activation("activation", activation.name)
    _check(status)


def softmax(z: Array, out: Array) -> None:
    if z.dtype.itemsize == 4:
        _softmax[float](z, out)
    else:
        _softmax[double](z, out)


cdef _project_back(
    Packed packed, const floating[:, :, :] dgates, floating[:, :, :] dx, int threads
):
    cdef gw_status status
    _check(packed.kernels.prepare_backward(packed.layer))
    with nogil:
        status = packed.kernels.project_back(
            packed.layer, block_of(dgates), block_of(dx), threads
        )
    _check(status)


@cython.boundscheck(False)
cdef _add_by_token(
    const int64_t[::1] tokens, const floating[:, :, :] rows, floating[:, :] out
):
    cdef const gw_kernels *kernels = gw_get_kernels(sizeof(floating) == 4)
    cdef gw_status status
    with nogil:
        status = kernels.add_by_token(&tokens[0], block_of(rows), matrix_of(out))
    _check(status)


@cython.boundscheck(False)
cdef _add_rows(const floating[:, :, :] rows, floating[::1] out):
    cdef const gw_kernels *kernels = gw_get_kernels(sizeof(floating) == 4)
    cdef gw_status status
    with nogil:
        status = kernels.add_rows(block_of(rows), &out[0])
    _check(status)


cdef _outer(
    const floating[:, :, :] a, const floating[:, :, :] b, floating[:, :] out,
    const floating[:, :, :] other, floating[:, :] into, bint in_bfloat16, int threads
):
    cdef const gw_kernels *kernels = gw_get_kernels(sizeof(floating) == 4)
    cdef gw_outer_side[2] sides
    cdef int count = 1
    cdef gw_status status
    sides[0].b = block_of(b)
    sides[0].out = matrix_of(out)
    if into is not None:
        sides[1].b = block_of(other)
        sides[1].out = matrix_of(into)
        count = 2
    with nogil:
        status = kernels.outer(block_of(a), sides, count, in_bfloat16, threads)
    _check(status)


cdef _apply(gw_elementwise *function, z, out):
    cdef const void *values = _address(z)
    cdef void *into = <void *>_address(out)
    cdef Py_ssize_t count = z.size
    cdef gw_status status
    with nogil:
        status = function(values, into, count)
    _check(status)


@cython.boundscheck(False)
cdef _softmax(const floating[:, ::1] z, floating[:, ::1] out):
    cdef const gw_kernels *kernels = gw_get_kernels(sizeof(floating) == 4)
    cdef gw_status status
    if z.shape[1] == 0:
        return
    with nogil:
        status = kernels.softmax(&z[0, 0], &out[0, 0], z.shape[0], z.shape[1])
    _check(status)
