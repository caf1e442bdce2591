/* Sums over all rows of all steps at once, of products of bfloat16: pairs of rows stand side by side in each column.
 *
 * Both sides are rounded and paired chunk by chunk; a tile's few columns of a are copied once for all of b's. */
#ifndef GATEWISE_OUTER_DOTTED_H
#define GATEWISE_OUTER_DOTTED_H

#include "loops/outer.h"

#define PAIRS_AT_ONCE (OUTER_CHUNK / 2)

/* A chunk of rows of some products with one side in common, which its threads share. */
struct dotted {
    gw_block a;
    const gw_outer_side *sides;
    int side_count;
    uint32_t *pairs_a, *pairs_b[GW_MOST_SIDES];
    ptrdiff_t first, count;
};

/* From one pair of rows of a to the next: whole vectors, and some more lest all begin in the same places of a cache. */
INLINE ptrdiff_t pairs_step(const gw_block *a) { return (ceiling(a->features, WIDTH) + 1) * WIDTH; }

/* Pairs the columns of two rows from one to another. */
INLINE void pair_rows(const real *even, const real *odd, ptrdiff_t column, ptrdiff_t end, uint32_t *target) {
    for (; column + WIDTH <= end; column += WIDTH, target += WIDTH)
        v_store_pairs((uint16_t *)target, v_load(even + column), odd ? v_load(odd + column) : v_set(0));
    if (column < end)
        v_store_pairs((uint16_t *)target, load_some(even + column, end - column),
                      odd ? load_some(odd + column, end - column) : v_set(0));
}

/* Pairs a chunk's rows: from a vector to another of a's, or from a panel to another of b's. */
static void pair_block(const struct dotted *dotted, const gw_block *block, ptrdiff_t begin, ptrdiff_t end,
                       uint32_t *pairs, const int is_a, gw_watch *watch) {
    for (ptrdiff_t k = 0; k < dotted->count && gw_goes_on(watch, (end - begin) * WIDTH * 2); k += 2) {
        const ptrdiff_t row = dotted->first + k;
        const real *const even = block_row(block, row);
        const real *const odd = k + 1 < dotted->count ? block_row(block, row + 1) : NULL;
        if (is_a) {
            const ptrdiff_t column = begin * WIDTH, last = end * WIDTH;
            pair_rows(even, odd, column, last < block->features ? last : block->features,
                      pairs + k / 2 * pairs_step(block) + column);
            continue;
        }
        for (ptrdiff_t panel = begin; panel < end; panel++) {
            const ptrdiff_t column = panel * PANEL_WIDTH, left = block->features - column;
            const ptrdiff_t width = left < PANEL_WIDTH ? left : PANEL_WIDTH;
            pair_rows(even, odd, column, column + width,
                      pairs + column * PAIRS_AT_ONCE + k / 2 * ceiling(width, WIDTH) * WIDTH);
        }
    }
}

/* Pairs a share of the columns of every side. */
static void pair_columns(const void *context, int index, int shares, gw_watch *watch) {
    const struct dotted *dotted = context;
    const ptrdiff_t of_a = ceiling(dotted->a.features, WIDTH);
    pair_block(dotted, &dotted->a, of_a * index / shares, of_a * (index + 1) / shares, dotted->pairs_a, 1,
               watch);
    for (int side = 0; side < dotted->side_count; side++) {
        const gw_block *b = &dotted->sides[side].b;
        const ptrdiff_t panels = ceiling(b->features, PANEL_WIDTH);
        pair_block(dotted, b, panels * index / shares, panels * (index + 1) / shares, dotted->pairs_b[side],
                   0, watch);
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
    const struct dotted *dotted = context;
    const gw_block *a = &dotted->a;
    const ptrdiff_t tiles = ceiling(a->features, OUTER_ROWS), end = tiles * (index + 1) / shares;
    /* As in sum_columns. */
    const ptrdiff_t last = a->features > OUTER_ROWS ? a->features - OUTER_ROWS : 0;
    const ptrdiff_t pairs = ceiling(dotted->count, 2), step = pairs_step(a);
    uint32_t own[PAIRS_AT_ONCE * OUTER_ROWS];
    ALIGNED real sums[TILE_SIZE];
    for (ptrdiff_t tile = tiles * index / shares; tile < end; tile++) {
        const ptrdiff_t wanted = tile * OUTER_ROWS, row = wanted < last ? wanted : last;
        for (ptrdiff_t k = 0; k < pairs; k++)
            memcpy(own + k * OUTER_ROWS, dotted->pairs_a + k * step + row, OUTER_ROWS * sizeof *own);
        for (int side = 0; side < dotted->side_count; side++) {
            const gw_outer_side *to = &dotted->sides[side];
            const uint32_t *const panels = dotted->pairs_b[side];
            for (ptrdiff_t column = 0; column < to->b.features; column += PANEL_WIDTH) {
                const ptrdiff_t left = ceiling(to->b.features - column, WIDTH);
                const int vectors = left < MOST_VECTORS ? (int)left : MOST_VECTORS;
                if (!gw_goes_on(watch, dotted->count * OUTER_ROWS * vectors * WIDTH))
                    return;
                outers_dotted[vectors - 1]((const char *)own, pairs,
                                           (const char *)(panels + column * PAIRS_AT_ONCE), sums);
                put_tile(&to->out, row, wanted - row, column, vectors, sums);
            }
        }
    }
}

static void outer_dotted_part(void *context, gw_member *member) {
    struct dotted chunk = *(const struct dotted *)context;
    const ptrdiff_t count = block_rows(&chunk.a);
    for (; chunk.first < count && gw_goes_on(member->watch, 0); chunk.first += OUTER_CHUNK) {
        const ptrdiff_t left = count - chunk.first;
        chunk.count = left < OUTER_CHUNK ? left : OUTER_CHUNK;
        gw_run_shares(member, pair_columns, &chunk);
        gw_run_shares(member, sum_dotted, &chunk);
    }
}

static gw_status outer_dotted(gw_block a, const gw_outer_side *sides, int count, int threads) {
    struct dotted dotted = {.a = a, .sides = sides, .side_count = count};
    struct workspace space;
    gw_call call;
    open_space(&space);
    /* A tile of few columns reads as many as any. */
    dotted.pairs_a =
        take_space(&space, (size_t)(pairs_step(&a) * PAIRS_AT_ONCE + OUTER_ROWS) * sizeof(uint32_t));
    int ready = dotted.pairs_a != NULL;
    ptrdiff_t columns = 0;
    for (int side = 0; side < count && ready; side++) {
        const ptrdiff_t whole = ceiling(sides[side].b.features, PANEL_WIDTH) * PANEL_WIDTH;
        dotted.pairs_b[side] = take_space(&space, (size_t)(whole * PAIRS_AT_ONCE) * sizeof(uint32_t));
        ready = dotted.pairs_b[side] != NULL;
        columns += sides[side].b.features;
    }
    gw_watch watch = gw_open(&call, 1);
    if (ready)
        gw_run(&watch, outer_dotted_part, &dotted,
               block_rows(&a) * a.features * columns < WORTH_SHARING ? 1 : threads);
    const gw_status status = gw_close(&call, ready ? GW_OK : GW_NO_MEMORY);
    release_space(&space);
    return status;
}

#endif
