/* i, f, o = sigmoid, g = tanh of gates + W h (+ peephole * c);  c = f c + i g;  h = o tanh(c). Sigmoid and either
 * tanh may be other activations. */
#ifndef GATEWISE_LSTM_H
#define GATEWISE_LSTM_H

#include "cells/layer.h"

/* The values of a step; c_out is what c is on its way to h, which only the way back has to know. */
struct lstm {
    vreal i, f, g, o, c, c_out, h;
};

/* What the gates' sums have of c, where there are any. */
struct peepholes {
    int exist;
    vreal i, f, o;
};

/* In two divisions: i, f and g are fractions over one product, and o and c on its way to h over another. Between them
 * o is what one is divided by for it. */
INLINE struct lstm lstm_begin(vreal i, vreal f, vreal g, vreal o, vreal c_before,
                              struct peepholes peepholes) {
    struct lstm s;
    if (peepholes.exist) {
        i = v_fma(peepholes.i, c_before, i);
        f = v_fma(peepholes.f, c_before, f);
    }
    const vreal i_under = sigmoid_under(i), f_under = sigmoid_under(f);
    const struct fraction g_parts = tanh_fraction(g);
    const vreal ig_under = v_mul(i_under, g_parts.under);
    const vreal all = v_div(v_set(1), v_mul(ig_under, f_under)), one_over_ig = v_mul(all, f_under);
    s.f = v_mul(all, ig_under);
    s.i = v_mul(one_over_ig, g_parts.under);
    s.g = v_mul(v_mul(one_over_ig, i_under), g_parts.over);
    s.c = v_fma(s.f, c_before, v_mul(one_over_ig, g_parts.over));
    if (peepholes.exist)
        o = v_fma(peepholes.o, s.c, o);
    s.o = sigmoid_under(o);
    return s;
}

INLINE void lstm_finish(struct lstm *s) {
    const struct fraction c_parts = tanh_fraction(s->c);
    const vreal both = v_div(v_set(1), v_mul(s->o, c_parts.under));
    s->c_out = v_mul(v_mul(both, s->o), c_parts.over);
    s->o = v_mul(both, c_parts.under);
    s->h = v_mul(both, c_parts.over);
}

/* Of the gates' sums: all but what c makes of them. */
INLINE struct lstm lstm_state(vreal i, vreal f, vreal g, vreal c_before, struct peepholes peepholes,
                              const struct activations *by) {
    struct lstm s;
    if (peepholes.exist) {
        i = v_fma(peepholes.i, c_before, i);
        f = v_fma(peepholes.f, c_before, f);
    }
    s.i = activate(&by->gate, i);
    s.f = activate(&by->gate, f);
    s.g = activate(&by->candidate, g);
    s.c = v_fma(s.f, c_before, v_mul(s.i, s.g));
    return s;
}

INLINE vreal lstm_o(const struct lstm *s, vreal o, struct peepholes peepholes, const struct activations *by) {
    return activate(&by->gate, peepholes.exist ? v_fma(peepholes.o, s->c, o) : o);
}

INLINE struct lstm lstm(vreal i, vreal f, vreal g, vreal o, vreal c_before, struct peepholes peepholes,
                        const struct activations *by) {
    struct lstm s;
    if (has_fractions(by)) {
        s = lstm_begin(i, f, g, o, c_before, peepholes);
        lstm_finish(&s);
        return s;
    }
    s = lstm_state(i, f, g, c_before, peepholes, by);
    s.o = lstm_o(&s, o, peepholes, by);
    s.c_out = activate(&by->output, s.c);
    s.h = v_mul(s.o, s.c_out);
    return s;
}

/* The gradients of the gates' sums and of c before. */
struct lstm_gradients {
    vreal i, f, g, o, c_before;
};

/* Of the gradients of h, before a projection, and of c. */
INLINE struct lstm_gradients lstm_back(struct lstm s, vreal c_before, vreal dh, vreal dc,
                                       struct peepholes peepholes, const struct activations *by) {
    struct lstm_gradients d;
    d.o = v_mul(v_mul(dh, s.c_out), slope_at(&by->gate, s.o));
    dc = v_fma(v_mul(dh, s.o), slope_at(&by->output, s.c_out), dc);
    if (peepholes.exist)
        dc = v_fma(d.o, peepholes.o, dc);
    d.i = v_mul(v_mul(dc, s.g), slope_at(&by->gate, s.i));
    d.f = v_mul(v_mul(dc, c_before), slope_at(&by->gate, s.f));
    d.g = v_mul(v_mul(dc, s.i), slope_at(&by->candidate, s.g));
    d.c_before = v_mul(dc, s.f);
    if (peepholes.exist) {
        d.c_before = v_fma(d.i, peepholes.i, d.c_before);
        d.c_before = v_fma(d.f, peepholes.f, d.c_before);
    }
    return d;
}

