/* Pairs of bfloat16 at once, where the processor multiplies them. */
#ifndef GATEWISE_BFLOAT16_DOTS_H
#define GATEWISE_BFLOAT16_DOTS_H

#include "products/bfloat16.h"

/* The sums of so many rows fit TILE_SIZE, if they are not of too many vectors. */
#define MOST_DOTTED_ROWS 8

/* Rows begin in lines of a cache, which are not the same ones for all rows. */
static size_t row_size_dotted(ptrdiff_t inputs) {
    const ptrdiff_t lines = ceiling(whole_pairs_of(inputs), 32);
    return (size_t)(lines % 2 ? lines : lines + 1) * 64;
}

static void convert_dotted(const struct panels *p, const float *row, char *converted) {
    uint16_t *target = (uint16_t *)converted;
    const ptrdiff_t inputs = p->inputs, whole = inputs / WIDTH * WIDTH;
    for (ptrdiff_t k = 0; k < whole; k += WIDTH)
        v_store_bfloat16(target + k, v_load(row + k));
    if (whole < inputs || !inputs)
        v_store_bfloat16(target + whole, inputs ? v_load_first(row + whole, inputs - whole) : v_set(0));
}

/* Adds the products of so many pairs, one at least, with some vectors of a panel of `width`. */
INLINE void add_dotted_pairs(const char *row, size_t row_size, ptrdiff_t pairs, const char *panel,
                             ptrdiff_t panel_step, vreal *sum, const int row_count, const int vectors,
                             const int panels, const int width) {
    const char *const end = row + 4 * pairs;
    do {
        if (row_count == 1) {
            const vtwo x = two_set(row);
            UNROLL for (int v = 0; v < vectors * panels; v++)
                sum[v] = v_add_twos(
                    sum[v], twos_load(panel + (v / vectors) * panel_step + (v % vectors) * WIDTH * 4), x);
        } else {
            vtwos weight[MOST_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++)
                weight[v] = twos_load(panel + v * WIDTH * 4);
            UNROLL for (int r = 0; r < row_count; r++) {
                const vtwo x = two_set(row + (size_t)r * row_size);
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[r * vectors + v] = v_add_twos(sum[r * vectors + v], weight[v], x);
            }
        }
        row += 4;
        panel += width * WIDTH * 4;
    } while (row < end);
}

/* The terms of a tile or, in place of rows, of one row and so many panels. */
struct dotted_term {
    const char *row;
    size_t row_size;
    ptrdiff_t pairs;
    const char *panel;
    ptrdiff_t panel_step;
};

typedef void dotted_function(const struct dotted_term *term, int term_count, struct place from,
                             struct place to);

/* The vectors from one on. */
INLINE void dotted_part(const struct dotted_term *term, int term_count, struct place from, struct place to,
                        const int row_count, const int first, const int vectors, const int panels,
                        const int width) {
    vreal sum[MOST_ROWS * MOST_VECTORS];
    const int in_row = vectors * panels;
    from.base += first * from.vector;
    to.base += first * to.vector;
    UNROLL for (int s = 0; s < row_count * in_row; s++)
        sum[s] = v_load(from.base + s / in_row * from.row + s % in_row * from.vector);
    do {
        add_dotted_pairs(term->row, term->row_size, term->pairs, term->panel + first * WIDTH * 4,
                         term->panel_step, sum, row_count, vectors, panels, width);
        term++;
    } while (--term_count);
    UNROLL for (int s = 0; s < row_count * in_row; s++)
        v_store(to.base + s / in_row * to.row + s % in_row * to.vector, sum[s]);
}

/* More sums than there are registers for are two parts: so weights that no near cache holds are read but once for
 * more rows. */
INLINE void dotted_tile(const struct dotted_term *term, int term_count, struct place from, struct place to,
                        const int row_count, const int vectors, const int panels) {
    if (row_count * vectors <= MOST_ROWS * MOST_VECTORS) {
        dotted_part(term, term_count, from, to, row_count, 0, vectors, panels, vectors);
        return;
    }
    dotted_part(term, term_count, from, to, row_count, 0, vectors / 2, panels, vectors);
    dotted_part(term, term_count, from, to, row_count, vectors / 2, vectors - vectors / 2, panels, vectors);
}

#define DEFINE_DOTTED(rows, vectors, panels)                                                                 \
    static void dotted_##rows##x##vectors##x##panels(const struct dotted_term *term, int term_count,         \
                                                     struct place from, struct place to) {                   \
        /* More rows than there are registers for are never asked for. */                                    \
        if ((rows) <= ROWS_OF_TWOS(vectors) || (rows) <= FEW_ROWS_OF_TWOS)                                   \
            dotted_tile(term, term_count, from, to, rows, vectors, panels);                                  \
    }
#define DEFINE_DOTTEDS(vectors)                                                                              \
    DEFINE_DOTTED(1, vectors, 2)                                                                             \
    DEFINE_DOTTED(1, vectors, 1)                                                                             \
    DEFINE_DOTTED(2, vectors, 1)                                                                             \
    DEFINE_DOTTED(3, vectors, 1)                                                                             \
    DEFINE_DOTTED(4, vectors, 1)                                                                             \
    DEFINE_DOTTED(5, vectors, 1)                                                                             \
    DEFINE_DOTTED(6, vectors, 1)                                                                             \
    DEFINE_DOTTED(7, vectors, 1)                                                                             \
    DEFINE_DOTTED(8, vectors, 1)
