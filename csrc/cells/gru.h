/* r, z = sigmoid of gates + W h;  h = (1 - z) n + z h, with the candidate in one of two forms:
 * gru               n = tanh(gates + r (W h + bias_hn))
 * gru_reset_before  n = tanh(gates + W (r h))
 * Sigmoid and tanh may be other activations. The notebook has u = 1 - z.
 */
#ifndef GATEWISE_GRU_H
#define GATEWISE_GRU_H

#include "cells/layer.h"

/* Two values blended by a gate: with z these are h before and n, with u they are n and h before. `rest` is 1 - gate.
 * That z is 1 - u does not help: where it is small, it would have lost most of its digits. */
struct gru_blend {
    vreal gate, rest, value, other;
};

INLINE struct gru_blend gru_blend(vreal gate, vreal value, vreal other) {
    return (struct gru_blend){gate, v_sub(v_set(1), gate), value, other};
}

INLINE vreal gru_h(struct gru_blend b) { return v_fma(b.gate, b.value, v_mul(b.rest, b.other)); }

/* The gradients of the gate's sum and of the two values. */
struct gru_gradients {
    vreal gate, value, other;
};

INLINE struct gru_gradients gru_back(struct gru_blend b, vreal dh, const struct activations *by) {
    return (struct gru_gradients){v_mul(v_mul(dh, v_sub(b.value, b.other)), slope_at(&by->gate, b.gate)),
                                  v_mul(dh, b.gate), v_mul(dh, b.rest)};
}

/* The gradient of the candidate's sum. */
INLINE vreal gru_candidate_back(vreal n, vreal dn, const struct activations *by) {
    return v_mul(dn, slope_at(&by->candidate, n));
}

/* The gradient of r's sum, given that of r times something. */
INLINE vreal gru_reset_back(vreal r, vreal something, vreal dproduct, const struct activations *by) {
    return v_mul(v_mul(dproduct, something), slope_at(&by->gate, r));
}

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

/* The values of a step whose r acts after the product. */
struct gru {
    vreal r, z, candidate, h;
};

/* Of the sums of r and z. */
INLINE struct gru gru_gates(vreal r, vreal z, const struct activations *by) {
    struct gru s;
    if (has_fractions(by)) {
        const vreal r_under = sigmoid_under(r), z_under = sigmoid_under(z);
        const vreal both = v_div(v_set(1), v_mul(r_under, z_under));
        s.r = v_mul(both, z_under);
        s.z = v_mul(both, r_under);
        return s;
    }
    s.r = activate(&by->gate, r);
    s.z = activate(&by->gate, z);
    return s;
}

INLINE vreal gru_candidate(const struct gru *s, vreal hn, vreal n_input, const struct activations *by) {
    const vreal sum = v_fma(s->r, hn, n_input);
    return has_fractions(by) ? v_divided(tanh_fraction(sum)) : activate(&by->candidate, sum);
}

/* Of the sums of r and z, of the recurrent one of n, and of the input's. */
INLINE struct gru gru(vreal r, vreal z, vreal hn, vreal n_input, vreal h_before,
                      const struct activations *by) {
    struct gru s = gru_gates(r, z, by);
    s.candidate = gru_candidate(&s, hn, n_input, by);
    s.h = gru_h(gru_blend(s.z, h_before, s.candidate));
    return s;
}

/* As for an LSTM. */
INLINE void gru_some_rows(const struct step *step, ptrdiff_t unit, ptrdiff_t row, const real *sums,
                          const real *put_aside, ptrdiff_t n, const struct activations *by, const int rows) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    struct gru s[ROWS_OF_GATES];
    vreal hn[ROWS_OF_GATES];
    UNROLL for (int r = 0; r < rows; r++)
        s[r] = gru_gates(v_load(sums + 3 * r * WIDTH), v_load(sums + (3 * r + 1) * WIDTH), by);
    UNROLL for (int r = 0; r < rows; r++) {
        const vreal n_input = put_aside ? v_load(put_aside + r * WIDTH)
                                        : load_some(row_of(step->gates, row + r) + 2 * hidden_size + unit, n);
        hn[r] = v_load(sums + (3 * r + 2) * WIDTH);
        s[r].candidate = gru_candidate(&s[r], hn[r], n_input, by);
    }
    UNROLL for (int r = 0; r < rows; r++)
        s[r].h = gru_h(gru_blend(s[r].z, load_some(step->h_before[row + r] + unit, n), s[r].candidate));
    UNROLL for (int r = 0; r < rows; r++) {
        store_some(row_of(step->y, row + r) + unit, n, s[r].h);
        if (step->kept.base) {
            real *gates = row_of(step->kept, row + r) + unit;
            store_some(gates, n, s[r].r);
            store_some(gates + hidden_size, n, s[r].z);
            store_some(gates + 2 * hidden_size, n, s[r].candidate);
            store_some(row_of(step->extra, row + r) + unit, n, hn[r]);
        }
    }
}