INLINE struct peepholes load_peepholes(const gw_packed *layer, ptrdiff_t unit, ptrdiff_t n) {
    struct peepholes peepholes = {0};
    if (layer->peepholes) {
        const real *peephole = layer->peepholes + unit;
        peepholes.exist = 1;
        peepholes.i = load_some(peephole, n);
        peepholes.f = load_some(peephole + layer->hidden_size, n);
        peepholes.o = load_some(peephole + 2 * layer->hidden_size, n);
    }
    return peepholes;
}

/* Always inlined with a constant `n` for whole vectors, so that these are plain loads and stores. The parts of a row
 * wait for each other, so those of several rows take turns. */
INLINE void lstm_some_rows(const struct step *step, ptrdiff_t unit, ptrdiff_t row, const real *sums,
                           ptrdiff_t n, const struct activations *by, const int rows) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    const struct peepholes peepholes = load_peepholes(step->layer, unit, n);
    const struct rows out = step->hidden.base ? step->hidden : step->y;
    struct lstm s[ROWS_OF_GATES];
    UNROLL for (int r = 0; r < rows; r++) {
        const real *of = sums + 4 * r * WIDTH;
        const real *c_before = step->c_before ? step->c_before[row + r] : row_of(step->c, row + r);
        s[r] = lstm_state(v_load(of), v_load(of + WIDTH), v_load(of + 2 * WIDTH),
                          load_some(c_before + unit, n), peepholes, by);
    }
    UNROLL for (int r = 0; r < rows; r++)
        s[r].o = lstm_o(&s[r], v_load(sums + (4 * r + 3) * WIDTH), peepholes, by);
    UNROLL for (int r = 0; r < rows; r++)
        s[r].c_out = activate(&by->output, s[r].c);
    UNROLL for (int r = 0; r < rows; r++) {
        store_some(row_of(step->c, row + r) + unit, n, s[r].c);
        store_some(row_of(out, row + r) + unit, n, v_mul(s[r].o, s[r].c_out));
        if (step->extra.base)
            store_some(row_of(step->extra, row + r) + unit, n, s[r].c);
        if (step->kept.base) {
            real *gates = row_of(step->kept, row + r) + unit;
            store_some(gates, n, s[r].i);
            store_some(gates + hidden_size, n, s[r].f);
            store_some(gates + 2 * hidden_size, n, s[r].g);
            store_some(gates + 3 * hidden_size, n, s[r].o);
        }
    }
}

INLINE void lstm_rows(const struct step *step, ptrdiff_t unit, ptrdiff_t row, int count, const real *sums,
                      ptrdiff_t n, const struct activations *by) {
    for (; are_known(step->layer, by) && n == WIDTH && count >= ROWS_OF_GATES; count -= ROWS_OF_GATES) {
        lstm_some_rows(step, unit, row, sums, WIDTH, by, ROWS_OF_GATES);
        row += ROWS_OF_GATES;
        sums += ROWS_OF_GATES * 4 * WIDTH;
    }
    for (; count > 0; count--, row++, sums += 4 * WIDTH) {
        if (n == WIDTH)
            lstm_some_rows(step, unit, row, sums, WIDTH, by, 1);
        else
            lstm_some_rows(step, unit, row, sums, n, by, 1);
    }
}

/* All rows as far as their c and then all h, each of which waits for a c: a processor looks ahead by two rows or so. */
INLINE void lstm_rows_begin(const struct step *step, ptrdiff_t unit, ptrdiff_t row, int count, real *sums,
                            ptrdiff_t n) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    for (int r = 0; r < count; r++, sums += 4 * WIDTH) {
        real *c_state = row_of(step->c, row + r) + unit;
        const real *c_before = step->c_before ? step->c_before[row + r] + unit : c_state;
        const struct lstm s =
            lstm_begin(v_load(sums), v_load(sums + WIDTH), v_load(sums + 2 * WIDTH), v_load(sums + 3 * WIDTH),
                       load_some(c_before, n), load_peepholes(step->layer, unit, n));
        store_some(c_state, n, s.c);
        v_store(sums, s.c);
        v_store(sums + WIDTH, s.o);
        if (step->extra.base)
            store_some(row_of(step->extra, row + r) + unit, n, s.c);
        if (step->kept.base) {
            real *gates = row_of(step->kept, row + r) + unit;
            store_some(gates, n, s.i);
            store_some(gates + hidden_size, n, s.f);
            store_some(gates + 2 * hidden_size, n, s.g);
        }
    }
}

