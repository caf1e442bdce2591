/* One step of the notebook's cells, forward and back, on the notebook's own arrays: a row for each feature, a
 * column for each example, everything contiguous. For a single step this is less work than to bring weights
 * and rows into the form that the time loops run on. */
#ifndef GATEWISE_COLUMNS_H
#define GATEWISE_COLUMNS_H

#include "loops/elementwise.h"

/* A matrix: how far apart the neighbours in a column and those in a row are. */
struct strided {
    const real *data;
    ptrdiff_t row, column;
};

/* out (rows, columns) += a (rows, inner) b (inner, columns), for the `n` columns of one vector. */
INLINE void multiply_tile(ptrdiff_t inner, ptrdiff_t columns, struct strided a, const real *b, real *out,
                          ptrdiff_t n, const int rows) {
    vreal sum[8];
    UNROLL for (int r = 0; r < rows; r++)
        sum[r] = load_some(out + r * columns, n);
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
                               const real *b, real *out, gw_watch *watch) {
    /* Most are so small that announcing their tiles would take part of the time. */
    const int is_long = rows * inner * columns > GW_LOOK_WORK;
    if (!gw_goes_on(watch, is_long ? 0 : rows * inner * columns))
        return;
    for (ptrdiff_t column = 0; column < columns; column += WIDTH) {
        const ptrdiff_t n = columns - column < WIDTH ? columns - column : WIDTH;
        for (ptrdiff_t row = 0, count; row < rows; row += count) {
            const struct strided part = {a.data + row * a.row, a.row, a.column};
            real *target = out + row * columns + column;
            count = rows - row >= 8 ? 8 : rows - row >= 4 ? 4 : 1;
            if (is_long && !gw_goes_on(watch, inner * count * WIDTH))
                return;
            if (count == 8)
                multiply_tile(inner, columns, part, b + column, target, n, 8);
            else if (count == 4)
                multiply_tile(inner, columns, part, b + column, target, n, 4);
            else
                multiply_tile(inner, columns, part, b + column, target, n, 1);
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

static void fill_rows(const real *column, ptrdiff_t rows, ptrdiff_t columns, real *out, gw_watch *watch) {
    if (!gw_goes_on(watch, rows * columns * COPY_WORK))
        return;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t k = 0; k < columns; k++)
            out[row * columns + k] = column[row];
}

static void add_rows(const real *from, ptrdiff_t rows, ptrdiff_t columns, real *sums, gw_watch *watch) {
    if (!gw_goes_on(watch, rows * columns * COPY_WORK))
        return;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t column = 0; column < columns; column++)
            sums[row] += from[row * columns + column];
}

/* out (n_a, m) = w [a; x] + bias; w's rows hold the weights of a before those of x. */
static void gate(const gw_columns *s, const void *w, const void *bias, const real *a, const real *x,
                 real *out) {
    const ptrdiff_t inputs = s->n_a + s->n_x;
    fill_rows(bias, s->n_a, s->m, out, s->watch);
    multiply_columns(s->n_a, s->n_a, s->m, (struct strided){w, inputs, 1}, a, out, s->watch);
    multiply_columns(s->n_a, s->n_x, s->m, (struct strided){(const real *)w + s->n_a, inputs, 1}, x, out,
                     s->watch);
}

/* out (n_y, m) = softmax(w a + bias), over each column. */
static void predict(const gw_columns *s, const void *w, const void *bias, const real *a, real *out) {
    fill_rows(bias, s->n_y, s->m, out, s->watch);
    multiply_columns(s->n_y, s->n_a, s->m, (struct strided){w, s->n_a, 1}, a, out, s->watch);
    if (s->n_y == 0)
        return;
    const ptrdiff_t work = s->n_y * WIDTH * ELEMENT_WORK;
    for (ptrdiff_t column = 0; column < s->m && gw_goes_on(s->watch, work); column += WIDTH) {
        const ptrdiff_t n = s->m - column < WIDTH ? s->m - column : WIDTH;
        vreal largest = load_some(out + column, n), sum = v_set(0);
        for (ptrdiff_t row = 1; row < s->n_y; row++)
            largest = v_max(largest, load_some(out + row * s->m + column, n));
        for (ptrdiff_t row = 0; row < s->n_y; row++) {
            real *scores = out + row * s->m + column;
            const vreal exponential = v_exp(v_sub(load_some(scores, n), largest));
            sum = v_add(sum, exponential);
            store_some(scores, n, exponential);
        }
        for (ptrdiff_t row = 0; row < s->n_y; row++) {
            real *scores = out + row * s->m + column;
            store_some(scores, n, v_div(load_some(scores, n), sum));
        }
    }
}

static void rnn_columns(const gw_columns *s, const void *const *in, real *a_next, real *yt) {
    const void *xt = in[0], *a_prev = in[1], *w_ax = in[2], *w_aa = in[3], *bias = in[4];
    fill_rows(bias, s->n_a, s->m, a_next, s->watch);
    multiply_columns(s->n_a, s->n_a, s->m, (struct strided){w_aa, s->n_a, 1}, a_prev, a_next, s->watch);
    multiply_columns(s->n_a, s->n_x, s->m, (struct strided){w_ax, s->n_x, 1}, xt, a_next, s->watch);
    apply_tanh(a_next, a_next, s->n_a * s->m, s->watch);
    predict(s, in[5], in[6], a_next, yt);
}

static void lstm_columns(const gw_columns *s, const void *const *in, real *a_next, real *yt) {
    const real *xt = in[0], *a_prev = in[1], *c_prev = in[2];
    const void *const *parameters = in + 3;
    const ptrdiff_t size = s->n_a * s->m;
    real *c_next = a_next + size, *f = c_next + size, *i = f + size, *g = i + size, *o = g + size;
    for (int k = 0; k < 4; k++)
        gate(s, parameters[2 * k], parameters[2 * k + 1], a_prev, xt, f + k * size);
    apply_sigmoid(f, f, 2 * size, s->watch);
    apply_tanh(g, g, size, s->watch);
    apply_sigmoid(o, o, size, s->watch);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++)
            c_next[k] = f[k] * c_prev[k] + i[k] * g[k];
    apply_tanh(c_next, a_next, size, s->watch);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++)
            a_next[k] *= o[k];
    predict(s, parameters[8], parameters[9], a_next, yt);
}

