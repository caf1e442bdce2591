/* h = tanh(gates + W h) or relu of it. */
#ifndef GATEWISE_RNN_H
#define GATEWISE_RNN_H

#include "cells/layer.h"

static void rnn_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                    real *sums) {
    const struct step *step = context;
    const int vectors = block_vectors(p, block);
    const int is_tanh = step->layer->cell == GW_RNN_TANH;
    for (int r = 0; r < count; r++) {
        for (int v = 0; v < vectors; v++, sums += WIDTH) {
            const vreal sum = v_load(sums);
            const vreal h = is_tanh ? v_tanh(sum) : v_max(v_set(0), sum);
            store_some(row_of(step->y, row + r) + vector_offset(p, block, v), vector_length(p, block, v), h);
        }
    }
}

static void rnn_step(const struct step *step) {
    const struct tiles tiles = step_tiles(step, begin_gates, NULL, rnn_end);
    for_each_tile(&tiles, step->rows, step, step->member);
}

static void rnn_units_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    const vreal y = load_some(row_of(step->y, row) + unit, n);
    const vreal dh =
        v_add(load_some(row_of(step->dh, row) + unit, n), load_some(row_of(step->dy, row) + unit, n));
    const vreal slope =
        step->layer->cell == GW_RNN_TANH ? v_fnma(y, y, v_set(1)) : v_if_positive(y, v_set(1), v_set(0));
    store_some(row_of(step->dgates, row) + unit, n, v_mul(dh, slope));
}

static void rnn_step_back(const struct back_step *step) {
    for_each_unit(step, step->layer->hidden_size, rnn_units_back);
}

#endif
