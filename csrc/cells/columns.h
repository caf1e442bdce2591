/* One step of the notebook's cells, forward and back, on the notebook's own arrays: a row for each feature, a
 * column for each example, everything contiguous. For a single step this is less work than to bring weights
 * and rows into the form that the time loops run on. */
#ifndef GATEWISE_COLUMNS_H
#define GATEWISE_COLUMNS_H

#include "cells/gru.h"
#include "cells/lstm.h"
#include "cells/rnn.h"
#include "products/elements.h"

/* A matrix: how far apart the neighbours in a column and those in a row are. */
struct strided {
    const real *data;
    ptrdiff_t row, column;
};

/* out (rows, columns) = bias + a (rows, inner) b (inner, columns), for the `n` columns of one vector. Without a
 * bias, which is one number for each row, it adds to out. */
INLINE void multiply_tile(ptrdiff_t inner, ptrdiff_t columns, struct strided a, const real *b,
                          const real *bias, real *out, ptrdiff_t n, const int rows) {
    vreal sum[8];
    UNROLL for (int r = 0; r < rows; r++)
        sum[r] = bias ? v_set(bias[r]) : load_some(out + r * columns, n);
    for (ptrdiff_t k = 0; k < inner; k++) {
        const vreal x = load_some(b + k * columns, n);
        UNROLL for (int r = 0; r < rows; r++)
            sum[r] = v_fma(v_set(a.data[r * a.row + k * a.column]), x, sum[r]);
    }
    UNROLL for (int r = 0; r < rows; r++)
        store_some(out + r * columns, n, sum[r]);
}

/* Once, and not at each of its many callers, since that is much code for nothing. */
NOINLINE void multiply_columns(ptrdiff_t rows, ptrdiff_t inner, ptrdiff_t columns, struct strided a,
                               const real *b, const real *bias, real *out, gw_watch *watch) {
    /* Most are so small that announcing their tiles would take part of the time. */
    const int is_long = rows * inner * columns > GW_LOOK_WORK;
    if (!gw_goes_on(watch, is_long ? 0 : rows * inner * columns))
        return;
    for (ptrdiff_t column = 0; column < columns; column += WIDTH) {
        const ptrdiff_t n = columns - column < WIDTH ? columns - column : WIDTH;
        for (ptrdiff_t row = 0, count; row < rows; row += count) {
            const struct strided part = {a.data + row * a.row, a.row, a.column};
            const real *start = bias ? bias + row : NULL;
            real *target = out + row * columns + column;
            count = rows - row >= 8 ? 8 : rows - row >= 4 ? 4 : 1;
            if (is_long && !gw_goes_on(watch, inner * count * WIDTH))
                return;
            if (count == 8)
                multiply_tile(inner, columns, part, b + column, start, target, n, 8);
            else if (count == 4)
                multiply_tile(inner, columns, part, b + column, start, target, n, 4);
            else
                multiply_tile(inner, columns, part, b + column, start, target, n, 1);
        }
    }
}

/* What moving an element takes, in multiply-adds. */
#define COPY_WORK 8

static void transpose(const real *from, ptrdiff_t rows, ptrdiff_t columns, real *to, ptrdiff_t to_row,
                      gw_watch *watch) {
    if (!gw_goes_on(watch, rows * columns * COPY_WORK))
        return;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t column = 0; column < columns; column++)
            to[column * to_row + row] = from[row * columns + column];
}

static void add_rows(const real *from, ptrdiff_t rows, ptrdiff_t columns, real *sums, gw_watch *watch) {
    if (!gw_goes_on(watch, rows * columns * COPY_WORK))
        return;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t column = 0; column < columns; column++)
            sums[row] += from[row * columns + column];
}

/* One step, and on the way back its gradients and some scratch. */
struct columns_job {
    const gw_columns *columns;
    const gw_columns_step *step;
    const gw_columns_gradients *gradients;
    struct columns_scratch {
        real *dz[GW_MOST_GATES], *reset, *dreset;
        real *stack, *reset_stack; /* [a; x] and [r * a; x], transposed */
    } scratch;
    gw_watch *watch;
};