static void gru_columns(const gw_columns *s, const void *const *in, real *a_next, real *yt) {
    const real *xt = in[0], *a_prev = in[1];
    const void *const *parameters = in + 2;
    const ptrdiff_t size = s->n_a * s->m;
    real *r = a_next + size, *u = r + size, *candidate = u + size, *reset = a_next;
    gate(s, parameters[0], parameters[1], a_prev, xt, u);
    gate(s, parameters[2], parameters[3], a_prev, xt, r);
    apply_sigmoid(r, r, 2 * size, s->watch);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++)
            reset[k] = r[k] * a_prev[k];
    gate(s, parameters[4], parameters[5], reset, xt, candidate);
    apply_tanh(candidate, candidate, size, s->watch);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++)
            a_next[k] = u[k] * candidate[k] + (1 - u[k]) * a_prev[k];
    predict(s, parameters[6], parameters[7], a_next, yt);
}

static void cell_forward(const gw_columns *sizes, const void *const *in, void *values, void *yt) {
    if (sizes->cell == GW_LSTM)
        lstm_columns(sizes, in, values, yt);
    else if (sizes->cell == GW_GRU_RESET_BEFORE)
        gru_columns(sizes, in, values, yt);
    else
        rnn_columns(sizes, in, values, yt);
}

/* What a step back works with besides the caller's arrays. `stack` is [a_prev; xt] transposed. */
struct columns_scratch {
    real *dz, *stack, *other_stack, *values;
};

/* Adds to dw (n_a, n_a + n_x) dz stack, to db (n_a, 1) the sums of dz, and what dz hands on to a and x. */
static void gate_back(const gw_columns *s, const real *dz, const void *w, const real *stack, real *da,
                      real *dx, void *const *out) {
    const ptrdiff_t inputs = s->n_a + s->n_x;
    multiply_columns(s->n_a, s->m, inputs, (struct strided){dz, s->m, 1}, stack, out[0], s->watch);
    add_rows(dz, s->n_a, s->m, out[1], s->watch);
    multiply_columns(s->n_a, s->n_a, s->m, (struct strided){w, 1, inputs}, dz, da, s->watch);
    multiply_columns(s->n_x, s->n_a, s->m, (struct strided){(const real *)w + s->n_a, 1, inputs}, dz, dx,
                     s->watch);
}

static void make_stack(const gw_columns *s, const real *a, const real *x, real *stack) {
    transpose(a, s->n_a, s->m, stack, s->n_a + s->n_x, s->watch);
    transpose(x, s->n_x, s->m, stack + s->n_a, s->n_a + s->n_x, s->watch);
}