INLINE void lstm_rows_finish(const struct step *step, ptrdiff_t unit, ptrdiff_t row, int count,
                             const real *sums, ptrdiff_t n) {
    const struct rows out = step->hidden.base ? step->hidden : step->y;
    for (int r = 0; r < count; r++, sums += 4 * WIDTH) {
        struct lstm s = {.c = v_load(sums), .o = v_load(sums + WIDTH)};
        lstm_finish(&s);
        store_some(row_of(out, row + r) + unit, n, s.h);
        if (step->kept.base)
            store_some(row_of(step->kept, row + r) + unit + 3 * step->layer->hidden_size, n, s.o);
    }
}

INLINE void lstm_rows_of_fractions(const struct step *step, ptrdiff_t unit, ptrdiff_t row, int count,
                                   real *sums, ptrdiff_t n) {
    lstm_rows_begin(step, unit, row, count, sums, n);
    lstm_rows_finish(step, unit, row, count, sums, n);
}

static void lstm_end(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                     real *sums) {
    const struct step *step = context;
    const ptrdiff_t n = vector_length(p, block, 0);
    if (are_fractions(step->layer) && n == WIDTH)
        lstm_rows_of_fractions(step, block * WIDTH, row, count, sums, WIDTH);
    else if (are_fractions(step->layer))
        lstm_rows_of_fractions(step, block * WIDTH, row, count, sums, n);
    else if (is_standard(step->layer))
        lstm_rows(step, block * WIDTH, row, count, sums, n, &STANDARD);
    else
        lstm_rows(step, block * WIDTH, row, count, sums, n, &step->layer->activations);
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
        const struct tiles projection = {
            .layout = &layer->projection,
            .term_count = 1,
            .terms = {hidden},
            .begin = begin_zero,
            .end = store_y,
            .descending = step->descending,
            .row_space = step->row_space,
        };
        for_each_tile(&projection, step->rows, step, step->member);
    }
}

/* Everything but the recurrent product; `dhidden` is the gradient of h before the projection. */
INLINE void lstm_row_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n,
                          const struct activations *by) {
    const ptrdiff_t hidden_size = step->layer->hidden_size;
    const real *gates = row_of(step->gates, row) + unit;
    real *dgates = row_of(step->dgates, row) + unit, *dc_state = row_of(step->dc, row) + unit;
    struct lstm s = {load_some(gates, n),
                     load_some(gates + hidden_size, n),
                     load_some(gates + 2 * hidden_size, n),
                     load_some(gates + 3 * hidden_size, n),
                     load_some(row_of(step->extra, row) + unit, n),
                     v_set(0),
                     v_set(0)};
    s.c_out = activate(&by->output, s.c);
    const vreal dhidden = step->layer->projection.data ? load_some(row_of(step->dhidden, row) + unit, n)
                                                       : gradient_of_h(step, unit, row, n);
    const struct lstm_gradients d =
        lstm_back(s, load_some(step->before[row] + unit, n), dhidden, load_some(dc_state, n),
                  load_peepholes(step->layer, unit, n), by);
    store_some(dc_state, n, d.c_before);
    store_some(dgates, n, d.i);
    store_some(dgates + hidden_size, n, d.f);
    store_some(dgates + 2 * hidden_size, n, d.g);
    store_some(dgates + 3 * hidden_size, n, d.o);
}

static void store_dhidden(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                          real *sums) {
    store_sums(p, block, ((const struct back_step *)step)->dhidden, row, count, sums);
}

/* The gradient of the whole output of a step, which the projection's gradient needs. */
static void lstm_output_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    store_some(row_of(step->dextra, row) + unit, n, gradient_of_h(step, unit, row, n));
}

static void lstm_units_back(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    if (!is_standard(step->layer))
        lstm_row_back(step, unit, row, n, &step->layer->activations);
    else if (n == WIDTH)
        lstm_row_back(step, unit, row, WIDTH, &STANDARD);
    else
        lstm_row_back(step, unit, row, n, &STANDARD);
}

static void lstm_step_back(const struct back_step *step) {
    const gw_packed *layer = step->layer;
    if (layer->projection.data) {
        for_each_unit(step, layer->output_size, lstm_output_back);
        const struct term dy = {&layer->back_projection, 0, layer->output_size, step->dextra_rows};
        const struct tiles tiles = {
            .layout = &layer->back_projection,
            .term_count = 1,
            .terms = {dy},
            .begin = begin_zero,
            .end = store_dhidden,
            .descending = step->descending,
            .row_space = step->row_space,
        };
        for_each_tile(&tiles, step->rows, step, step->member);
    }
    for_each_unit(step, layer->hidden_size, lstm_units_back);
    const struct tiles tiles = back_tiles(step, begin_zero, back_term(step, 4 * layer->hidden_size));
    for_each_tile(&tiles, step->rows, step, step->member);
}

#endif
