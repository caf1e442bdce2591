/* Sums over all rows of all steps at once, of products of bfloat16: pairs of rows stand side by side in each column.
 *
 * Both sides are rounded and paired chunk by chunk; a tile's few columns of a are copied once for all of b's. */
#ifndef GATEWISE_OUTER_DOTTED_H
#define GATEWISE_OUTER_DOTTED_H

#include "loops/outer.h"

#define PAIRS_AT_ONCE (OUTER_CHUNK / 2)

/* From one pair of rows of a to the next: whole vectors, and some more lest all begin in the same places of a cache. */
INLINE ptrdiff_t pairs_step(const gw_block *a) { return (ceiling(a->features, WIDTH) + 1) * WIDTH; }

INLINE vreal load_column(const real *row, ptrdiff_t column, ptrdiff_t n) {
    return row ? load_some(row + column, n) : v_set(0);
}

/* Pairs a share of the vectors of either side. */
static void pair_columns(const void *context, int index, int shares, gw_watch *watch) {
    const struct outer *outer = context;
    const gw_block *a = &outer->a, *b = &outer->b;
    const ptrdiff_t of_a = ceiling(a->features, WIDTH), all = of_a + ceiling(b->features, WIDTH);
    const ptrdiff_t begin = all * index / shares, end = all * (index + 1) / shares;
    for (ptrdiff_t k = 0; k < outer->count && gw_goes_on(watch, (end - begin) * WIDTH * 2); k += 2) {
        const ptrdiff_t row = outer->first + k;
        const int has_both = k + 1 < outer->count;
        const real *const even_a = block_row(a, row), *const even_b = block_row(b, row);
        const real *const odd_a = has_both ? block_row(a, row + 1) : NULL;
        const real *const odd_b = has_both ? block_row(b, row + 1) : NULL;
        for (ptrdiff_t vector = begin; vector < end; vector++) {
            const int is_a = vector < of_a;
            const ptrdiff_t column = (is_a ? vector : vector - of_a) * WIDTH;
            const ptrdiff_t left = (is_a ? a : b)->features - column, n = left < WIDTH ? left : WIDTH;
            uint32_t *target = outer->pairs_a + k / 2 * pairs_step(a) + column;
            if (!is_a) {
                const ptrdiff_t panel = column / PANEL_WIDTH * PANEL_WIDTH;
                const ptrdiff_t rest = ceiling(b->features - panel, WIDTH) * WIDTH;
                const ptrdiff_t width = rest < PANEL_WIDTH ? rest : PANEL_WIDTH;
                target = (uint32_t *)outer->packed_b + panel * PAIRS_AT_ONCE + k / 2 * width + column - panel;
            }
            v_store_pairs((uint16_t *)target, load_column(is_a ? even_a : even_b, column, n),
                          load_column(is_a ? odd_a : odd_b, column, n));
        }
    }
}

/* sums[row][v] = sum over k of a[k][row] * panel[k][v]. */
INLINE void outer_dotted_tile(const char *a, ptrdiff_t pairs, const char *panel, real *sums,
                              const int vectors) {
    vreal sum[OUTER_ROWS * MOST_VECTORS];
    UNROLL for (int s = 0; s < OUTER_ROWS * vectors; s++)
        sum[s] = v_set(0);
    do {
        vtwos weight[MOST_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            weight[v] = twos_load(panel + v * WIDTH * 4);
        UNROLL for (int row = 0; row < OUTER_ROWS; row++) {
            const vtwo x = two_set(a + row * 4);
            UNROLL for (int v = 0; v < vectors; v++)
                sum[row * vectors + v] = v_add_twos(sum[row * vectors + v], weight[v], x);
        }
        a += OUTER_ROWS * 4;
        panel += vectors * WIDTH * 4;
    } while (--pairs);
    UNROLL for (int s = 0; s < OUTER_ROWS * vectors; s++)
        v_store(sums + s * WIDTH, sum[s]);
}
#define DEFINE_OUTER_DOTTED(vectors)                                                                         \
    static void outer_dotted_##vectors(const char *a, ptrdiff_t pairs, const char *panel, real *sums) {      \
        outer_dotted_tile(a, pairs, panel, sums, vectors);                                                   \
    }
