# The time loops over rows, a part of compiled.pyx: sequence.h and backward.h called.


def infer(
    packed: Packed,
    x: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    resets: Resets | None = None,
    num_threads: int = 1,
) -> None:
    c = state[1] if len(state) == 2 else None
    if (<Packed?>packed).single:
        _infer[float](
            packed, x, state[0], c, y, cells, batch_sizes, reverse, resets, num_threads
        )
    else:
        _infer[double](
            packed, x, state[0], c, y, cells, batch_sizes, reverse, resets, num_threads
        )


def infer_shares(
    packed: Packed,
    shares: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    resets: Resets | None = None,
    num_threads: int = 1,
) -> None:
    c = state[1] if len(state) == 2 else None
    if (<Packed?>packed).single:
        _infer_shares[float](
            packed, shares, state[0], c, y, cells, batch_sizes, reverse, resets,
            num_threads,
        )
    else:
        _infer_shares[double](
            packed, shares, state[0], c, y, cells, batch_sizes, reverse, resets,
            num_threads,
        )


def forward(
    packed: Packed,
    gates: Array,
    state: tuple[Array, ...],
    y: Array,
    extra: Array | None,
    *,
    x: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    resets: Resets | None = None,
    num_threads: int = 1,
) -> None:
    c = state[1] if len(state) == 2 else None
    if (<Packed?>packed).single:
        _forward[float](
            packed, x, gates, state[0], c, y, extra, batch_sizes, reverse, resets,
            num_threads,
        )
    else:
        _forward[double](
            packed, x, gates, state[0], c, y, extra, batch_sizes, reverse, resets,
            num_threads,
        )


def backward(
    packed: Packed,
    gates: Array,
    extra: Array | None,
    y: Array,
    initial: tuple[Array, ...],
    dy: Array,
    dstate: tuple[Array, ...],
    dgates: Array,
    dextra: Array | None,
    *,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    resets: Resets | None = None,
    dresets: tuple[Array, ...] | None = None,
    num_threads: int = 1,
) -> None:
    c = initial[1] if len(initial) == 2 else None
    dc = dstate[1] if len(dstate) == 2 else None
    if (<Packed?>packed).single:
        _backward[float](
            packed, gates, extra, y, initial[0], c, dy, dstate[0], dc, dgates, dextra,
            batch_sizes, reverse, resets, dresets, num_threads,
        )
    else:
        _backward[double](
            packed, gates, extra, y, initial[0], c, dy, dstate[0], dc, dgates, dextra,
            batch_sizes, reverse, resets, dresets, num_threads,
        )


cdef _infer(
    Packed packed,
    const floating[:, :, :] x,
    floating[:, ::1] h,
    floating[:, ::1] c,
    floating[:, :, :] y,
    floating[:, :, :] cells,
    const int64_t[::1] batch_sizes,
    bint reverse,
    object resets,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(
        y.shape[0], h.shape[0], batch_sizes, reverse, _resets_of(resets)
    )
    cdef gw_state state = state_of(h, c)
    cdef gw_status status
    with nogil:
        status = packed.kernels.infer(
            packed.layer, &sequence, rows_of(x), state, rows_of(y), rows_of(cells), threads
        )
    _check(status)


cdef _infer_shares(
    Packed packed,
    floating[:, :, :] shares,
    floating[:, ::1] h,
    floating[:, ::1] c,
    floating[:, :, :] y,
    floating[:, :, :] cells,
    const int64_t[::1] batch_sizes,
    bint reverse,
    object resets,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(
        y.shape[0], h.shape[0], batch_sizes, reverse, _resets_of(resets)
    )
    cdef gw_state state = state_of(h, c)
    cdef gw_status status
    with nogil:
        status = packed.kernels.infer_shares(
            packed.layer, &sequence, rows_of(shares), state, rows_of(y), rows_of(cells),
            threads,
        )
    _check(status)


cdef _forward(
    Packed packed,
    const floating[:, :, :] x,
    floating[:, :, :] gates,
    floating[:, ::1] h,
    floating[:, ::1] c,
    floating[:, :, :] y,
    floating[:, :, :] extra,
    const int64_t[::1] batch_sizes,
    bint reverse,
    object resets,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(
        y.shape[0], h.shape[0], batch_sizes, reverse, _resets_of(resets)
    )
    cdef gw_state state = state_of(h, c)
    cdef gw_status status
    with nogil:
        status = packed.kernels.forward(
            packed.layer, &sequence, rows_of(x), rows_of(gates), state, rows_of(y),
            rows_of(extra), threads,
        )
    _check(status)


cdef _backward(
    Packed packed,
    const floating[:, :, :] gates,
    const floating[:, :, :] extra,
    const floating[:, :, :] y,
    const floating[:, ::1] h,
    const floating[:, ::1] c,
    const floating[:, :, :] dy,
    floating[:, ::1] dh,
    floating[:, ::1] dc,
    floating[:, :, :] dgates,
    floating[:, :, :] dextra,
    const int64_t[::1] batch_sizes,
    bint reverse,
    object resets,
    object dresets,
    int threads,
):
    cdef gw_sequence sequence = sequence_of(
        y.shape[0], dh.shape[0], batch_sizes, reverse, _resets_of(resets)
    )
    cdef gw_state dstate = state_of(dh, dc)
    cdef gw_state initial = state_of(h, c)
    cdef gw_state dreset = _addresses(dresets)
    cdef gw_status status
    _check(packed.kernels.prepare_backward(packed.layer))
    with nogil:
        status = packed.kernels.backward(
            packed.layer, &sequence, rows_of(gates), rows_of(extra), rows_of(y), initial,
            rows_of(dy), dstate, rows_of(dgates), rows_of(dextra), dreset, threads,
        )
    _check(status)


cdef gw_resets _resets_of(resets) except *:
    """What the core takes; the caller keeps the arrays."""
    cdef gw_resets found
    found.rows, found.state = NULL, _addresses(None)
    if resets is not None:
        found.rows = <const uint8_t *>_address(resets.rows)
        found.state = _addresses(resets.state)
    return found


cdef gw_state _addresses(parts) except *:
    """The parts of a state that is already known to fit, which the caller keeps."""
    cdef gw_state state
    state.h = state.c = NULL
    if parts is not None:
        state.h = <void *>_address(parts[0])
        if len(parts) == 2:
            state.c = <void *>_address(parts[1])
    return state
