/* Two inputs at once, weights and rows widened to 16 bits: for what has no products of four. */
#ifndef GATEWISE_INT8_PAIRS_H
#define GATEWISE_INT8_PAIRS_H

#include "products/int8.h"

INLINE void put_pairs(char *elements, ptrdiff_t count, ptrdiff_t k, vint steps) {
    (void)count;
    i_store_16((int16_t *)elements + k, steps);
}
#define put_pairs_15 put_pairs
#define put_pairs_8 put_pairs

/* One pair of one row. */
INLINE void add_pairs_of_one(const int8_t *panel, const char *row, vint *sum, const int vectors) {
    const vpair x = pair_set(row);
    UNROLL for (int v = 0; v < vectors; v++)
        sum[v] = i_add_pairs(sum[v], pairs_load(panel + v * WIDTH * 2), x);
}

/* Several at once, since one is not much more than what the loop itself takes. */
INLINE void add_pairs_of_row(const int8_t *panel, const char *row, const char *end, vint *sum,
                             const int vectors) {
    const int step = vectors * WIDTH * 2;
    for (; end - row >= 16; row += 16, panel += 4 * step) {
        UNROLL for (int pair = 0; pair < 4; pair++)
            add_pairs_of_one(panel + pair * step, row + 4 * pair, sum, vectors);
    }
    for (; row < end; row += 4, panel += step)
        add_pairs_of_one(panel, row, sum, vectors);
}

/* Adds so many pairs to sums that cannot leave 32 bits on the way. */
INLINE void add_pairs(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t pairs, vint *sum,
                      const int row_count, const int vectors) {
    const int8_t *panel = tile->panel + first * vectors * WIDTH * 2;
    const char *row = tile->row + ROW_HEAD + first * 4;
    const char *end = row + pairs * 4;
    if (row_count == 1) {
        add_pairs_of_row(panel, row, end, sum, vectors);
        return;
    }
    /* As for dots. */
    do {
        vpair x[MOST_ROWS];
        UNROLL for (int r = 0; r < row_count; r++)
            x[r] = pair_set(row + (size_t)r * tile->row_size);
        UNROLL for (int v = 0; v < vectors; v++) {
            const vpairs weight = pairs_load(panel + v * WIDTH * 2);
            UNROLL for (int r = 0; r < row_count; r++)
                sum[r * vectors + v] = i_add_pairs(sum[r * vectors + v], weight, x[r]);
        }
        row += 4;
        panel += vectors * WIDTH * 2;
    } while (row < end);
}

INLINE void pairs_tile(const struct int8_tile *tile, float *sums, const int planes, const int row_count,
                       const int vectors) {
    const ptrdiff_t most = (planes == 2 ? INPUTS_AT_ONCE : SEGMENT) / 2, pairs = tile->inputs / 2;
    const int count = row_count * vectors;
    for (ptrdiff_t first = 0; first < pairs;) {
        const ptrdiff_t segment_end = first + SEGMENT / 2 < pairs ? first + SEGMENT / 2 : pairs;
        vint high[MOST_ROWS * MOST_VECTORS], low[MOST_ROWS * MOST_VECTORS];
        UNROLL for (int s = 0; s < count; s++)
            high[s] = low[s] = i_set(0);
        while (first < segment_end) {
            const ptrdiff_t length = segment_end - first < most ? segment_end - first : most;
            vint sum[MOST_ROWS * MOST_VECTORS];
            UNROLL for (int s = 0; s < count; s++)
                sum[s] = i_set(0);
            add_pairs(tile, first, length, sum, row_count, vectors);
            first += length;
            UNROLL for (int s = 0; s < count; s++) {
                high[s] = i_add(high[s], i_high(sum[s]));
                low[s] = i_add(low[s], i_low(sum[s]));
            }
        }
        vreal integers[MOST_ROWS * MOST_VECTORS];
        UNROLL for (int s = 0; s < count; s++)
            integers[s] = real_of_parts(high[s], low[s]);
        end_integers(tile, integers, sums, row_count, vectors);
    }
}

DEFINE_INT8(pairs_15, ROWS_OF_PAIRS, pairs_tile, 2, 2, 0, 2)
DEFINE_INT8(pairs_8, ROWS_OF_PAIRS, pairs_tile, 1, 2, 0, 2)

#endif