/* The elements of an array (n_a, m). */
INLINE ptrdiff_t state_size(const gw_columns *columns) { return columns->n_a * columns->m; }

INLINE vreal get(const void *array, ptrdiff_t k, ptrdiff_t n) {
    return load_some((const real *)array + k, n);
}

INLINE void put(void *array, ptrdiff_t k, ptrdiff_t n, vreal values) {
    store_some((real *)array + k, n, values);
}

INLINE void add_to(void *array, ptrdiff_t k, ptrdiff_t n, vreal values) {
    put(array, k, n, v_add(get(array, k, n), values));
}

INLINE void for_each_value(vector_function run, const struct columns_job *job) {
    for_each_vector(run, job, state_size(job->columns), job->watch);
}

/* out (n_a, m) = w [a; x] + bias; w's rows hold the weights of a before those of x. The bias is the parameter
 * after w. */
static void gate(const struct columns_job *job, int parameter, const void *a, void *out) {
    const gw_columns *c = job->columns;
    const ptrdiff_t inputs = c->n_a + c->n_x;
    const real *w = c->parameters[parameter];
    multiply_columns(c->n_a, c->n_a, c->m, (struct strided){w, inputs, 1}, a, c->parameters[parameter + 1],
                     out, job->watch);
    multiply_columns(c->n_a, c->n_x, c->m, (struct strided){w + c->n_a, inputs, 1}, job->step->xt, NULL, out,
                     job->watch);
}

/* Adds to dw (n_a, n_a + n_x) dz stack, to db (n_a, 1) the sums of dz, and what dz hands on to a and x. */
static void gate_back(const struct columns_job *job, int parameter, const real *dz, const real *stack,
                      void *da) {
    const gw_columns *c = job->columns;
    const ptrdiff_t inputs = c->n_a + c->n_x;
    const real *w = c->parameters[parameter];
    void *const *gradients = job->gradients->parameters;
    multiply_columns(c->n_a, c->m, inputs, (struct strided){dz, c->m, 1}, stack, NULL, gradients[parameter],
                     job->watch);
    add_rows(dz, c->n_a, c->m, gradients[parameter + 1], job->watch);
    multiply_columns(c->n_a, c->n_a, c->m, (struct strided){w, 1, inputs}, dz, NULL, da, job->watch);
    multiply_columns(c->n_x, c->n_a, c->m, (struct strided){w + c->n_a, 1, inputs}, dz, NULL,
                     job->gradients->xt, job->watch);
}

static void make_stack(const struct columns_job *job, const void *a, real *stack) {
    const gw_columns *c = job->columns;
    transpose(a, c->n_a, c->m, stack, c->n_a + c->n_x, job->watch);
    transpose(job->step->xt, c->n_x, c->m, stack + c->n_a, c->n_a + c->n_x, job->watch);
}

/* The notebook's order of parameters. */
enum { RNN_W_AX, RNN_W_AA, RNN_B_A };

INLINE void rnn_values(const void *context, ptrdiff_t k, ptrdiff_t n) {
    void *a_next = ((const struct columns_job *)context)->step->after[0];
    put(a_next, k, n, rnn(get(a_next, k, n), &STANDARD));
}

static void rnn_columns(const struct columns_job *job) {
    const gw_columns *c = job->columns;
    const gw_columns_step *step = job->step;
    const void *const *parameters = c->parameters;
    multiply_columns(c->n_a, c->n_a, c->m, (struct strided){parameters[RNN_W_AA], c->n_a, 1}, step->before[0],
                     parameters[RNN_B_A], step->after[0], job->watch);
    multiply_columns(c->n_a, c->n_x, c->m, (struct strided){parameters[RNN_W_AX], c->n_x, 1}, step->xt, NULL,
                     step->after[0], job->watch);
    for_each_value(rnn_values, job);
}

