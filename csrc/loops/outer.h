/* Sums over all rows of all steps at once: gradients of weights.
 *
 * Such a gradient sums products of two rows; it packs one of them chunk by chunk, so that it is read in order.
 * Packing the other one too cost more time than it saved. */
#ifndef GATEWISE_OUTER_H
#define GATEWISE_OUTER_H

#include "loops/large.h"

/* How many rows are packed at once, and how many of a's columns one tile of sums has. */
#define OUTER_CHUNK 256
#define OUTER_ROWS MAX_ROWS(MOST_VECTORS)
/* So many of b's columns, packed, fill half of a core's own cache. */
#define OUTER_COLUMNS (8 * PANEL_WIDTH)
/* Beyond so many bytes a result is in no core's own cache. */
#define FAR_SUMS ((size_t)512 * 1024)

/* sums[row][v] = sum over k of a[k][column + row] * panel[k][v]. */
INLINE void outer_tile(const real *const *a, ptrdiff_t column, ptrdiff_t inputs, const real *panel,
                       real *sums, const int vectors) {
    vreal sum[OUTER_ROWS * MOST_VECTORS];
    UNROLL for (int s = 0; s < OUTER_ROWS * vectors; s++)
        sum[s] = v_set(0);
    for (ptrdiff_t k = 0; k < inputs; k++) {
        const real *x = a[k] + column;
        vreal weight[MOST_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            weight[v] = v_load(panel + v * WIDTH);
        UNROLL for (int row = 0; row < OUTER_ROWS; row++) {
            UNROLL for (int v = 0; v < vectors; v++)
                sum[row * vectors + v] = v_fma(v_set(x[row]), weight[v], sum[row * vectors + v]);
        }
        panel += vectors * WIDTH;
    }
    UNROLL for (int s = 0; s < OUTER_ROWS * vectors; s++)
        v_store(sums + s * WIDTH, sum[s]);
}
#define DEFINE_OUTER(vectors)                                                                                \
    static void outer_##vectors(const real *const *a, ptrdiff_t column, ptrdiff_t inputs, const real *panel, \
                                real *sums) {                                                                \
        outer_tile(a, column, inputs, panel, sums, vectors);                                                 \
    }
DEFINE_OUTER(1)
DEFINE_OUTER(2)
DEFINE_OUTER(3)
DEFINE_OUTER(4)

typedef void outer_function(const real *const *a, ptrdiff_t column, ptrdiff_t inputs, const real *panel,
                            real *sums);

static outer_function *const outer_functions[MOST_VECTORS] = {outer_1, outer_2, outer_3, outer_4};

/* A chunk of rows of a product, which its threads share. */
struct outer {
    gw_block a, b;
    gw_matrix out;
    real *packed_b;
    ptrdiff_t first, count;
};

/* Packs a share of b's columns. */
static void pack_columns(const void *context, int index, int shares, gw_watch *watch) {
    const struct outer *outer = context;
    const ptrdiff_t panels = ceiling(outer->b.features, PANEL_WIDTH);
    const ptrdiff_t end = panels * (index + 1) / shares;
    const ptrdiff_t work = outer->count * PACKING_WORK;
    for (ptrdiff_t panel = panels * index / shares; panel < end && gw_goes_on(watch, work); panel++) {
        const ptrdiff_t column = panel * PANEL_WIDTH, left = outer->b.features - column;
        const ptrdiff_t columns = left < PANEL_WIDTH ? left : PANEL_WIDTH;
        const ptrdiff_t width = ceiling(columns, WIDTH) * WIDTH;
        real *target = outer->packed_b + panel * OUTER_CHUNK * PANEL_WIDTH;
        for (ptrdiff_t k = 0; k < outer->count; k++, target += width) {
            const real *source = block_row(&outer->b, outer->first + k) + column;
            memcpy(target, source, (size_t)columns * sizeof(real));
            memset(target + columns, 0, (size_t)(width - columns) * sizeof(real));
        }
    }
}