INLINE void gru_rows(const struct step *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                     int count, const real *sums, const struct activations *by) {
    const ptrdiff_t unit = block * WIDTH, n = vector_length(p, block, 0);
    const real *const aside = step->x_rows ? sums + TILE_SIZE : NULL;
    int r = 0;
    for (; are_known(step->layer, by) && n == WIDTH && r + ROWS_OF_GATES <= count; r += ROWS_OF_GATES)
        gru_some_rows(step, unit, row + r, sums + 3 * r * WIDTH, aside ? aside + r * WIDTH : NULL, WIDTH, by,
                      ROWS_OF_GATES);
    for (; r < count; r++) {
        const real *const own = sums + 3 * r * WIDTH, *const own_aside = aside ? aside + r * WIDTH : NULL;
        if (n == WIDTH)
            gru_some_rows(step, unit, row + r, own, own_aside, WIDTH, by, 1);
        else
            gru_some_rows(step, unit, row + r, own, own_aside, n, by, 1);
    }
}

static void gru_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                    real *sums) {
    const struct step *step = context;
    if (are_fractions(step->layer))
        gru_rows(step, p, block, row, count, sums, &FRACTIONS);
    else if (has_standard_gates(step->layer))
        gru_rows(step, p, block, row, count, sums, &STANDARD);
    else
        gru_rows(step, p, block, row, count, sums, &step->layer->activations);
}

/* Resetting before: first r, z and r * h of all units. Until n is known, z waits where it is kept, or in
 * the place of its input's share. */
INLINE struct rows gru_z_rows(const struct step *step) {
    const struct rows gates = step->kept.base ? step->kept : step->gates;
    return (struct rows){gates.base + step->layer->hidden_size, gates.stride};
}

INLINE void gru_reset_rows(const struct step *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                           int count, const real *sums, const struct activations *by) {
    const ptrdiff_t unit = block * WIDTH, n = vector_length(p, block, 0);
    for (int k = 0; k < count; k++, sums += 2 * WIDTH) {
        const vreal r = activate(&by->gate, v_load(sums)), z = activate(&by->gate, v_load(sums + WIDTH));
        store_some(row_of(gru_z_rows(step), row + k) + unit, n, z);
        if (step->kept.base)
            store_some(row_of(step->kept, row + k) + unit, n, r);
        store_some(row_of(step->hidden, row + k) + unit, n,
                   v_mul(r, load_some(step->h_before[row + k] + unit, n)));
    }
}

static void gru_reset_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                          int count, real *sums) {
    const struct step *step = context;
    if (has_standard_gates(step->layer))
        gru_reset_rows(step, p, block, row, count, sums, &STANDARD);
    else
        gru_reset_rows(step, p, block, row, count, sums, &step->layer->activations);
}

static void gru_candidate_begin(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                                int count, real *sums) {
    const struct step *step = context;
    const struct rows n_gates = {step->gates.base + 2 * p->units, step->gates.stride};
    load_sums(p, block, n_gates, row, count, sums);
}

INLINE void gru_candidate_rows(const struct step *step, const struct panels *p, ptrdiff_t block,
                               ptrdiff_t row, int count, const real *sums, const struct activation *by) {
    const int vectors = block_vectors(p, block);
    for (int k = 0; k < count; k++) {
        for (int v = 0; v < vectors; v++, sums += WIDTH) {
            const ptrdiff_t unit = vector_offset(p, block, v), n = vector_length(p, block, v);
            const vreal z = load_some(row_of(gru_z_rows(step), row + k) + unit, n);
            const vreal candidate = activate(by, v_load(sums));
            const vreal h = load_some(step->h_before[row + k] + unit, n);
            store_some(row_of(step->y, row + k) + unit, n, gru_h(gru_blend(z, h, candidate)));
            if (step->kept.base)
                store_some(row_of(step->kept, row + k) + 2 * p->units + unit, n, candidate);
        }
    }
}

static void gru_candidate_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                              int count, real *sums) {
    const struct step *step = context;
    const struct activation *by = &step->layer->activations.candidate;
    if (by->code == TANH)
        gru_candidate_rows(step, p, block, row, count, sums, &STANDARD.candidate);
    else
        gru_candidate_rows(step, p, block, row, count, sums, by);
}

static void gru_step(const struct step *step) {
    const struct tiles tiles = step_tiles(step, step->x_rows ? begin_gates : gru_begin, gru_between, gru_end);
    for_each_tile(&tiles, step->rows, step, step->member);
}