INLINE void rnn_values_back(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const struct columns_job *job = context;
    const vreal a_next = get(job->step->after[0], k, n), da_next = get(job->gradients->after[0], k, n);
    put(job->scratch.dz[0], k, n, rnn_back(a_next, da_next, &STANDARD.candidate));
}

static void rnn_columns_back(const struct columns_job *job) {
    const gw_columns *c = job->columns;
    const gw_columns_step *step = job->step;
    const gw_columns_gradients *gradients = job->gradients;
    const real *dz = job->scratch.dz[0];
    real *transposed = job->scratch.stack;
    for_each_value(rnn_values_back, job);
    multiply_columns(c->n_x, c->n_a, c->m, (struct strided){c->parameters[RNN_W_AX], 1, c->n_x}, dz, NULL,
                     gradients->xt, job->watch);
    multiply_columns(c->n_a, c->n_a, c->m, (struct strided){c->parameters[RNN_W_AA], 1, c->n_a}, dz, NULL,
                     gradients->before[0], job->watch);
    transpose(step->xt, c->n_x, c->m, transposed, c->n_x, job->watch);
    multiply_columns(c->n_a, c->m, c->n_x, (struct strided){dz, c->m, 1}, transposed, NULL,
                     gradients->parameters[RNN_W_AX], job->watch);
    transpose(step->before[0], c->n_a, c->m, transposed, c->n_a, job->watch);
    multiply_columns(c->n_a, c->m, c->n_a, (struct strided){dz, c->m, 1}, transposed, NULL,
                     gradients->parameters[RNN_W_AA], job->watch);
    add_rows(dz, c->n_a, c->m, gradients->parameters[RNN_B_A], job->watch);
}

/* The notebook's order of gates, whose parameters, w and b, stand in the same. */
enum { LSTM_F, LSTM_I, LSTM_G, LSTM_O, LSTM_GATES };

INLINE void lstm_values(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const gw_columns_step *step = ((const struct columns_job *)context)->step;
    void *const *gates = step->gates;
    const struct lstm s =
        lstm(get(gates[LSTM_I], k, n), get(gates[LSTM_F], k, n), get(gates[LSTM_G], k, n),
             get(gates[LSTM_O], k, n), get(step->before[1], k, n), (struct peepholes){0}, &STANDARD);
    put(gates[LSTM_F], k, n, s.f);
    put(gates[LSTM_I], k, n, s.i);
    put(gates[LSTM_G], k, n, s.g);
    put(gates[LSTM_O], k, n, s.o);
    put(step->after[0], k, n, s.h);
    put(step->after[1], k, n, s.c);
}

static void lstm_columns(const struct columns_job *job) {
    for (int k = 0; k < LSTM_GATES; k++)
        gate(job, 2 * k, job->step->before[0], job->step->gates[k]);
    for_each_value(lstm_values, job);
}

INLINE void lstm_values_back(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const struct columns_job *job = context;
    const gw_columns_step *step = job->step;
    const gw_columns_gradients *gradients = job->gradients;
    const vreal c = get(step->after[1], k, n);
    const struct lstm s = {get(step->gates[LSTM_I], k, n),
                           get(step->gates[LSTM_F], k, n),
                           get(step->gates[LSTM_G], k, n),
                           get(step->gates[LSTM_O], k, n),
                           c,
                           activate(&STANDARD.output, c),
                           v_set(0)};
    const struct lstm_gradients d =
        lstm_back(s, get(step->before[1], k, n), get(gradients->after[0], k, n),
                  get(gradients->after[1], k, n), (struct peepholes){0}, &STANDARD);
    put(job->scratch.dz[LSTM_F], k, n, d.f);
    put(job->scratch.dz[LSTM_I], k, n, d.i);
    put(job->scratch.dz[LSTM_G], k, n, d.g);
    put(job->scratch.dz[LSTM_O], k, n, d.o);
    put(gradients->before[1], k, n, d.c_before);
}

