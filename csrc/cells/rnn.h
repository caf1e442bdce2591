/* h = tanh(gates + W h), or another activation of it. */
#ifndef GATEWISE_RNN_H
#define GATEWISE_RNN_H

#include "cells/layer.h"

INLINE vreal rnn(vreal sum, const struct activations *by) {
    return has_fractions(by) ? v_divided(tanh_fraction(sum)) : activate(&by->candidate, sum);
}

/* The gradient of the sum. */
INLINE vreal rnn_back(vreal h, vreal dh, const struct activation *by) { return v_mul(dh, slope_at(by, h)); }

static const struct activations RNN_RELU = {.candidate = {RELU, 0, 0}};

INLINE void rnn_rows(const struct step *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                     int count, const real *sums, const struct activations *by) {
    const int vectors = block_vectors(p, block);
    for (int r = 0; r < count; r++) {
        for (int v = 0; v < vectors; v++, sums += WIDTH)
            store_some(row_of(step->y, row + r) + vector_offset(p, block, v), vector_length(p, block, v),
                       rnn(v_load(sums), by));
    }
}

static void rnn_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                    real *sums) {
    const struct step *step = context;
    const struct activations *by = &step->layer->activations;
    if (has_fractions(by))
        rnn_rows(step, p, block, row, count, sums, &FRACTIONS);
    else if (by->candidate.code == TANH)
        rnn_rows(step, p, block, row, count, sums, &STANDARD);
    else if (by->candidate.code == RELU)
        rnn_rows(step, p, block, row, count, sums, &RNN_RELU);
    else
        rnn_rows(step, p, block, row, count, sums, by);
}

static void rnn_step(const struct step *step) {
    const struct tiles tiles = step_tiles(step, begin_gates, NULL, rnn_end);
    for_each_tile(&tiles, step->rows, step, step->member);
}

static void rnn_units_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    const struct activation *by = &step->layer->activations.candidate;
    const vreal y = load_some(row_of(step->y, row) + unit, n);
    const vreal dh = gradient_of_h(step, unit, row, n);
    store_some(row_of(step->dgates, row) + unit, n, rnn_back(y, dh, by));
}

static void rnn_step_back(const struct back_step *step) {
    for_each_unit(step, step->layer->hidden_size, rnn_units_back);
    const struct term dgates = back_term(step, step->layer->hidden_size);
    const struct tiles tiles = back_tiles(step, begin_zero, dgates);
    for_each_tile(&tiles, step->rows, step, step->member);
}

#endif
