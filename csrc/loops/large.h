/* The products of the backward pass that stand outside its time loop, over all rows of all steps at once.
 *
 * The gradient of the inputs multiplies rows by packed weights. A gradient of weights sums products of two
 * rows over all rows; it packs one of them chunk by chunk, so that it is read in order. Packing the other
 * one too cost more time than it saved. */
#ifndef GATEWISE_LARGE_H
#define GATEWISE_LARGE_H

#include "loops/timeline.h"

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

/* The sums of a few rows begin with the bias, unless it is NULL, and go straight to their place, `units` of them
 * or fewer. */
INLINE void begin_whole(const real *bias, ptrdiff_t units, vreal *sum, const int row_count,
                        const int vectors) {
    UNROLL for (int v = 0; v < vectors; v++) {
        const ptrdiff_t left = units - v * WIDTH;
        sum[v] = bias ? load_some(bias + v * WIDTH, left < WIDTH ? left : WIDTH) : v_set(0);
        UNROLL for (int row = 1; row < row_count; row++)
            sum[row * vectors + v] = sum[v];
    }
}

INLINE void end_whole(const vreal *sum, real *const *out, ptrdiff_t offset, ptrdiff_t units,
                      const int row_count, const int vectors) {
    UNROLL for (int row = 0; row < row_count; row++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            const ptrdiff_t left = units - v * WIDTH;
            store_some(out[row] + offset + v * WIDTH, left < WIDTH ? left : WIDTH, sum[row * vectors + v]);
        }
    }
}

INLINE void whole_tile(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                       real *const *out, ptrdiff_t offset, ptrdiff_t units, const int row_count,
                       const int vectors) {
    vreal sum[MOST_ROWS * MOST_VECTORS];
    begin_whole(bias, units, sum, row_count, vectors);
    add_products(x, inputs, panel, 0, sum, FULL, row_count, vectors, 1);
    end_whole(sum, out, offset, units, row_count, vectors);
}

/* One row alone, which would keep too few sums in flight, times a whole panel and the next one of `vectors`. */
INLINE void pair_tile(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                      real *const *out, ptrdiff_t offset, ptrdiff_t units, const int vectors) {
    const real *next = panel + inputs * PANEL_WIDTH;
    vreal sum[2 * MOST_VECTORS];
    begin_whole(bias, units, sum, 1, MOST_VECTORS + vectors);
    for (ptrdiff_t k = 0; k < inputs; k++, panel += PANEL_WIDTH, next += vectors * WIDTH) {
        const vreal value = v_set(x[0][k]);
        UNROLL for (int v = 0; v < MOST_VECTORS; v++)
            sum[v] = v_fma(value, v_load(panel + v * WIDTH), sum[v]);
        UNROLL for (int v = 0; v < vectors; v++)
            sum[MOST_VECTORS + v] = v_fma(value, v_load(next + v * WIDTH), sum[MOST_VECTORS + v]);
    }
    end_whole(sum, out, offset, units, 1, MOST_VECTORS + vectors);
}

typedef void whole_function(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                            real *const *out, ptrdiff_t offset, ptrdiff_t units);

#define DEFINE_WHOLE(rows, vectors)                                                                          \
    static void whole_##rows##x##vectors(const real *const *x, ptrdiff_t inputs, const real *panel,          \
                                         const real *bias, real *const *out, ptrdiff_t offset,               \
                                         ptrdiff_t units) {                                                  \
        /* As for product_tile. */                                                                           \
        if ((rows) <= MAX_ROWS(vectors))                                                                     \
            whole_tile(x, inputs, panel, bias, out, offset, units, rows, vectors);                           \
    }
#define DEFINE_WHOLES(vectors)                                                                               \
    DEFINE_WHOLE(1, vectors)                                                                                 \
    DEFINE_WHOLE(2, vectors)                                                                                 \
    DEFINE_WHOLE(3, vectors)                                                                                 \
    DEFINE_WHOLE(4, vectors)                                                                                 \
    DEFINE_WHOLE(5, vectors)                                                                                 \
    DEFINE_WHOLE(6, vectors)                                                                                 \
    static void whole_pair_##vectors(const real *const *x, ptrdiff_t inputs, const real *panel,              \
                                     const real *bias, real *const *out, ptrdiff_t offset,                   \
                                     ptrdiff_t units) {                                                      \
        pair_tile(x, inputs, panel, bias, out, offset, units, vectors);                                      \
    }
