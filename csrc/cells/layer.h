/* One direction of one layer's packed weights, and what a time step works on. */
#ifndef GATEWISE_LAYER_H
#define GATEWISE_LAYER_H

#include "products/tiles.h"
#include "vectors/fractions.h"

/* So many rows' gates are computed side by side. */
#define ROWS_OF_GATES 3

struct step;
struct lone_step;
struct back_step;
struct columns_job;

/* What the loops have to know of a cell: an entry of the table in cells/table.h. */
struct cell {
    const char *name;
    int gates;
    int has_c;       /* beside h, as the LSTM's state has */
    int keeps_gates; /* for the way back, for which an RNN's outputs are enough */
    /* Whether the last gate is a candidate whose recurrent weights multiply what the other gates have made of h.
     * These then have panels of their own, and the input's term comes as its share of the gates. */
    int has_hidden_product;
    void (*forward)(const struct step *step);
    /* A step of one row alone, with standard activations and no options; or NULL. */
    void (*forward_alone)(const struct lone_step *step);
    void (*back)(const struct back_step *step);
    /* On the notebook's arrays; NULL for a cell that the notebook does not have. */
    void (*columns)(const struct columns_job *job);
    void (*columns_back)(const struct columns_job *job);
};

struct gw_packed {
    const struct cell *cell;
    struct activations activations;
    ptrdiff_t input_size, hidden_size, output_size;
    struct panels input, recurrent;
    struct panels candidate;  /* of a cell with a hidden product */
    struct panels projection; /* LSTM with w_hr */
    real *bias, *bias_hn, *peepholes;
    /* For the way back, made by prepare_backward: the weights transposed. */
    struct panels back_input, back_recurrent, back_candidate, back_projection;
};

/* What one step of the forward pass reads and writes. Absent rows have a base of NULL. */
struct step {
    const gw_packed *layer;
    gw_member *member;
    int descending;
    ptrdiff_t rows;
    struct rows gates; /* the input's share, bias included, unless x_rows gives the inputs themselves */
    struct rows kept;  /* where the gates' values go, in training */
    const real *const *x_rows;
    const real *const *h_before; /* where each row's h of the step before is */
    struct rows c;               /* the LSTM's state, in place */
    /* Where each row's c of the step before is, in a step in which some rows start anew; or NULL. */
    const real *const *c_before;
    struct rows y, extra;
    struct rows hidden; /* h before the projection, or what a hidden product multiplies */
    const real *const *hidden_rows;
    struct row_space row_space;
};

/* What one step of the backward pass reads and writes. */
struct back_step {
    const gw_packed *layer;
    gw_member *member;
    int descending;
    ptrdiff_t rows;
    struct rows gates, extra, y, dy;
    const real *const *before;     /* what the step started from: the LSTM's c, everybody else's h */
    struct rows dh, dc;            /* in: gradients of what the step left; out: of what it started from */
    struct rows dgates, dextra;    /* dgates may be gates */
    struct rows dhidden;           /* scratch: gradient of `hidden` above */
    const real *const *dgate_rows; /* the rows of dgates, of the n part of dgates, and of dextra */
    const real *const *dn_rows;
    const real *const *dextra_rows;
    const uint8_t *resets;     /* which rows start anew: a byte for each, or NULL where none does */
    const struct ahead *ahead; /* or NULL */
    struct row_space row_space;
};

/* The work of a step back that stands outside the products, for one vector of units of one row or, where the
 * units end, for the first `n` of a vector. */
typedef void unit_function(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n);

/* What that takes for one unit, in multiply-adds. */
#define UNIT_WORK 32

struct unit_job {
    const struct back_step *step;
    ptrdiff_t units;
    unit_function *run;
};

static void run_units(const void *context, int index, int count, gw_watch *watch) {
    const struct unit_job *job = context;
    const ptrdiff_t vectors = ceiling(job->units, WIDTH);
    const ptrdiff_t first = vectors * index / count, end = vectors * (index + 1) / count;
    const ptrdiff_t work = (end - first) * WIDTH * UNIT_WORK;
    for (ptrdiff_t row = 0; row < job->step->rows && gw_goes_on(watch, work); row++) {
        for (ptrdiff_t vector = first; vector < end; vector++) {
            const ptrdiff_t unit = vector * WIDTH, left = job->units - unit;
            job->run(job->step, unit, row, left < WIDTH ? left : WIDTH);
        }
    }
}

