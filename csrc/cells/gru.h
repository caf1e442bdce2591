/* r, z = sigmoid of gates + W h;  h = (1 - z) n + z h, with the candidate in one of two forms:
 * GW_GRU               n = tanh(gates + r (W h + bias_hn))
 * GW_GRU_RESET_BEFORE  n = tanh(gates + W (r h))
 */
#ifndef GATEWISE_GRU_H
#define GATEWISE_GRU_H

#include "cells/layer.h"

INLINE vreal gru_mix(vreal z, vreal n, vreal h) { return v_fma(z, h, v_mul(v_sub(v_set(1), z), n)); }

/* The sums of r and z start from the input's share, n's from its own bias. */
static void gru_begin(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                      real *sums) {
    const struct step *step = context;
    const ptrdiff_t unit = block * WIDTH, n = vector_length(p, block, 0);
    for (int r = 0; r < count; r++, sums += 3 * WIDTH) {
        const real *gates = row_of(step->gates, row + r) + unit;
        v_store(sums, load_some(gates, n));
        v_store(sums + WIDTH, load_some(gates + p->units, n));
        v_store(sums + 2 * WIDTH, load_some(step->layer->bias_hn + unit, n));
    }
}

/* After the input's term: n's sum is put aside, and starts anew from its own bias. */
static void gru_between(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                        int count, real *sums) {
    const struct step *step = context;
    const vreal bias = load_some(step->layer->bias_hn + block * WIDTH, vector_length(p, block, 0));
    (void)row;
    for (int r = 0; r < count; r++) {
        v_store(sums + TILE_SIZE + r * WIDTH, v_load(sums + (3 * r + 2) * WIDTH));
        v_store(sums + (3 * r + 2) * WIDTH, bias);
    }
}

INLINE void gru_row(const struct step *step, ptrdiff_t unit, ptrdiff_t row, const real *sums, vreal n_input,
                    ptrdiff_t n) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    const vreal r = v_sigmoid(v_load(sums)), z = v_sigmoid(v_load(sums + WIDTH));
    const vreal hn = v_load(sums + 2 * WIDTH);
    const vreal candidate = v_tanh(v_fma(r, hn, n_input));
    const vreal h = gru_mix(z, candidate, load_some(step->h_before[row] + unit, n));
    store_some(row_of(step->y, row) + unit, n, h);
    if (step->kept.base) {
        real *gates = row_of(step->kept, row) + unit;
        store_some(gates, n, r);
        store_some(gates + hidden_size, n, z);
        store_some(gates + 2 * hidden_size, n, candidate);
        store_some(row_of(step->extra, row) + unit, n, hn);
    }
}

static void gru_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                    real *sums) {
    const struct step *step = context;
    const ptrdiff_t unit = block * WIDTH, n = vector_length(p, block, 0);
    for (int r = 0; r < count; r++) {
        const vreal n_input = step->x_rows ? v_load(sums + TILE_SIZE + r * WIDTH)
                                           : load_some(row_of(step->gates, row + r) + 2 * p->units + unit, n);
        if (n == WIDTH)
            gru_row(step, unit, row + r, sums + 3 * r * WIDTH, n_input, WIDTH);
        else
            gru_row(step, unit, row + r, sums + 3 * r * WIDTH, n_input, n);
    }
}

/* Resetting before: first r, z and r * h of all units. Until n is known, z waits where it is kept, or in
 * the place of its input's share. */
INLINE struct rows gru_z_rows(const struct step *step) {
    const struct rows gates = step->kept.base ? step->kept : step->gates;
    return (struct rows){gates.base + step->layer->hidden_size, gates.stride};
}

static void gru_reset_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                          int count, real *sums) {
    const struct step *step = context;
    const ptrdiff_t unit = block * WIDTH, n = vector_length(p, block, 0);
    for (int k = 0; k < count; k++, sums += 2 * WIDTH) {
        const vreal r = v_sigmoid(v_load(sums)), z = v_sigmoid(v_load(sums + WIDTH));
        store_some(row_of(gru_z_rows(step), row + k) + unit, n, z);
        if (step->kept.base)
            store_some(row_of(step->kept, row + k) + unit, n, r);
        store_some(row_of(step->hidden, row + k) + unit, n,
                   v_mul(r, load_some(step->h_before[row + k] + unit, n)));
    }
}

static void gru_candidate_begin(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                                int count, real *sums) {
    const struct step *step = context;
    const struct rows n_gates = {step->gates.base + 2 * p->units, step->gates.stride};
    load_sums(p, block, n_gates, row, count, sums);
}