DEFINE_WHOLES(1)
DEFINE_WHOLES(2)
DEFINE_WHOLES(3)
DEFINE_WHOLES(4)

#define WHOLES(vectors)                                                                                      \
    {whole_1x##vectors, whole_2x##vectors, whole_3x##vectors,                                                \
     whole_4x##vectors, whole_5x##vectors, whole_6x##vectors}
static whole_function *const wholes[MOST_VECTORS][MOST_ROWS] = {WHOLES(1), WHOLES(2), WHOLES(3), WHOLES(4)};
static whole_function *const whole_pairs[MOST_VECTORS] = {whole_pair_1, whole_pair_2, whole_pair_3,
                                                          whole_pair_4};

/* One row with few outputs would keep too few sums in flight. So each of these is a sum over PARTS parts of the
 * inputs, and then the bias. */
#define PARTS 4

INLINE void parts_tile(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                       real *const *out, ptrdiff_t units, const int row_count, const int vectors) {
    const ptrdiff_t length = inputs / PARTS, size = length * vectors * WIDTH;
    vreal sums[PARTS][MOST_ROWS * MOST_VECTORS];
    UNROLL for (int part = 0; part < PARTS; part++) {
        UNROLL for (int s = 0; s < row_count * vectors; s++)
            sums[part][s] = v_set(0);
    }
    if (row_count == 1) {
        /* As many sums at once as there are registers for. */
        const int at_once = vectors > 2 ? PARTS / 2 : PARTS;
        for (int first = 0; first < PARTS; first += at_once) {
            const real *from = x[0] + first * length, *weights = panel + first * size;
            vreal sum[PARTS * MOST_VECTORS];
            UNROLL for (int s = 0; s < at_once * vectors; s++)
                sum[s] = v_set(0);
            for (ptrdiff_t k = 0; k < length; k++, weights += vectors * WIDTH) {
                UNROLL for (int part = 0; part < at_once; part++) {
                    const vreal value = v_set(from[part * length + k]);
                    UNROLL for (int v = 0; v < vectors; v++)
                        sum[part * vectors + v] =
                            v_fma(value, v_load(weights + part * size + v * WIDTH), sum[part * vectors + v]);
                }
            }
            for (int part = 0; part < at_once; part++) {
                UNROLL for (int v = 0; v < vectors; v++)
                    sums[first + part][v] = sum[part * vectors + v];
            }
        }
        const real *rest = x[0] + PARTS * length;
        add_products(&rest, inputs - PARTS * length, panel + PARTS * size, 0, sums[PARTS - 1], FULL, 1,
                     vectors, 1);
    } else {
        for (int part = 0; part < PARTS; part++) {
            const ptrdiff_t first = part * length, count = part < PARTS - 1 ? length : inputs - first;
            const real *rows[MOST_ROWS];
            for (int row = 0; row < row_count; row++)
                rows[row] = x[row] + first;
            vreal sum[MOST_ROWS * MOST_VECTORS];
            UNROLL for (int s = 0; s < row_count * vectors; s++)
                sum[s] = v_set(0);
            add_products(rows, count, panel + part * size, 0, sum, FULL, row_count, vectors, 1);
            UNROLL for (int s = 0; s < row_count * vectors; s++)
                sums[part][s] = sum[s];
        }
    }
    UNROLL for (int row = 0; row < row_count; row++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            const ptrdiff_t left = units - v * WIDTH, n = left < WIDTH ? left : WIDTH;
            const int s = row * vectors + v;
            const vreal sum = v_add(v_add(sums[0][s], sums[1][s]), v_add(sums[2][s], sums[3][s]));
            store_some(out[row] + v * WIDTH, n, v_add(sum, load_some(bias + v * WIDTH, n)));
        }
    }
}

typedef void parts_function(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                            real *const *out, ptrdiff_t units);