DEFINE_OUTER_DOTTED(1)
DEFINE_OUTER_DOTTED(2)
DEFINE_OUTER_DOTTED(3)
DEFINE_OUTER_DOTTED(4)

typedef void outer_dotted_function(const char *a, ptrdiff_t pairs, const char *panel, real *sums);

static outer_dotted_function *const outers_dotted[MOST_VECTORS] = {outer_dotted_1, outer_dotted_2,
                                                                   outer_dotted_3, outer_dotted_4};

/* Sums a share of a's columns. */
static void sum_dotted(const void *context, int index, int shares, gw_watch *watch) {
    const struct outer *outer = context;
    const gw_block *a = &outer->a, *b = &outer->b;
    const ptrdiff_t tiles = ceiling(a->features, OUTER_ROWS), end = tiles * (index + 1) / shares;
    /* As in sum_columns. */
    const ptrdiff_t last = a->features > OUTER_ROWS ? a->features - OUTER_ROWS : 0;
    const ptrdiff_t pairs = ceiling(outer->count, 2), step = pairs_step(a);
    uint32_t own[PAIRS_AT_ONCE * OUTER_ROWS];
    ALIGNED real sums[TILE_SIZE];
    for (ptrdiff_t tile = tiles * index / shares; tile < end; tile++) {
        const ptrdiff_t wanted = tile * OUTER_ROWS, row = wanted < last ? wanted : last;
        for (ptrdiff_t k = 0; k < pairs; k++)
            memcpy(own + k * OUTER_ROWS, outer->pairs_a + k * step + row, OUTER_ROWS * sizeof *own);
        for (ptrdiff_t column = 0; column < b->features; column += PANEL_WIDTH) {
            const ptrdiff_t left = ceiling(b->features - column, WIDTH);
            const int vectors = left < MOST_VECTORS ? (int)left : MOST_VECTORS;
            if (!gw_goes_on(watch, outer->count * OUTER_ROWS * vectors * WIDTH))
                return;
            outers_dotted[vectors - 1]((const char *)own, pairs,
                                       (const char *)outer->packed_b + 4 * column * PAIRS_AT_ONCE, sums);
            put_tile(&outer->out, row, wanted - row, column, vectors, sums);
        }
    }
}

static void outer_dotted_part(void *context, gw_member *member) {
    struct outer chunk = *(const struct outer *)context;
    const ptrdiff_t count = block_rows(&chunk.a);
    for (; chunk.first < count && gw_goes_on(member->watch, 0); chunk.first += OUTER_CHUNK) {
        const ptrdiff_t left = count - chunk.first;
        chunk.count = left < OUTER_CHUNK ? left : OUTER_CHUNK;
        gw_run_shares(member, pair_columns, &chunk);
        gw_run_shares(member, sum_dotted, &chunk);
    }
}

static gw_status outer_dotted(gw_block a, gw_block b, gw_matrix out, int threads) {
    struct outer outer = {.a = a, .b = b, .out = out};
    const ptrdiff_t columns = ceiling(b.features, PANEL_WIDTH) * PANEL_WIDTH;
    struct workspace space;
    gw_call call;
    open_space(&space);
    outer.packed_b = take_space(&space, (size_t)(columns * PAIRS_AT_ONCE) * sizeof(uint32_t));
    /* A tile of few columns reads as many as any. */
    outer.pairs_a =
        take_space(&space, (size_t)(pairs_step(&a) * PAIRS_AT_ONCE + OUTER_ROWS) * sizeof(uint32_t));
    const int ready = outer.packed_b && outer.pairs_a;
    gw_watch watch = gw_open(&call, 1);
    if (ready)
        gw_run(&watch, outer_dotted_part, &outer,
               block_rows(&a) * a.features * b.features < WORTH_SHARING ? 1 : threads);
    const gw_status status = gw_close(&call, ready ? GW_OK : GW_NO_MEMORY);
    release_space(&space);
    return status;
}

#endif
