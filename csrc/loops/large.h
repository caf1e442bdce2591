/* Products of all rows of all steps at once with packed weights: the gradient of the inputs, and Linear's. */
#ifndef GATEWISE_LARGE_H
#define GATEWISE_LARGE_H

#include "loops/timeline.h"
#include "products/whole.h"

INLINE ptrdiff_t block_rows(const gw_block *block) { return block->time * block->batch; }

INLINE real *block_row(const gw_block *block, ptrdiff_t n) {
    const gw_rows *rows = &block->rows;
    return (real *)rows->data + n / block->batch * rows->time + n % block->batch * rows->row;
}

/* So many rows of a product are done at once: the larger ones still fit a cache. */
#define LARGE_ROWS 192

/* Where `count` rows from row `first` on are. */
static void point_rows(const gw_block *block, ptrdiff_t first, ptrdiff_t count, real **pointers) {
    const ptrdiff_t batch = block->batch;
    ptrdiff_t in_step = first % batch;
    real *row = block_row(block, first);
    for (ptrdiff_t n = 0; n < count; n++, row += block->rows.row) {
        if (in_step++ == batch) {
            row += block->rows.time - batch * block->rows.row;
            in_step = 1;
        }
        pointers[n] = row;
    }
}

/* Threads for a product of all rows. */
INLINE int product_threads(const gw_block *x, const gw_block *out, int threads) {
    return block_rows(x) * x->features * out->features < WORTH_SHARING ? 1 : threads;
}

/* out = bias + x times the packed matrix, where bias may be NULL. Each thread takes rows or, where these are
 * few, panels. With `in_parts` there is a bias. */
struct large {
    const struct panels *panels;
    const real *bias;
    gw_block x, out;
    int in_parts;
};

/* So many of its rows, each of which stands where a pointer says. */
struct large_rows {
    const struct large *large;
    ptrdiff_t count;
    real *x[LARGE_ROWS], *out[LARGE_ROWS];
};

/* A share of the panels. */
static void run_panels(const void *context, int index, int shares, gw_watch *watch) {
    const struct large_rows *rows = context;
    const struct large *large = rows->large;
    const struct panels *p = large->panels;
    const real *const *x = (const real *const *)rows->x;
    const ptrdiff_t end = block_count(p) * (index + 1) / shares, row_work = (p->inputs + 32) * PANEL_WIDTH;
    for (ptrdiff_t block = block_count(p) * index / shares; block < end; block++) {
        const int vectors = block_vectors(p, block);
        const ptrdiff_t offset = block * PANEL_WIDTH, units = p->units - offset;
        const real *panel = block_panel(p, block), *bias = large->bias ? large->bias + offset : NULL;
        if (rows->count == 1 && block + 1 < end && !large->in_parts) {
            if (!gw_goes_on(watch, 2 * row_work))
                return;
            block++;
            whole_pairs[block_vectors(p, block) - 1](x, p->inputs, panel, bias, rows->out, offset, units);
            continue;
        }
        for (ptrdiff_t row = 0, count; row < rows->count; row += count) {
            const ptrdiff_t left = rows->count - row;
            count = ceiling(left, ceiling(left, MAX_ROWS(vectors)));
            if (!gw_goes_on(watch, count * row_work))
                return;
            if (large->in_parts)
                parts[vectors - 1][count - 1](x + row, p->inputs, panel, bias, rows->out + row, offset,
                                              units);
            else
                wholes[vectors - 1][count - 1](x + row, p->inputs, panel, bias, rows->out + row, offset,
                                               units);
        }
    }
}

/* Who works on the rows first to end - 1: each thread for itself on rows of its own or, where these are few, all of
 * them on all rows, panel by panel. */
static gw_member *share_rows(ptrdiff_t all, gw_member *member, gw_member *alone, ptrdiff_t *first,
                             ptrdiff_t *end) {
    *first = 0;
    *end = all;
    if (all < 2 * member->threads)
        return member;
    *first = all * member->thread / member->threads;
    *end = all * (member->thread + 1) / member->threads;
    *alone = gw_alone(member->watch);
    return alone;
}