/* The members share the units. */
INLINE void for_each_unit(const struct back_step *step, ptrdiff_t units, unit_function *run) {
    const struct unit_job job = {step, units, run};
    gw_run_shares(step->member, run_units, &job);
}

INLINE void begin_zero(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                       real *sums) {
    (void)step, (void)row;
    memset(sums, 0, (size_t)(count * block_vectors(p, block) * WIDTH) * sizeof(real));
}

/* Whether gates and candidate are what the compiler knows beforehand. */
INLINE int has_standard_gates(const gw_packed *layer) {
    return layer->activations.gate.code == SIGMOID && layer->activations.candidate.code == TANH;
}

/* The same of all activations that the cell has. */
INLINE int is_standard(const gw_packed *layer) {
    const struct activations *by = &layer->activations;
    if (layer->cell->gates > 1 && !has_standard_gates(layer))
        return 0;
    return by->candidate.code == TANH && (!layer->cell->has_c || by->output.code == TANH);
}

/* Whether activations are known to the compiler, and so are short. */
INLINE int are_known(const gw_packed *layer, const struct activations *by) {
    return by != &layer->activations;
}

INLINE int are_fractions(const gw_packed *layer) { return has_fractions(&layer->activations); }

/* What a step's h is given by the step after it and by its own output. */
INLINE vreal gradient_of_h(const struct back_step *step, ptrdiff_t unit, ptrdiff_t row, ptrdiff_t n) {
    return v_add(load_some(row_of(step->dh, row) + unit, n), load_some(row_of(step->dy, row) + unit, n));
}

static void begin_dh(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                     real *sums) {
    load_sums(p, block, ((const struct back_step *)step)->dh, row, count, sums);
}

static void store_dh(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                     real *sums) {
    store_sums(p, block, ((const struct back_step *)step)->dh, row, count, sums);
}

/* What the first `columns` gradients of the gates give h, and the product that writes it. */
INLINE struct term back_term(const struct back_step *step, ptrdiff_t columns) {
    return (struct term){&step->layer->back_recurrent, 0, columns, step->dgate_rows};
}

INLINE struct tiles back_tiles(const struct back_step *step, tile_function *begin, struct term dgates) {
    return (struct tiles){.layout = &step->layer->back_recurrent,
                          .term_count = 1,
                          .terms = {dgates},
                          .begin = begin,
                          .end = store_dh,
                          .descending = step->descending,
                          .ahead = step->ahead,
                          .row_space = step->row_space};
}

/* The sums start from the input's share, or from the bias if the inputs are still to be multiplied. */
INLINE struct rows gate_starts(const struct step *step) {
    return step->x_rows ? (struct rows){step->layer->bias, 0} : step->gates;
}

static void begin_gates(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                        int count, real *sums) {
    load_sums(p, block, gate_starts(context), row, count, sums);
}

/* The product of a step: the input's term if it is still to be added, and that of the state before. */
INLINE struct tiles step_tiles(const struct step *step, tile_function *begin, tile_function *between,
                               tile_function *end) {
    const gw_packed *layer = step->layer;
    const struct term h = {&layer->recurrent, 0, layer->output_size, step->h_before};
    struct tiles tiles = {.layout = &layer->recurrent,
                          .term_count = 1,
                          .terms = {h},
                          .begin = begin,
                          .end = end,
                          .descending = step->descending,
                          .row_space = step->row_space};
    if (step->x_rows) {
        tiles.terms[0] = (struct term){&layer->input, 0, layer->input_size, step->x_rows};
        tiles.terms[tiles.term_count++] = h;
        tiles.between = between;
    }
    if (begin == begin_gates)
        tiles.from = gate_starts(step);
    return tiles;
}

#endif