static void rnn_columns_back(const gw_columns *s, const void *const *in, void *const *out,
                             const struct columns_scratch *scratch) {
    const real *da_next = in[0], *a_next = in[1];
    real *dz = scratch->dz, *transposed = scratch->stack;
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, s->n_a * s->m, s->watch)) > k;)
        for (; k < end; k++)
            dz[k] = da_next[k] * (1 - a_next[k] * a_next[k]);
    multiply_columns(s->n_x, s->n_a, s->m, (struct strided){in[4], 1, s->n_x}, dz, out[0], s->watch);
    multiply_columns(s->n_a, s->n_a, s->m, (struct strided){in[5], 1, s->n_a}, dz, out[1], s->watch);
    transpose(in[3], s->n_x, s->m, transposed, s->n_x, s->watch);
    multiply_columns(s->n_a, s->m, s->n_x, (struct strided){dz, s->m, 1}, transposed, out[2], s->watch);
    transpose(in[2], s->n_a, s->m, transposed, s->n_a, s->watch);
    multiply_columns(s->n_a, s->m, s->n_a, (struct strided){dz, s->m, 1}, transposed, out[3], s->watch);
    add_rows(dz, s->n_a, s->m, out[4], s->watch);
}

static void lstm_columns_back(const gw_columns *s, const void *const *in, void *const *out,
                              const struct columns_scratch *scratch) {
    const real *da_next = in[0], *dc_next = in[1], *c_next = in[3], *a_prev = in[4], *c_prev = in[5];
    const real *f = in[6], *i = in[7], *g = in[8], *o = in[9], *xt = in[10];
    const ptrdiff_t size = s->n_a * s->m;
    real *df = scratch->dz, *di = df + size, *dg = di + size, *d_o = dg + size;
    real *tanh_c = scratch->values, *dc_prev = out[2];
    apply_tanh(c_next, tanh_c, size, s->watch);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++) {
            const real dc = dc_next[k] + da_next[k] * o[k] * (1 - tanh_c[k] * tanh_c[k]);
            df[k] = dc * c_prev[k] * f[k] * (1 - f[k]);
            di[k] = dc * g[k] * i[k] * (1 - i[k]);
            dg[k] = dc * i[k] * (1 - g[k] * g[k]);
            d_o[k] = da_next[k] * tanh_c[k] * o[k] * (1 - o[k]);
            dc_prev[k] += dc * f[k];
        }
    make_stack(s, a_prev, xt, scratch->stack);
    for (int k = 0; k < 4; k++)
        gate_back(s, df + k * size, in[11 + 2 * k], scratch->stack, out[1], out[0], out + 3 + 2 * k);
}

static void gru_columns_back(const gw_columns *s, const void *const *in, void *const *out,
                             const struct columns_scratch *scratch) {
    const real *da_next = in[0], *a_prev = in[2], *r = in[3], *u = in[4], *candidate = in[5], *xt = in[6];
    const ptrdiff_t size = s->n_a * s->m;
    real *dz = scratch->dz, *reset = scratch->values, *dreset = reset + size, *da_prev = out[1];
    make_stack(s, a_prev, xt, scratch->stack);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++) {
            dz[k] = da_next[k] * u[k] * (1 - candidate[k] * candidate[k]);
            reset[k] = r[k] * a_prev[k];
            dreset[k] = 0;
        }
    make_stack(s, reset, xt, scratch->other_stack);
    gate_back(s, dz, in[11], scratch->other_stack, dreset, out[0], out + 6);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++) {
            dz[k] = dreset[k] * a_prev[k] * r[k] * (1 - r[k]);
            da_prev[k] += dreset[k] * r[k] + da_next[k] * (1 - u[k]);
        }
    gate_back(s, dz, in[9], scratch->stack, da_prev, out[0], out + 4);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, size, s->watch)) > k;)
        for (; k < end; k++)
            dz[k] = da_next[k] * (candidate[k] - a_prev[k]) * u[k] * (1 - u[k]);
    gate_back(s, dz, in[7], scratch->stack, da_prev, out[0], out + 2);
}

static gw_status cell_backward(const gw_columns *s, const void *const *in, void *const *out) {
    const size_t size = (size_t)(s->n_a * s->m), stack = (size_t)((s->n_a + s->n_x) * s->m);
    real *memory = gw_allocate((6 * size + 2 * stack) * sizeof(real));
    if (!memory)
        return GW_NO_MEMORY;
    const struct columns_scratch scratch = {memory, memory + 6 * size, memory + 6 * size + stack,
                                            memory + 4 * size};
    if (s->cell == GW_LSTM)
        lstm_columns_back(s, in, out, &scratch);
    else if (s->cell == GW_GRU_RESET_BEFORE)
        gru_columns_back(s, in, out, &scratch);
    else
        rnn_columns_back(s, in, out, &scratch);
    gw_free(memory);
    return GW_OK;
}

#endif