static void large_part(void *context, gw_member *member) {
    const struct large *large = context;
    ptrdiff_t first, end;
    gw_member alone;
    member = share_rows(block_rows(&large->out), member, &alone, &first, &end);
    struct large_rows rows;
    rows.large = large;
    for (; first < end && gw_goes_on(member->watch, 0); first += LARGE_ROWS) {
        rows.count = end - first < LARGE_ROWS ? end - first : LARGE_ROWS;
        point_rows(&large->x, first, rows.count, rows.x);
        point_rows(&large->out, first, rows.count, rows.out);
        gw_run_shares(member, run_panels, &rows);
    }
}

static gw_status multiply_packed(gw_block x, const struct panels *panels, const real *bias, gw_block out,
                                 int threads, int in_parts) {
    struct large large = {panels, bias, x, out, in_parts};
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    gw_run(&watch, large_part, &large, product_threads(&x, &out, threads));
    return gw_close(&call, GW_OK);
}

/* The same with narrow weights, or deep panels, tile by tile. */
struct narrow {
    struct large large;
    char *converted; /* for each thread */
    size_t converted_size;
    real *deep_sums; /* likewise */
    size_t deep_size;
};

static void begin_narrow(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                         int count, real *sums) {
    const real *bias = ((const struct large_rows *)context)->large->bias;
    const int vectors = block_vectors(p, block);
    (void)row;
    for (int r = 0; r < count; r++)
        for (int v = 0; v < vectors; v++, sums += WIDTH)
            v_store(sums, bias ? load_some(bias + vector_offset(p, block, v), vector_length(p, block, v))
                               : v_set(0));
}

static void end_narrow(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                       real *sums) {
    const struct large_rows *rows = context;
    for (int r = 0; r < count; r++) {
        const struct rows out = {rows->out[row + r], 0};
        store_sums(p, block, out, 0, 1, sums + r * block_vectors(p, block) * WIDTH);
    }
}

static void narrow_part(void *context, gw_member *member) {
    const struct narrow *narrow = context;
    const struct large *large = &narrow->large;
    const struct row_space space = {narrow->converted + (size_t)member->thread * narrow->converted_size,
                                    narrow->converted,
                                    deep_sums(narrow->deep_sums, narrow->deep_size, member->thread)};
    ptrdiff_t first, end;
    gw_member alone;
    member = share_rows(block_rows(&large->out), member, &alone, &first, &end);
    struct large_rows rows;
    rows.large = large;
    const struct term term = {large->panels, 0, large->panels->inputs, (const real *const *)rows.x};
    const struct tiles tiles = {
        .layout = large->panels,
        .term_count = 1,
        .terms = {term},
        .begin = begin_narrow,
        .end = end_narrow,
        .row_space = space,
    };
    for (; first < end && gw_goes_on(member->watch, 0); first += LARGE_ROWS) {
        rows.count = end - first < LARGE_ROWS ? end - first : LARGE_ROWS;
        point_rows(&large->x, first, rows.count, rows.x);
        point_rows(&large->out, first, rows.count, rows.out);
        for_each_tile(&tiles, rows.count, &rows, member);
    }
}

static gw_status multiply_narrow(gw_block x, const struct panels *panels, const real *bias, gw_block out,
                                 int threads) {
    const ptrdiff_t all = block_rows(&out), most = all < LARGE_ROWS ? all : LARGE_ROWS;
    struct narrow narrow = {.large = {panels, bias, x, out, 0}};
    struct workspace space;
    gw_call call;
    threads = product_threads(&x, &out, threads);
    open_space(&space);
    narrow.converted_size = (converted_size(panels, most) + 63) / 64 * 64;
    narrow.converted = take_space(&space, (size_t)threads * narrow.converted_size);
    narrow.deep_size = deep_space(panels, panels->inputs, most);
    narrow.deep_sums = take_space(&space, (size_t)threads * narrow.deep_size);
    const int ready = narrow.converted && narrow.deep_sums;
    gw_watch watch = gw_open(&call, 1);
    if (ready)
        gw_run(&watch, narrow_part, &narrow, threads);
    const gw_status status = gw_close(&call, ready ? GW_OK : GW_NO_MEMORY);
    release_space(&space);
    return status;
}

static gw_status project_back(const gw_packed *layer, gw_block dgates, gw_block dx, int threads) {
    const struct panels *p = &layer->back_input;
    if (p->format != FULL || is_deep(p, p->inputs, block_rows(&dx)))
        return multiply_narrow(dgates, &layer->back_input, NULL, dx, threads);
    return multiply_packed(dgates, &layer->back_input, NULL, dx, threads, 0);
}

#endif