static void gru_candidate_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                              int count, real *sums) {
    const struct step *step = context;
    const int vectors = block_vectors(p, block);
    for (int k = 0; k < count; k++) {
        for (int v = 0; v < vectors; v++, sums += WIDTH) {
            const ptrdiff_t unit = vector_offset(p, block, v), n = vector_length(p, block, v);
            const vreal z = load_some(row_of(gru_z_rows(step), row + k) + unit, n);
            const vreal candidate = v_tanh(v_load(sums));
            const vreal h = gru_mix(z, candidate, load_some(step->h_before[row + k] + unit, n));
            store_some(row_of(step->y, row + k) + unit, n, h);
            if (step->kept.base)
                store_some(row_of(step->kept, row + k) + 2 * p->units + unit, n, candidate);
        }
    }
}

static void gru_step(const struct step *step) {
    const gw_packed *layer = step->layer;
    if (layer->cell == GW_GRU) {
        const struct tiles tiles =
            step_tiles(step, step->x_rows ? begin_gates : gru_begin, gru_between, gru_end);
        for_each_tile(&tiles, step->rows, step, step->member);
        return;
    }
    const struct tiles tiles = step_tiles(step, begin_gates, NULL, gru_reset_end);
    for_each_tile(&tiles, step->rows, step, step->member);
    const struct term reset_h = {&layer->candidate, 0, layer->hidden_size, step->hidden_rows};
    const struct tiles candidate = {
        &layer->candidate, 1, {reset_h}, gru_candidate_begin, NULL, gru_candidate_end, step->descending};
    for_each_tile(&candidate, step->rows, step, step->member);
}

/* dz, dn, and where r acts after the product dr and the gradient of its operand; dh keeps only z's share. */
INLINE void gru_row_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    const real *gates = row_of(step->gates, row) + unit;
    real *dgates = row_of(step->dgates, row) + unit;
    real *dh_state = row_of(step->dh, row) + unit;
    const vreal one = v_set(1);
    const vreal z = load_some(gates + hidden_size, n), candidate = load_some(gates + 2 * hidden_size, n);
    const vreal h = load_some(step->before[row] + unit, n);
    const vreal dh = v_add(load_some(dh_state, n), load_some(row_of(step->dy, row) + unit, n));
    const vreal keep = v_sub(one, z);
    const vreal dz = v_mul(v_mul(dh, v_sub(h, candidate)), v_mul(z, keep));
    const vreal dn = v_mul(v_mul(dh, keep), v_fnma(candidate, candidate, one));
    if (step->layer->cell == GW_GRU) {
        const vreal r = load_some(gates, n);
        const vreal dr =
            v_mul(v_mul(dn, load_some(row_of(step->extra, row) + unit, n)), v_mul(r, v_sub(one, r)));
        store_some(dgates, n, dr);
        store_some(row_of(step->dextra, row) + unit, n, v_mul(dn, r));
    } else if (step->dgates.base != step->gates.base) {
        /* dr comes later and needs r, which dgates may have taken the place of. */
        store_some(dgates, n, load_some(gates, n));
    }
    store_some(dgates + hidden_size, n, dz);
    store_some(dgates + 2 * hidden_size, n, dn);
    store_some(dh_state, n, v_mul(dh, z));
}

/* Resetting before: dhidden is the gradient of r * h; dgates holds r where dr is to stand. */
static void gru_reset_back_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                               int count, real *sums) {
    const struct back_step *step = context;
    const int vectors = block_vectors(p, block);
    for (int k = 0; k < count; k++) {
        for (int v = 0; v < vectors; v++, sums += WIDTH) {
            const ptrdiff_t unit = vector_offset(p, block, v), n = vector_length(p, block, v);
            const vreal dhidden = v_load(sums);
            const vreal h = load_some(step->before[row + k] + unit, n);
            real *dr = row_of(step->dgates, row + k) + unit;
            real *dh = row_of(step->dh, row + k) + unit;
            const vreal r = load_some(dr, n);
            store_some(dr, n, v_mul(v_mul(dhidden, h), v_mul(r, v_sub(v_set(1), r))));
            store_some(dh, n, v_fma(dhidden, r, load_some(dh, n)));
        }
    }
}

static void gru_units_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    if (n == WIDTH)
        gru_row_back(step, unit, row, WIDTH);
    else
        gru_row_back(step, unit, row, n);
}

static void gru_step_back(const struct back_step *step) {
    const gw_packed *layer = step->layer;
    for_each_unit(step, layer->hidden_size, gru_units_back);
    if (layer->cell == GW_GRU_RESET_BEFORE) {
        const struct term dn = {&layer->back_candidate, 0, layer->hidden_size, step->dn_rows};
        const struct tiles tiles = {&layer->back_candidate, 1, {dn}, begin_zero, NULL, gru_reset_back_end,
                                    step->descending};
        for_each_tile(&tiles, step->rows, step, step->member);
    }
}

#endif