static void lstm_columns_back(const struct columns_job *job) {
    for_each_value(lstm_values_back, job);
    make_stack(job, job->step->before[0], job->scratch.stack);
    for (int k = 0; k < LSTM_GATES; k++)
        gate_back(job, 2 * k, job->scratch.dz[k], job->scratch.stack, job->gradients->before[0]);
}

/* The notebook's orders of gates and of parameters, w and then b. */
enum { GRU_R, GRU_U, GRU_CANDIDATE };
enum { GRU_W_U = 0, GRU_W_R = 2, GRU_W_C = 4 };

/* r * a waits where a_next will stand. */
INLINE void gru_gate_values(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const gw_columns_step *step = ((const struct columns_job *)context)->step;
    const vreal r = activate(&STANDARD.gate, get(step->gates[GRU_R], k, n));
    put(step->gates[GRU_R], k, n, r);
    put(step->gates[GRU_U], k, n, activate(&STANDARD.gate, get(step->gates[GRU_U], k, n)));
    put(step->after[0], k, n, v_mul(r, get(step->before[0], k, n)));
}

INLINE void gru_values(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const gw_columns_step *step = ((const struct columns_job *)context)->step;
    const vreal candidate = activate(&STANDARD.candidate, get(step->gates[GRU_CANDIDATE], k, n));
    put(step->gates[GRU_CANDIDATE], k, n, candidate);
    put(step->after[0], k, n,
        gru_h(gru_blend(get(step->gates[GRU_U], k, n), candidate, get(step->before[0], k, n))));
}

static void gru_columns(const struct columns_job *job) {
    const gw_columns_step *step = job->step;
    gate(job, GRU_W_U, step->before[0], step->gates[GRU_U]);
    gate(job, GRU_W_R, step->before[0], step->gates[GRU_R]);
    for_each_value(gru_gate_values, job);
    gate(job, GRU_W_C, step->after[0], step->gates[GRU_CANDIDATE]);
    for_each_value(gru_values, job);
}

INLINE void gru_values_back(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const struct columns_job *job = context;
    const gw_columns_step *step = job->step;
    const vreal a = get(step->before[0], k, n), candidate = get(step->gates[GRU_CANDIDATE], k, n);
    const struct gru_blend blend = gru_blend(get(step->gates[GRU_U], k, n), candidate, a);
    const struct gru_gradients d = gru_back(blend, get(job->gradients->after[0], k, n), &STANDARD);
    put(job->scratch.dz[GRU_U], k, n, d.gate);
    put(job->scratch.dz[GRU_CANDIDATE], k, n, gru_candidate_back(candidate, d.value, &STANDARD));
    add_to(job->gradients->before[0], k, n, d.other);
    put(job->scratch.reset, k, n, v_mul(get(step->gates[GRU_R], k, n), a));
    put(job->scratch.dreset, k, n, v_set(0));
}

INLINE void gru_reset_values_back(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const struct columns_job *job = context;
    const vreal r = get(job->step->gates[GRU_R], k, n), dreset = get(job->scratch.dreset, k, n);
    put(job->scratch.dz[GRU_R], k, n, gru_reset_back(r, get(job->step->before[0], k, n), dreset, &STANDARD));
    add_to(job->gradients->before[0], k, n, v_mul(dreset, r));
}

static void gru_columns_back(const struct columns_job *job) {
    const struct columns_scratch *scratch = &job->scratch;
    void *da = job->gradients->before[0];
    for_each_value(gru_values_back, job);
    make_stack(job, job->step->before[0], scratch->stack);
    make_stack(job, scratch->reset, scratch->reset_stack);
    gate_back(job, GRU_W_C, scratch->dz[GRU_CANDIDATE], scratch->reset_stack, scratch->dreset);
    for_each_value(gru_reset_values_back, job);
    gate_back(job, GRU_W_R, scratch->dz[GRU_R], scratch->stack, da);
    gate_back(job, GRU_W_U, scratch->dz[GRU_U], scratch->stack, da);
}

#endif