#define DEFINE_PART(rows, vectors)                                                                           \
    static void parts_##rows##x##vectors(const real *const *x, ptrdiff_t inputs, const real *panel,          \
                                         const real *bias, real *const *out, ptrdiff_t units) {              \
        if ((rows) <= MAX_ROWS(vectors))                                                                     \
            parts_tile(x, inputs, panel, bias, out, units, rows, vectors);                                   \
    }
#define DEFINE_PARTS(vectors)                                                                                \
    DEFINE_PART(1, vectors)                                                                                  \
    DEFINE_PART(2, vectors)                                                                                  \
    DEFINE_PART(3, vectors)                                                                                  \
    DEFINE_PART(4, vectors)                                                                                  \
    DEFINE_PART(5, vectors)                                                                                  \
    DEFINE_PART(6, vectors)
DEFINE_PARTS(1)
DEFINE_PARTS(2)
DEFINE_PARTS(3)
DEFINE_PARTS(4)

#define ALL_PARTS(vectors)                                                                                   \
    {parts_1x##vectors, parts_2x##vectors, parts_3x##vectors,                                                \
     parts_4x##vectors, parts_5x##vectors, parts_6x##vectors}
static parts_function *const parts[MOST_VECTORS][MOST_ROWS] = {ALL_PARTS(1), ALL_PARTS(2), ALL_PARTS(3),
                                                               ALL_PARTS(4)};

/* out = bias + x times the packed matrix, where bias may be NULL. Each thread takes rows or, where these are
 * few, panels. With `in_parts` there is one panel, and a bias. */
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
        if (rows->count == 1 && block + 1 < end) {
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
                parts[vectors - 1][count - 1](x + row, p->inputs, panel, bias, rows->out + row, units);
            else
                wholes[vectors - 1][count - 1](x + row, p->inputs, panel, bias, rows->out + row, offset,
                                               units);
        }
    }
}

static void large_part(void *context, gw_member *member) {
    const struct large *large = context;
    const ptrdiff_t all = block_rows(&large->out);
    ptrdiff_t first = 0, end = all;
    gw_member alone = gw_alone(member->watch);
    if (all >= 2 * member->threads) {
        first = all * member->thread / member->threads;
        end = all * (member->thread + 1) / member->threads;
        member = &alone;
    }
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

static gw_status project_back(const gw_packed *layer, gw_block dgates, gw_block dx, int threads) {
    return multiply_packed(dgates, &layer->back_input, NULL, dx, threads, 0);
}

/* How many rows are packed at once, and how many of a's columns one tile of sums has. */
#define OUTER_CHUNK 256
#define OUTER_ROWS MAX_ROWS(MOST_VECTORS)

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

/* Sums a share of a's columns. */
static void sum_columns(const void *context, int index, int shares, gw_watch *watch) {
    const struct outer *outer = context;
    const gw_block *a = &outer->a, *b = &outer->b;
    const ptrdiff_t tiles = ceiling(a->features, OUTER_ROWS), end = tiles * (index + 1) / shares;
    /* The last tile begins early enough to lie within the rows, and leaves out what another one sums. */
    const ptrdiff_t last = a->features > OUTER_ROWS ? a->features - OUTER_ROWS : 0;
    const real *rows[OUTER_CHUNK];
    real filled[OUTER_CHUNK * OUTER_ROWS];
    ALIGNED real sums[TILE_SIZE];
    find_rows(a, outer->first, outer->count, rows, filled);
    /* The few columns of a stay in the nearest cache for all of b's. */
    for (ptrdiff_t tile = tiles * index / shares; tile < end; tile++) {
        const ptrdiff_t wanted = tile * OUTER_ROWS, row = wanted < last ? wanted : last;
        for (ptrdiff_t column = 0; column < b->features; column += PANEL_WIDTH) {
            const ptrdiff_t left = ceiling(b->features - column, WIDTH);
            const int vectors = left < MOST_VECTORS ? (int)left : MOST_VECTORS;
            if (!gw_goes_on(watch, outer->count * OUTER_ROWS * vectors * WIDTH))
                return;
            outer_functions[vectors - 1](rows, row, outer->count, outer->packed_b + column * OUTER_CHUNK,
                                         sums);
            put_tile(&outer->out, row, wanted - row, column, vectors, sums);
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

static gw_status outer(gw_block a, gw_block b, gw_matrix out, int threads) {
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
