/* Convolutions over time: the packed product of windows, whose steps are read where they are.
 *
 * Every sum is one chain that begins with the bias and goes over the taps in their order, and over the features of
 * each. Taps that fall on no step are left out. A few rows are done at once, in stretches of taps that the same ones
 * of them have; one stretch is one product where the steps of a window lie side by side. */
#ifndef GATEWISE_CONVOLUTION_H
#define GATEWISE_CONVOLUTION_H

#include "loops/linear.h"

/* A row of the output and its window: taps from `first` on have a step, those from `split` on one of x and not of the
 * history, those from `end` on none any more. `start` is the step of tap 0. */
struct window {
    const real *x, *history;
    real *out;
    ptrdiff_t start, first, split, end;
};

struct convolution {
    const gw_linear *layer;
    const gw_windows *windows;
    /* Whether the steps of a window lie side by side. */
    int is_dense;
};

struct window_rows {
    const struct convolution *convolution;
    ptrdiff_t count;
    struct window rows[LARGE_ROWS];
};

/* The first tap that does not fall on a step before `step`. */
INLINE ptrdiff_t tap_from(const gw_windows *w, ptrdiff_t start, ptrdiff_t step) {
    const ptrdiff_t tap = step > start ? ceiling(step - start, w->dilation) : 0;
    return tap < w->taps ? tap : w->taps;
}

/* The windows of the rows from `first` to end - 1, but for those that are too long. */
static void find_windows(struct window_rows *rows, ptrdiff_t first, ptrdiff_t end) {
    const gw_windows *w = rows->convolution->windows;
    const ptrdiff_t batch = w->out.batch, span = (w->taps - 1) * w->dilation;
    ptrdiff_t t = first / batch, b = first % batch;
    rows->count = 0;
    for (ptrdiff_t n = first; n < end; n++) {
        struct window *row = &rows->rows[rows->count];
        const ptrdiff_t length = w->lengths ? (ptrdiff_t)w->lengths[b] : w->x.time;
        row->start = t * w->stride - w->before;
        row->x = (const real *)w->x.rows.data + b * w->x.rows.row;
        row->history = w->history.data ? (const real *)w->history.data + b * w->history.row : NULL;
        row->out = (real *)w->out.rows.data + t * w->out.rows.time + b * w->out.rows.row;
        row->first = row->split = 0;
        row->end = w->taps;
        if (row->start < 0) {
            row->split = tap_from(w, row->start, 0);
            row->first = row->history ? 0 : row->split;
        }
        if (row->start + span >= length)
            row->end = tap_from(w, row->start, length);
        rows->count += !w->lengths || t < w->lengths[batch + b];
        if (++b == batch) {
            b = 0;
            t++;
        }
    }
}

INLINE const real *tap_of(const gw_windows *w, const struct window *row, ptrdiff_t tap) {
    const ptrdiff_t step = row->start + tap * w->dilation;
    return step < 0 ? row->history + (w->before + step) * w->history.time : row->x + step * w->x.rows.time;
}

INLINE ptrdiff_t sooner(ptrdiff_t next, ptrdiff_t tap, ptrdiff_t limit) {
    return limit > tap && limit < next ? limit : next;
}

/* The end of the stretch of taps from `tap` on that the rows have all, or not at all, and from one array. */
INLINE ptrdiff_t stretch_of_taps(const struct convolution *c, const struct window *rows, ptrdiff_t count,
                                 ptrdiff_t tap) {
    ptrdiff_t next = c->is_dense ? c->windows->taps : tap + 1;
    for (ptrdiff_t row = 0; row < count; row++) {
        next = sooner(next, tap, rows[row].first);
        next = sooner(next, tap, rows[row].split);
        next = sooner(next, tap, rows[row].end);
    }
    return next;
}

/* Adds the products of the windows of `count` rows to their sums: with one block or, of one row, with a pair. */
static void add_windows(const struct convolution *c, const struct window *rows, ptrdiff_t count,
                        ptrdiff_t block, int is_pair, real *sums) {
    const struct panels *p = &c->layer->panels;
    const gw_windows *w = c->windows;
    const int vectors = block_vectors(p, block);
    const ptrdiff_t features = w->x.features, panel_step = p->inputs * vectors * WIDTH;
    const real *x[MOST_ROWS];
    for (ptrdiff_t tap = 0, next; tap < w->taps; tap = next) {
        next = stretch_of_taps(c, rows, count, tap);
        const ptrdiff_t inputs = (next - tap) * features;
        const real *panel = (const real *)block_panel(p, block) + tap * features * vectors * WIDTH;
        for (ptrdiff_t row = 0, end; row < count; row = end + 1) {
            /* Rows side by side that have these taps. */
            for (end = row; end < count && rows[end].first <= tap && tap < rows[end].end; end++)
                x[end - row] = tap_of(w, &rows[end], tap);
            if (end == row)
                continue;
            product_function *run =
                is_pair ? FULL->pairs[vectors - 1] : FULL->products[vectors - 1][end - row - 1];
            run(x, inputs, panel, panel_step, sums + row * vectors * WIDTH);
        }
    }
}

