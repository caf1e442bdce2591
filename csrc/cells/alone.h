/* Steps of one row alone, whose sums never leave the registers on their way from the product to h.
 *
 * Such a step is over in a tenth of a microsecond, and mostly waits: for the one chain of multiply-adds that each
 * sum is, and for the activations. So there are no calls between the parts of it, up to MOST_BLOCKS blocks of units
 * wait together, and the input's term of the next step, which depends on nothing, fills the gaps. Each sum has the
 * terms of every other kernel, in their order, and so the same bits. */
#ifndef GATEWISE_ALONE_H
#define GATEWISE_ALONE_H

#include "cells/gru.h"
#include "cells/lstm.h"
#include "cells/rnn.h"

/* So many blocks of units have as many sums as keep the multipliers busy; and that the registers hold so many. */
#define MOST_BLOCKS 3
#define BLOCKS_HELD(gates) (MAX_ROWS(MOST_VECTORS) * MOST_VECTORS / (gates))

/* A step of one row. `c` and both `h` have whole vectors. */
struct lone_step {
    const gw_packed *layer;
    int descending; /* the order of the groups */
    /* The inputs or, if NULL, their share of the gates, bias included; and h before, as the format has rows. */
    const void *x_row, *h_row;
    const real *gates, *h_before;
    void *next_row; /* for h as the format has rows, unless it has them as they are */
    real *h, *c;
    real *y, *extra, *kept; /* the last two may be NULL */
};

/* How many of the elements from `unit` on are units. */
INLINE ptrdiff_t units_left(const struct lone_step *step, ptrdiff_t unit) {
    const ptrdiff_t left = step->layer->hidden_size - unit;
    return left < WIDTH ? left : WIDTH;
}

/* Where the sums of `blocks` blocks start from. */
INLINE void start_alone(const struct lone_step *step, ptrdiff_t block, vreal *sum, const int gates,
                        const int blocks) {
    const real *const from = step->x_row ? step->layer->bias : step->gates;
    UNROLL for (int b = 0; b < blocks; b++) {
        const ptrdiff_t unit = (block + b) * WIDTH, n = units_left(step, unit);
        UNROLL for (int g = 0; g < gates; g++)
            sum[b * gates + g] = load_some(from + g * step->layer->hidden_size + unit, n);
    }
}

/* Adds a term to the sums of `blocks` blocks. */
INLINE void add_alone(const struct panels *p, const void *row, ptrdiff_t block, vreal *sum, const int vectors,
                      const int blocks, const int dots) {
#ifdef BFLOAT16_CONDITION
    if (dots) {
        const ptrdiff_t pairs = whole_pairs_of(p->inputs) / 2;
        add_dotted_pairs(row, 0, pairs, dotted_panel(p, block), pairs * vectors * WIDTH * 4, sum, 1, vectors,
                         blocks, vectors);
        return;
    }
#endif
    const real *const values = row;
    const ptrdiff_t inputs = p->inputs;
    (void)dots;
    add_products(&values, inputs, (const real *)p->data + block_offset(p, block, inputs),
                 inputs * vectors * WIDTH, sum, load_full, 1, vectors, blocks);
}

/* Keeps h, rounded too where the next step multiplies that. */
INLINE void keep_h(const struct lone_step *step, ptrdiff_t unit, vreal h, const int dots,
                   const struct activations *by) {
    v_store(step->h + unit, h);
    store_some(step->y + unit, units_left(step, unit), h);
#ifdef BFLOAT16_CONDITION
    if (dots) {
        v_store_bfloat16((uint16_t *)step->next_row + unit, h);
        return;
    }
#endif
    (void)dots;
#if SINGLE
    if (has_fractions(by))
        v_store((real *)step->next_row + unit, v_bfloat16(h));
#else
    (void)by;
#endif
}