/* Where the chunk's rows of a are; rows too short for a tile are copied and filled up. */
static void find_rows(const gw_block *a, ptrdiff_t first, ptrdiff_t count, const real **rows, real *filled) {
    for (ptrdiff_t k = 0; k < count; k++, filled += OUTER_ROWS) {
        rows[k] = block_row(a, first + k);
        if (a->features < OUTER_ROWS) {
            memset(filled, 0, OUTER_ROWS * sizeof(real));
            memcpy(filled, rows[k], (size_t)a->features * sizeof(real));
            rows[k] = filled;
        }
    }
}

/* Adds the sums from row `first` of a tile on to the result. */
static void put_tile(const gw_matrix *out, ptrdiff_t row, ptrdiff_t first, ptrdiff_t column, int vectors,
                     const real *sums) {
    for (ptrdiff_t r = first; r < OUTER_ROWS && row + r < out->rows; r++) {
        real *target = (real *)out->data + (row + r) * out->step + column;
        const real *from = sums + r * vectors * WIDTH;
        for (int v = 0; v < vectors; v++) {
            const ptrdiff_t left = out->columns - column - v * WIDTH;
            const ptrdiff_t n = left < WIDTH ? left : WIDTH;
            store_some(target + v * WIDTH, n,
                       v_add(v_load(from + v * WIDTH), load_some(target + v * WIDTH, n)));
        }
    }
}

/* Has the cache fetch what a tile's sums are added to, in the shadow of its product. */
INLINE void fetch_tile(const gw_matrix *out, ptrdiff_t row, ptrdiff_t column, int vectors) {
    const ptrdiff_t left = out->rows - row, count = left < OUTER_ROWS ? left : OUTER_ROWS;
    const real *target = (const real *)out->data + row * out->step + column;
    for (ptrdiff_t r = 0; r < count; r++, target += out->step)
        for (ptrdiff_t line = 0; line < vectors * WIDTH; line += LINE)
            PREFETCH(target + line);
}

/* Sums a share of a's columns. */
static void sum_columns(const void *context, int index, int shares, gw_watch *watch) {
    const struct outer *outer = context;
    const gw_block *a = &outer->a, *b = &outer->b;
    const ptrdiff_t tiles = ceiling(a->features, OUTER_ROWS), end = tiles * (index + 1) / shares;
    /* The last tile begins early enough to lie within the rows, and leaves out what another one sums. */
    const ptrdiff_t last = a->features > OUTER_ROWS ? a->features - OUTER_ROWS : 0;
    const int is_far = (size_t)(outer->out.rows * outer->out.columns) * sizeof(real) > FAR_SUMS;
    const real *rows[OUTER_CHUNK];
    real filled[OUTER_CHUNK * OUTER_ROWS];
    ALIGNED real sums[TILE_SIZE];
    find_rows(a, outer->first, outer->count, rows, filled);
    /* As many of b's panels as stay in a core's own cache at once; and the few columns of a stay in the nearest for
     * all of these. */
    for (ptrdiff_t first = 0; first < b->features; first += OUTER_COLUMNS) {
        const ptrdiff_t left = b->features - first, columns = left < OUTER_COLUMNS ? left : OUTER_COLUMNS;
        for (ptrdiff_t tile = tiles * index / shares; tile < end; tile++) {
            const ptrdiff_t wanted = tile * OUTER_ROWS, row = wanted < last ? wanted : last;
            for (ptrdiff_t column = first; column < first + columns; column += PANEL_WIDTH) {
                const ptrdiff_t vectors_left = ceiling(b->features - column, WIDTH);
                const int vectors = vectors_left < MOST_VECTORS ? (int)vectors_left : MOST_VECTORS;
                if (!gw_goes_on(watch, outer->count * OUTER_ROWS * vectors * WIDTH))
                    return;
                if (is_far)
                    fetch_tile(&outer->out, row, column, vectors);
                outer_functions[vectors - 1](rows, row, outer->count, outer->packed_b + column * OUTER_CHUNK,
                                             sums);
                put_tile(&outer->out, row, wanted - row, column, vectors, sums);
            }
        }
    }
}