/* Whether windows are rows of a product as they are: with all their steps, side by side. */
INLINE int are_rows(const struct convolution *c, const struct window *rows, ptrdiff_t count) {
    for (ptrdiff_t row = 0; row < count; row++) {
        const ptrdiff_t first = rows[row].first, split = rows[row].split, end = rows[row].end;
        if (first || (split && split != c->windows->taps) || end != c->windows->taps)
            return 0;
    }
    return c->is_dense;
}

/* A share of the panels. */
static void run_windows(const void *context, int index, int shares, gw_watch *watch) {
    const struct window_rows *rows = context;
    const struct convolution *c = rows->convolution;
    const struct panels *p = &c->layer->panels;
    const ptrdiff_t end = block_count(p) * (index + 1) / shares, row_work = (p->inputs + 32) * PANEL_WIDTH;
    ALIGNED real sums[TILE_SIZE];
    for (ptrdiff_t block = block_count(p) * index / shares, blocks; block < end; block += blocks) {
        const int vectors = block_vectors(p, block);
        const int is_pair = rows->count == 1 && block + 1 < end && block_vectors(p, block + 1) == vectors;
        const ptrdiff_t offset = block * PANEL_WIDTH, left = p->units - offset;
        const real *panel = block_panel(p, block), *bias = c->layer->bias + offset;
        blocks = 1 + is_pair;
        for (ptrdiff_t row = 0, count; row < rows->count; row += count) {
            const ptrdiff_t rows_left = rows->count - row;
            count = ceiling(rows_left, ceiling(rows_left, MAX_ROWS(vectors)));
            if (!gw_goes_on(watch, count * blocks * row_work))
                return;
            if (are_rows(c, rows->rows + row, count)) {
                const real *x[MOST_ROWS];
                real *out[MOST_ROWS];
                for (ptrdiff_t r = 0; r < count; r++) {
                    x[r] = tap_of(c->windows, &rows->rows[row + r], 0);
                    out[r] = rows->rows[row + r].out;
                }
                if (is_pair)
                    whole_pairs[vectors - 1](x, p->inputs, panel, bias, out, offset, left);
                else
                    wholes[vectors - 1][count - 1](x, p->inputs, panel, bias, out, offset, left);
                continue;
            }
            for (ptrdiff_t v = 0; v < vectors * blocks; v++) {
                const ptrdiff_t n = left - v * WIDTH;
                const vreal start = load_some(bias + v * WIDTH, n < WIDTH ? n : WIDTH);
                for (ptrdiff_t r = 0; r < count; r++)
                    v_store(sums + (r * vectors + v) * WIDTH, start);
            }
            add_windows(c, rows->rows + row, count, block, is_pair, sums);
            for (ptrdiff_t r = 0; r < count; r++) {
                for (ptrdiff_t v = 0; v < vectors * blocks; v++) {
                    const ptrdiff_t n = left - v * WIDTH;
                    store_some(rows->rows[row + r].out + offset + v * WIDTH, n < WIDTH ? n : WIDTH,
                               v_load(sums + (r * vectors + v) * WIDTH));
                }
            }
        }
    }
}

static void convolution_part(void *context, gw_member *member) {
    const struct convolution *c = context;
    ptrdiff_t first, end;
    gw_member alone;
    member = share_rows(block_rows(&c->windows->out), member, &alone, &first, &end);
    struct window_rows rows;
    rows.convolution = c;
    for (; first < end && gw_goes_on(member->watch, 0); first += LARGE_ROWS) {
        find_windows(&rows, first, end - first < LARGE_ROWS ? end : first + LARGE_ROWS);
        gw_run_shares(member, run_windows, &rows);
    }
}

static gw_status convolve(const gw_linear *layer, const gw_windows *windows, int threads) {
    const gw_windows *w = windows;
    struct convolution convolution = {layer, w, w->dilation * w->x.rows.time == w->x.features};
    if (w->history.data)
        convolution.is_dense &= w->dilation * w->history.time == w->x.features;
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    const int is_small = block_rows(&w->out) * layer->inputs * layer->outputs < WORTH_SHARING;
    gw_run(&watch, convolution_part, &convolution, is_small ? 1 : threads);
    return gw_close(&call, GW_OK);
}

#endif
