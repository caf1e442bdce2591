/* The notebook's cells over time, forward and back, on the notebook's own arrays. */
#ifndef GATEWISE_COLUMNS_LOOPS_H
#define GATEWISE_COLUMNS_LOOPS_H

#include "cells/table.h"

/* out (n_y, m) = softmax(w a + bias), over each column. */
static void predict(const gw_columns *c, const real *a, real *out, gw_watch *watch) {
    multiply_columns(c->n_y, c->n_a, c->m, (struct strided){c->w_y, c->n_a, 1}, a, c->b_y, out, watch);
    if (c->n_y == 0)
        return;
    const ptrdiff_t work = c->n_y * WIDTH * ELEMENT_WORK;
    for (ptrdiff_t column = 0; column < c->m && gw_goes_on(watch, work); column += WIDTH) {
        const ptrdiff_t n = c->m - column < WIDTH ? c->m - column : WIDTH;
        vreal largest = load_some(out + column, n), sum = v_set(0);
        for (ptrdiff_t row = 1; row < c->n_y; row++)
            largest = v_max(largest, load_some(out + row * c->m + column, n));
        for (ptrdiff_t row = 0; row < c->n_y; row++) {
            real *scores = out + row * c->m + column;
            const vreal exponential = v_exp(v_sub(load_some(scores, n), largest));
            sum = v_add(sum, exponential);
            store_some(scores, n, exponential);
        }
        for (ptrdiff_t row = 0; row < c->n_y; row++) {
            real *scores = out + row * c->m + column;
            store_some(scores, n, v_div(load_some(scores, n), sum));
        }
    }
}

/* Step t of a run. */
static gw_columns_step step_of(const struct cell *cell, const gw_columns *columns, const gw_columns_run *run,
                               ptrdiff_t t) {
    const ptrdiff_t size = state_size(columns);
    const int states = 1 + cell->has_c, gates = cell->keeps_gates ? cell->gates : 0;
    real *values = (real *)run->values + t * (states + gates) * size;
    gw_columns_step step = {.xt = (const real *)run->x + t * columns->n_x * columns->m};
    for (int k = 0; k < states; k++) {
        step.before[k] = t ? values + (k - states - gates) * size : run->initial[k];
        step.after[k] = values + k * size;
    }
    for (int k = 0; k < gates; k++)
        step.gates[k] = values + (states + k) * size;
    return step;
}

static gw_status columns_forward(const gw_columns *columns, const gw_columns_run *run, void *predictions) {
    const struct cell *cell = find_cell(columns->cell);
    if (!cell || !cell->columns)
        return GW_UNKNOWN;
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    for (ptrdiff_t t = 0; t < run->time && gw_goes_on(&watch, 0); t++) {
        const gw_columns_step step = step_of(cell, columns, run, t);
        const struct columns_job job = {.columns = columns, .step = &step, .watch = &watch};
        cell->columns(&job);
        predict(columns, step.after[0], (real *)predictions + t * columns->n_y * columns->m, &watch);
    }
    return gw_close(&call, GW_OK);
}

/* Memory for one step back after another; NULL where there is none. `dc` is of an LSTM, and zero. */
static real *new_scratch(const gw_columns *columns, struct columns_scratch *scratch, real **dc) {
    const size_t size = (size_t)state_size(columns);
    const size_t stack = (size_t)((columns->n_a + columns->n_x) * columns->m);
    real *memory = gw_allocate(((GW_MOST_GATES + 3) * size + 2 * stack) * sizeof(real));
    if (!memory)
        return NULL;
    real *next = memory;
    for (int k = 0; k < GW_MOST_GATES; k++, next += size)
        scratch->dz[k] = next;
    scratch->reset = next;
    scratch->dreset = next + size;
    *dc = next + 2 * size;
    memset(*dc, 0, size * sizeof(real));
    scratch->stack = next + 3 * size;
    scratch->reset_stack = scratch->stack + stack;
    return memory;
}

static gw_status columns_step_back(const gw_columns *columns, const gw_columns_step *step,
                                   const gw_columns_gradients *gradients) {
    const struct cell *cell = find_cell(columns->cell);
    if (!cell || !cell->columns_back)
        return GW_UNKNOWN;
    struct columns_job job = {.columns = columns, .step = step, .gradients = gradients};
    real *dc, *memory = new_scratch(columns, &job.scratch, &dc);
    if (!memory)
        return GW_NO_MEMORY;
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    job.watch = &watch;
    cell->columns_back(&job);
    gw_free(memory);
    return gw_close(&call, GW_OK);
}

static gw_status columns_back(const gw_columns *columns, const gw_columns_run *run, void *da, void *dx,
                              void *da_initial, void *const *dparameters) {
    const struct cell *cell = find_cell(columns->cell);
    if (!cell || !cell->columns_back)
        return GW_UNKNOWN;
    struct columns_job job = {.columns = columns};
    real *dc, *memory = new_scratch(columns, &job.scratch, &dc);
    if (!memory)
        return GW_NO_MEMORY;
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    job.watch = &watch;
    for (ptrdiff_t t = run->time - 1; t >= 0 && gw_goes_on(&watch, 0); t--) {
        const gw_columns_step step = step_of(cell, columns, run, t);
        /* What a step hands on is added to the gradient that the step before it has already. */
        real *da_after = (real *)da + t * state_size(columns);
        gw_columns_gradients gradients = {
            .after = {da_after, dc},
            .xt = (real *)dx + t * columns->n_x * columns->m,
            .before = {t ? da_after - state_size(columns) : da_initial, dc},
        };
        memcpy(gradients.parameters, dparameters, sizeof gradients.parameters);
        job.step = &step;
        job.gradients = &gradients;
        cell->columns_back(&job);
    }
    gw_free(memory);
    return gw_close(&call, GW_OK);
}

#endif