static void outer_part(void *context, gw_member *member) {
    struct outer chunk = *(const struct outer *)context;
    const ptrdiff_t count = block_rows(&chunk.a);
    for (; chunk.first < count && gw_goes_on(member->watch, 0); chunk.first += OUTER_CHUNK) {
        const ptrdiff_t left = count - chunk.first;
        chunk.count = left < OUTER_CHUNK ? left : OUTER_CHUNK;
        gw_run_shares(member, pack_columns, &chunk);
        gw_run_shares(member, sum_columns, &chunk);
    }
}

static gw_status outer_full(gw_block a, gw_block b, gw_matrix out, int threads) {
    struct outer outer = {.a = a, .b = b, .out = out};
    const ptrdiff_t panels = ceiling(b.features, PANEL_WIDTH);
    outer.packed_b = gw_allocate((size_t)(panels * OUTER_CHUNK * PANEL_WIDTH) * sizeof(real));
    if (!outer.packed_b)
        return GW_NO_MEMORY;
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    gw_run(&watch, outer_part, &outer,
           block_rows(&a) * a.features * b.features < WORTH_SHARING ? 1 : threads);
    gw_free(outer.packed_b);
    return gw_close(&call, GW_OK);
}

/* So many columns of all rows are summed at once, in registers. */
#define COLUMNS_AT_ONCE (8 * WIDTH)

/* Adds so many rows to the sums. */
INLINE void add_columns(const gw_block *rows, ptrdiff_t column, real *out, const int vectors) {
    vreal sum[8];
    UNROLL for (int v = 0; v < vectors; v++)
        sum[v] = v_load(out + v * WIDTH);
    for (ptrdiff_t time = 0; time < rows->time; time++) {
        const real *row = (const real *)rows->rows.data + time * rows->rows.time + column;
        for (ptrdiff_t n = 0; n < rows->batch; n++, row += rows->rows.row) {
            UNROLL for (int v = 0; v < vectors; v++)
                sum[v] = v_add(sum[v], v_load(row + v * WIDTH));
        }
    }
    UNROLL for (int v = 0; v < vectors; v++)
        v_store(out + v * WIDTH, sum[v]);
}

static gw_status add_all_rows(gw_block rows, void *out) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    const ptrdiff_t whole = rows.features / WIDTH * WIDTH, count = block_rows(&rows);
    real *const sums = out;
    ptrdiff_t column = 0;
    for (; column + COLUMNS_AT_ONCE <= whole && gw_goes_on(&watch, count * COLUMNS_AT_ONCE);
         column += COLUMNS_AT_ONCE)
        add_columns(&rows, column, sums + column, 8);
    for (; column < whole && gw_goes_on(&watch, count * WIDTH); column += WIDTH)
        add_columns(&rows, column, sums + column, 1);
    for (ptrdiff_t n = 0; n < count && column < rows.features && gw_goes_on(&watch, WIDTH); n++) {
        const real *row = block_row(&rows, n);
        for (ptrdiff_t k = column; k < rows.features; k++)
            sums[k] += row[k];
    }
    return gw_close(&call, GW_OK);
}

/* Finding a row in memory, in multiply-adds. */
#define ROW_WORK 1000

static gw_status add_by_token(const int64_t *tokens, gw_block rows, gw_matrix out) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    const ptrdiff_t count = block_rows(&rows), whole = out.columns / WIDTH * WIDTH;
    for (ptrdiff_t n = 0; n < count && gw_goes_on(&watch, out.columns + ROW_WORK); n++) {
        const real *row = block_row(&rows, n);
        real *target = (real *)out.data + (ptrdiff_t)tokens[n] * out.step;
        for (ptrdiff_t k = 0; k < whole; k += WIDTH)
            v_store(target + k, v_add(v_load(target + k), v_load(row + k)));
        for (ptrdiff_t k = whole; k < out.columns; k++)
            target[k] += row[k];
    }
    return gw_close(&call, GW_OK);
}

#endif
