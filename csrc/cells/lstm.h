/* i, f, o = sigmoid, g = tanh of gates + W h (+ peephole * c);  c = f c + i g;  h = o tanh(c). */
#ifndef GATEWISE_LSTM_H
#define GATEWISE_LSTM_H

#include "cells/layer.h"

/* Always inlined with a constant `n` for whole vectors, so that these are plain loads and stores. */
INLINE void lstm_row(const struct step *step, ptrdiff_t unit, ptrdiff_t row, const real *sums, ptrdiff_t n) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    const real *peephole = step->layer->peepholes;
    real *c_state = row_of(step->c, row) + unit;
    vreal i = v_load(sums), f = v_load(sums + WIDTH), g = v_load(sums + 2 * WIDTH),
          o = v_load(sums + 3 * WIDTH);
    const vreal c_before = load_some(c_state, n);
    if (peephole) {
        i = v_fma(load_some(peephole + unit, n), c_before, i);
        f = v_fma(load_some(peephole + hidden_size + unit, n), c_before, f);
    }
    i = v_sigmoid(i);
    f = v_sigmoid(f);
    g = v_tanh(g);
    const vreal c = v_fma(f, c_before, v_mul(i, g));
    if (peephole)
        o = v_fma(load_some(peephole + 2 * hidden_size + unit, n), c, o);
    o = v_sigmoid(o);
    const vreal h = v_mul(o, v_tanh(c));
    store_some(c_state, n, c);
    store_some(row_of(step->hidden.base ? step->hidden : step->y, row) + unit, n, h);
    if (step->extra.base)
        store_some(row_of(step->extra, row) + unit, n, c);
    if (step->kept.base) {
        real *gates = row_of(step->kept, row) + unit;
        store_some(gates, n, i);
        store_some(gates + hidden_size, n, f);
        store_some(gates + 2 * hidden_size, n, g);
        store_some(gates + 3 * hidden_size, n, o);
    }
}

static void lstm_end(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                     real *sums) {
    const ptrdiff_t n = vector_length(p, block, 0);
    for (int r = 0; r < count; r++, sums += 4 * WIDTH) {
        if (n == WIDTH)
            lstm_row(step, block * WIDTH, row + r, sums, WIDTH);
        else
            lstm_row(step, block * WIDTH, row + r, sums, n);
    }
}

static void store_y(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                    real *sums) {
    store_sums(p, block, ((const struct step *)step)->y, row, count, sums);
}

static void lstm_step(const struct step *step) {
    const gw_packed *layer = step->layer;
    const struct tiles tiles = step_tiles(step, begin_gates, NULL, lstm_end);
    for_each_tile(&tiles, step->rows, step, step->member);
    if (layer->projection.data) {
        const struct term hidden = {&layer->projection, 0, layer->hidden_size, step->hidden_rows};
        const struct tiles projection = {&layer->projection, 1, {hidden}, begin_zero, NULL, store_y,
                                         step->descending};
        for_each_tile(&projection, step->rows, step, step->member);
    }
}

/* Everything but the recurrent product; `dhidden` is the gradient of o tanh(c). */
INLINE void lstm_row_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    const real *peephole = step->layer->peepholes;
    const real *gates = row_of(step->gates, row) + unit;
    real *dgates = row_of(step->dgates, row) + unit;
    const vreal one = v_set(1);
    const vreal i = load_some(gates, n), f = load_some(gates + hidden_size, n);
    const vreal g = load_some(gates + 2 * hidden_size, n), o = load_some(gates + 3 * hidden_size, n);
    const vreal c_before = load_some(step->before[row] + unit, n);
    const vreal tanh_c = v_tanh(load_some(row_of(step->extra, row) + unit, n));
    const vreal dhidden = step->layer->projection.data ? load_some(row_of(step->dhidden, row) + unit, n)
                                                       : v_add(load_some(row_of(step->dh, row) + unit, n),
                                                               load_some(row_of(step->dy, row) + unit, n));
    const vreal d_o = v_mul(v_mul(dhidden, tanh_c), v_mul(o, v_sub(one, o)));
    vreal dc =
        v_fma(v_mul(dhidden, o), v_fnma(tanh_c, tanh_c, one), load_some(row_of(step->dc, row) + unit, n));
    if (peephole)
        dc = v_fma(d_o, load_some(peephole + 2 * hidden_size + unit, n), dc);
    const vreal d_i = v_mul(v_mul(dc, g), v_mul(i, v_sub(one, i)));
    const vreal d_f = v_mul(v_mul(dc, c_before), v_mul(f, v_sub(one, f)));
    const vreal d_g = v_mul(v_mul(dc, i), v_fnma(g, g, one));
    vreal dc_before = v_mul(dc, f);
    if (peephole) {
        dc_before = v_fma(d_i, load_some(peephole + unit, n), dc_before);
        dc_before = v_fma(d_f, load_some(peephole + hidden_size + unit, n), dc_before);
    }
    store_some(row_of(step->dc, row) + unit, n, dc_before);
    store_some(dgates, n, d_i);
    store_some(dgates + hidden_size, n, d_f);
    store_some(dgates + 2 * hidden_size, n, d_g);
    store_some(dgates + 3 * hidden_size, n, d_o);
}

static void store_dhidden(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                          real *sums) {
    store_sums(p, block, ((const struct back_step *)step)->dhidden, row, count, sums);
}

/* The gradient of the whole output of a step, which the projection's gradient needs. */
static void lstm_output_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    store_some(row_of(step->dextra, row) + unit, n,
               v_add(load_some(row_of(step->dh, row) + unit, n), load_some(row_of(step->dy, row) + unit, n)));
}

static void lstm_units_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    if (n == WIDTH)
        lstm_row_back(step, unit, row, WIDTH);
    else
        lstm_row_back(step, unit, row, n);
}

static void lstm_step_back(const struct back_step *step) {
    const gw_packed *layer = step->layer;
    if (layer->projection.data) {
        for_each_unit(step, layer->output_size, lstm_output_back);
        const struct term dy = {&layer->back_projection, 0, layer->output_size, step->dextra_rows};
        const struct tiles tiles = {&layer->back_projection, 1, {dy}, begin_zero, NULL, store_dhidden,
                                    step->descending};
        for_each_tile(&tiles, step->rows, step, step->member);
    }
    for_each_unit(step, layer->hidden_size, lstm_units_back);
}

#endif