INLINE void lstm_alone(const struct lone_step *step, ptrdiff_t block, const int blocks, const int dots,
                       const struct activations *by) {
    const gw_packed *layer = step->layer;
    const ptrdiff_t hidden_size = layer->hidden_size;
    const struct peepholes none = {0};
    vreal sum[4 * MOST_BLOCKS];
    start_alone(step, block, sum, 4, blocks);
    if (step->x_row)
        add_alone(&layer->input, step->x_row, block, sum, 4, blocks, dots);
    add_alone(&layer->recurrent, step->h_row, block, sum, 4, blocks, dots);
    UNROLL for (int b = 0; b < blocks; b++) {
        const ptrdiff_t unit = (block + b) * WIDTH, n = units_left(step, unit);
        const vreal *const of = sum + 4 * b;
        const struct lstm s = lstm(of[0], of[1], of[2], of[3], v_load(step->c + unit), none, by);
        keep_h(step, unit, s.h, dots, by);
        v_store(step->c + unit, s.c);
        if (step->extra)
            store_some(step->extra + unit, n, s.c);
        if (step->kept) {
            real *gates = step->kept + unit;
            store_some(gates, n, s.i);
            store_some(gates + hidden_size, n, s.f);
            store_some(gates + 2 * hidden_size, n, s.g);
            store_some(gates + 3 * hidden_size, n, s.o);
        }
    }
}

INLINE void gru_alone(const struct lone_step *step, ptrdiff_t block, const int blocks, const int dots,
                      const struct activations *by) {
    const gw_packed *layer = step->layer;
    const ptrdiff_t hidden_size = layer->hidden_size;
    vreal sum[3 * MOST_BLOCKS], n_input[MOST_BLOCKS];
    start_alone(step, block, sum, 3, blocks);
    if (step->x_row)
        add_alone(&layer->input, step->x_row, block, sum, 3, blocks, dots);
    UNROLL for (int b = 0; b < blocks; b++) {
        const ptrdiff_t unit = (block + b) * WIDTH;
        n_input[b] = sum[3 * b + 2];
        sum[3 * b + 2] = load_some(layer->bias_hn + unit, units_left(step, unit));
    }
    add_alone(&layer->recurrent, step->h_row, block, sum, 3, blocks, dots);
    UNROLL for (int b = 0; b < blocks; b++) {
        const ptrdiff_t unit = (block + b) * WIDTH, n = units_left(step, unit);
        const struct gru s =
            gru(sum[3 * b], sum[3 * b + 1], sum[3 * b + 2], n_input[b], v_load(step->h_before + unit), by);
        keep_h(step, unit, s.h, dots, by);
        if (step->kept) {
            real *gates = step->kept + unit;
            store_some(gates, n, s.r);
            store_some(gates + hidden_size, n, s.z);
            store_some(gates + 2 * hidden_size, n, s.candidate);
            store_some(step->extra + unit, n, sum[3 * b + 2]);
        }
    }
}

/* One panel of so many vectors. */
INLINE void rnn_alone(const struct lone_step *step, ptrdiff_t block, const int vectors, const int dots,
                      const struct activations *by) {
    const gw_packed *layer = step->layer;
    vreal sum[MOST_VECTORS];
    start_alone(step, block * MOST_VECTORS, sum, 1, vectors);
    if (step->x_row)
        add_alone(&layer->input, step->x_row, block, sum, vectors, 1, dots);
    add_alone(&layer->recurrent, step->h_row, block, sum, vectors, 1, dots);
    UNROLL for (int v = 0; v < vectors; v++) {
        const ptrdiff_t unit = (block * MOST_VECTORS + v) * WIDTH;
        keep_h(step, unit, rnn(sum[v], by), dots, by);
    }
}

typedef void alone_function(const struct lone_step *step, ptrdiff_t block);

/* More blocks than there are registers for are never asked for. */
#define DEFINE_ALONE(cell, count, most, name, dots, by)                                                      \
    static void cell##_alone_##count##name(const struct lone_step *step, ptrdiff_t block) {                  \
        if ((count) <= (most))                                                                               \
            cell##_alone(step, block, count, dots, by);                                                      \
    }
#define DEFINE_ALONES(cell, most, name, dots, by)                                                            \
    DEFINE_ALONE(cell, 1, most, name, dots, by)                                                              \
    DEFINE_ALONE(cell, 2, most, name, dots, by)                                                              \
    DEFINE_ALONE(cell, 3, most, name, dots, by)