static void gru_reset_before_step(const struct step *step) {
    const gw_packed *layer = step->layer;
    const struct tiles tiles = step_tiles(step, begin_gates, NULL, gru_reset_end);
    for_each_tile(&tiles, step->rows, step, step->member);
    const struct term reset_h = {&layer->candidate, 0, layer->hidden_size, step->hidden_rows};
    const struct tiles candidate = {
        .layout = &layer->candidate,
        .term_count = 1,
        .terms = {reset_h},
        .begin = gru_candidate_begin,
        .end = gru_candidate_end,
        .descending = step->descending,
        .row_space = step->row_space,
    };
    for_each_tile(&candidate, step->rows, step, step->member);
}

/* dz and dn; dh keeps only z's share. `after` is for the GRU whose r acts after the product: dr, and the gradient
 * of what r multiplies. */
INLINE void gru_row_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n,
                         const int after, const struct activations *by) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    const real *gates = row_of(step->gates, row) + unit;
    real *dgates = row_of(step->dgates, row) + unit;
    const vreal candidate = load_some(gates + 2 * hidden_size, n);
    const struct gru_blend blend =
        gru_blend(load_some(gates + hidden_size, n), load_some(step->before[row] + unit, n), candidate);
    const struct gru_gradients d = gru_back(blend, gradient_of_h(step, unit, row, n), by);
    const vreal dn = gru_candidate_back(candidate, d.other, by);
    if (after) {
        const vreal r = load_some(gates, n), hn = load_some(row_of(step->extra, row) + unit, n);
        store_some(dgates, n, gru_reset_back(r, hn, dn, by));
        store_some(row_of(step->dextra, row) + unit, n, v_mul(dn, r));
    } else if (step->dgates.base != step->gates.base) {
        /* dr comes later and needs r, which dgates may have taken the place of. */
        store_some(dgates, n, load_some(gates, n));
    }
    store_some(dgates + hidden_size, n, d.gate);
    store_some(dgates + 2 * hidden_size, n, dn);
    store_some(row_of(step->dh, row) + unit, n, d.value);
}

INLINE void gru_units(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n,
                      const int after) {
    if (!has_standard_gates(step->layer))
        gru_row_back(step, unit, row, n, after, &step->layer->activations);
    else if (n == WIDTH)
        gru_row_back(step, unit, row, WIDTH, after, &STANDARD);
    else
        gru_row_back(step, unit, row, n, after, &STANDARD);
}

static void gru_units_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    gru_units(step, unit, row, n, 1);
}

static void gru_reset_before_units_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row,
                                        ptrdiff_t n) {
    gru_units(step, unit, row, n, 0);
}

static void gru_step_back(const struct back_step *step) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    for_each_unit(step, hidden_size, gru_units_back);
    struct tiles tiles = back_tiles(step, begin_dh, back_term(step, 2 * hidden_size));
    tiles.term_count = 2;
    tiles.terms[1] =
        step->layer->back_candidate.data
            ? (struct term){&step->layer->back_candidate, 0, hidden_size, step->dextra_rows}
            : (struct term){&step->layer->back_recurrent, 2 * hidden_size, hidden_size, step->dextra_rows};
    for_each_tile(&tiles, step->rows, step, step->member);
}

/* Resetting before: the sums are the gradient of r * h; dgates holds r where dr is to stand. */
static void gru_reset_back_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                               int count, real *sums) {
    const struct back_step *step = context;
    const int vectors = block_vectors(p, block);
    for (int k = 0; k < count; k++) {
        for (int v = 0; v < vectors; v++, sums += WIDTH) {
            const ptrdiff_t unit = vector_offset(p, block, v), n = vector_length(p, block, v);
            const vreal dproduct = v_load(sums);
            real *dr = row_of(step->dgates, row + k) + unit;
            real *dh = row_of(step->dh, row + k) + unit;
            const vreal r = load_some(dr, n), h = load_some(step->before[row + k] + unit, n);
            store_some(dr, n, gru_reset_back(r, h, dproduct, &step->layer->activations));
            store_some(dh, n, v_fma(dproduct, r, load_some(dh, n)));
        }
    }
}

static void gru_reset_before_step_back(const struct back_step *step) {
    const gw_packed *layer = step->layer;
    for_each_unit(step, layer->hidden_size, gru_reset_before_units_back);
    const struct term dn = {&layer->back_candidate, 0, layer->hidden_size, step->dn_rows};
    const struct tiles tiles = {
        .layout = &layer->back_candidate,
        .term_count = 1,
        .terms = {dn},
        .begin = begin_zero,
        .end = gru_reset_back_end,
        .descending = step->descending,
        .row_space = step->row_space,
    };
    for_each_tile(&tiles, step->rows, step, step->member);
    const struct tiles last = back_tiles(step, begin_dh, back_term(step, 2 * layer->hidden_size));
    for_each_tile(&last, step->rows, step, step->member);
}

#endif