DEFINE_DOTTEDS(1)
DEFINE_DOTTEDS(2)
DEFINE_DOTTEDS(3)
DEFINE_DOTTEDS(4)

/* By vectors and rows; of no row, a pair of panels for one. */
#define DOTTEDS(vectors)                                                                                     \
    {dotted_1x##vectors##x2, dotted_1x##vectors##x1, dotted_2x##vectors##x1,                                 \
     dotted_3x##vectors##x1, dotted_4x##vectors##x1, dotted_5x##vectors##x1,                                 \
     dotted_6x##vectors##x1, dotted_7x##vectors##x1, dotted_8x##vectors##x1}
static dotted_function *const dotteds[MOST_VECTORS][MOST_DOTTED_ROWS + 1] = {DOTTEDS(1), DOTTEDS(2),
                                                                             DOTTEDS(3), DOTTEDS(4)};

/* Where the pairs of a block stand, from the first one on. */
INLINE const char *dotted_panel(const struct panels *p, ptrdiff_t block) {
    return (const char *)p->data + 4 * block_offset(p, block, whole_pairs_of(p->inputs) / 2);
}

INLINE struct dotted_term dotted_term(const struct panels *p, const char *converted, ptrdiff_t block,
                                      ptrdiff_t row) {
    const ptrdiff_t pairs = whole_pairs_of(p->inputs) / 2;
    const size_t row_size = row_size_dotted(p->inputs);
    return (struct dotted_term){converted + (size_t)row * row_size, row_size, pairs, dotted_panel(p, block),
                                pairs * block_vectors(p, block) * WIDTH * 4};
}

static void add_dotted(const struct panels *p, const char *converted, ptrdiff_t block, int blocks,
                       ptrdiff_t row, int count, float *sums) {
    const int vectors = block_vectors(p, block);
    const struct dotted_term term = dotted_term(p, converted, block, row);
    const struct place place = {sums, vectors * WIDTH, WIDTH};
    dotteds[vectors - 1][blocks == 2 ? 0 : count](&term, 1, place, place);
}

static void add_all_dotted(const struct whole_tile *tile, ptrdiff_t block, ptrdiff_t row, int count) {
    struct dotted_term terms[2];
    for (int k = 0; k < tile->term_count; k++)
        terms[k] = dotted_term(tile->panels[k], tile->converted[k], block, row);
    dotteds[block_vectors(tile->panels[0], block) - 1][count](terms, tile->term_count, tile->from, tile->to);
}

static int pack_dotted(struct panels *p, const void *matrix, const float *scales, gw_watch *watch) {
    (void)scales;
    return pack_bfloat16(p, matrix, 0, 1, watch);
}

static int pack_wide_dotted(struct panels *p, const void *matrix, const float *scales, gw_watch *watch) {
    (void)scales;
    return pack_bfloat16(p, matrix, 1, 1, watch);
}

/* Packs the transpose of some of the outputs that `forward` holds, from one on, which is an even one. */
static int transpose_dotted(struct panels *back, const struct panels *forward, ptrdiff_t first, ptrdiff_t end,
                            gw_watch *watch) {
    back->gates = 1;
    back->units = forward->inputs;
    back->inputs = end - first;
    back->format = forward->format;
    const ptrdiff_t pairs = whole_pairs_of(back->inputs) / 2, own_pairs = whole_pairs_of(forward->inputs) / 2;
    const size_t size = (size_t)block_offset(back, block_count(back), pairs) * 4;
    back->data = gw_allocate(size);
    if (!back->data)
        return 0;
    memset(back->data, 0, size);
    for (ptrdiff_t block = 0; block < block_count(forward); block++) {
        const int vectors = block_vectors(forward, block);
        for (int v = 0; v < vectors && gw_goes_on(watch, back->units * PACKING_WORK); v++) {
            const ptrdiff_t output = vector_offset(forward, block, v);
            if (output < first || output >= end)
                continue;
            const ptrdiff_t length = vector_length(forward, block, v), input = output - first;
            const uint16_t *source =
                (const uint16_t *)forward->data + 2 * (block_offset(forward, block, own_pairs) + v * WIDTH);
            for (ptrdiff_t unit = 0; unit < back->units; unit++) {
                const ptrdiff_t panel = unit / PANEL_WIDTH, width = block_vectors(back, panel) * WIDTH;
                uint16_t *target =
                    (uint16_t *)back->data + 2 * (block_offset(back, panel, pairs) + unit % PANEL_WIDTH);
                const uint16_t *from = source + unit / 2 * 2 * vectors * WIDTH + 1 - unit % 2;
                for (ptrdiff_t k = 0; k < length; k++)
                    target[2 * ((input + k) / 2 * width) + 1 - (input + k) % 2] = from[2 * k];
            }
        }
    }
    return 1;
}

#define DOTTED_FORMATS                                                                                       \
    BFLOAT16_FORMAT(dotted, "bfloat16", pack_dotted, NULL, 2, ROWS_OF_TWOS, ALONE_IN_DOTS,                   \
                    BFLOAT16_CONDITION, add_all_dotted, FEW_ROWS_OF_TWOS),                                   \
        BFLOAT16_FORMAT(dotted, "to_bfloat16", pack_wide_dotted, transpose_dotted, 4, ROWS_OF_TWOS,          \
                        ALONE_IN_DOTS, BFLOAT16_CONDITION, add_all_dotted, FEW_ROWS_OF_TWOS)

#endif