#define DEFINE_GATED(name, dots, by)                                                                         \
    DEFINE_ALONES(lstm, BLOCKS_HELD(4), name, dots, by)                                                      \
    DEFINE_ALONES(gru, BLOCKS_HELD(3), name, dots, by)
#define DEFINE_RNNS(name, dots, by)                                                                          \
    DEFINE_ALONES(rnn, MOST_VECTORS, name, dots, by)                                                         \
    DEFINE_ALONE(rnn, 4, MOST_VECTORS, name, dots, by)

DEFINE_GATED(_full, 0, &STANDARD)
DEFINE_RNNS(_full, 0, &STANDARD)
#if SINGLE
DEFINE_GATED(_rounded, 0, &FRACTIONS)
DEFINE_RNNS(_rounded, 0, &FRACTIONS)
#endif
#ifdef BFLOAT16_CONDITION
DEFINE_GATED(_dots, 1, &FRACTIONS)
DEFINE_RNNS(_dots, 1, &FRACTIONS)
#endif

/* How a step multiplies and what its activations are; and by blocks. */
enum { IN_FULL, IN_ROUNDED, IN_DOTS };
#define ALONES(cell, name) {cell##_alone_1##name, cell##_alone_2##name, cell##_alone_3##name}
#define LSTM_ALONES(name) ALONES(lstm, name)
#define GRU_ALONES(name) ALONES(gru, name)
#define RNN_ALONES(name) {rnn_alone_1##name, rnn_alone_2##name, rnn_alone_3##name, rnn_alone_4##name}
#ifdef BFLOAT16_CONDITION
#define WAYS(functions)                                                                                      \
    {[IN_FULL] = functions(_full), [IN_ROUNDED] = functions(_rounded), [IN_DOTS] = functions(_dots)}
#elif SINGLE
#define WAYS(functions) {[IN_FULL] = functions(_full), [IN_ROUNDED] = functions(_rounded)}
#else
#define WAYS(functions) {[IN_FULL] = functions(_full)}
#endif
static alone_function *const lstm_alones[][MOST_BLOCKS] = WAYS(LSTM_ALONES);
static alone_function *const gru_alones[][MOST_BLOCKS] = WAYS(GRU_ALONES);
static alone_function *const rnn_alones[][MOST_VECTORS] = WAYS(RNN_ALONES);

INLINE int way_of(const struct lone_step *step) {
    if (step->layer->recurrent.format->alone == ALONE_IN_DOTS)
        return IN_DOTS;
    return are_fractions(step->layer) ? IN_ROUNDED : IN_FULL;
}

/* All blocks, in groups of about equal numbers. */
INLINE void in_groups(const struct lone_step *step, alone_function *const *functions, ptrdiff_t held) {
    const ptrdiff_t blocks = block_count(&step->layer->recurrent);
    const ptrdiff_t groups = ceiling(blocks, held < MOST_BLOCKS ? held : MOST_BLOCKS);
    for (ptrdiff_t n = 0; n < groups; n++) {
        const ptrdiff_t group = step->descending ? groups - 1 - n : n;
        const ptrdiff_t block = blocks * group / groups, end = blocks * (group + 1) / groups;
        functions[end - block - 1](step, block);
    }
}

static void lstm_step_alone(const struct lone_step *step) {
    in_groups(step, lstm_alones[way_of(step)], BLOCKS_HELD(4));
}

static void gru_step_alone(const struct lone_step *step) {
    in_groups(step, gru_alones[way_of(step)], BLOCKS_HELD(3));
}

static void rnn_step_alone(const struct lone_step *step) {
    const struct panels *p = &step->layer->recurrent;
    const ptrdiff_t blocks = block_count(p);
    for (ptrdiff_t n = 0; n < blocks; n++) {
        const ptrdiff_t block = step->descending ? blocks - 1 - n : n;
        rnn_alones[way_of(step)][block_vectors(p, block) - 1](step, block);
    }
}

#endif
