/* Four inputs at once. Where a product takes elements without a sign, `DOTS_ZERO` has been added to them; what that
 * is too much stands in the offsets that the sums start from. Of two planes the upper one alone has it. Where it takes
 * elements with a sign, both planes have one. */
#ifndef GATEWISE_INT8_DOTS_H
#define GATEWISE_INT8_DOTS_H

#include "products/int8.h"

#ifdef DOTS_HAVE_SIGN
#define DOTS_ZERO 0
/* What makes the upper plane the nearest integer, so that the lower one is from -128 to 127. */
#define TO_NEAREST 128
#else
#define DOTS_ZERO 128
#define TO_NEAREST 0
#endif

INLINE void put_dots_15(char *elements, ptrdiff_t count, ptrdiff_t k, vint steps) {
    const vint upper = i_high(i_add(steps, i_set(TO_NEAREST)));
    i_store_8((uint8_t *)elements + k, i_add(upper, i_set(DOTS_ZERO)));
    i_store_8((uint8_t *)elements + count + k, steps);
}

INLINE void put_dots_8(char *elements, ptrdiff_t count, ptrdiff_t k, vint steps) {
    (void)count;
    i_store_8((uint8_t *)elements + k, i_add(steps, i_set(DOTS_ZERO)));
}

/* One group of inputs of one row. */
INLINE void add_dots_of_one(const int8_t *panel, const char *row, ptrdiff_t elements, vint *upper,
                            vint *lower, const int planes, const int vectors) {
    const vfour x = four_set(row), x_low = planes == 2 ? four_set(row + elements) : x;
    UNROLL for (int v = 0; v < vectors; v++) {
        const vfours weight = fours_load(panel + v * WIDTH * 4);
        upper[v] = i_add_dots(upper[v], weight, x);
        if (planes == 2)
            lower[v] = i_add_dots(lower[v], weight, x_low);
    }
}

/* One row keeps too few sums in flight, so it has several for each output, each of every second or fourth group. (The panels of
 * several outputs side by side would do that as well, but reading them by turns takes half as long again.) */
#define SUMS_IN_FLIGHT (WIDTH == 16 ? 16 : 8)
#define SETS_OF(sums) (2 * (sums) > SUMS_IN_FLIGHT ? 1 : 4 * (sums) > SUMS_IN_FLIGHT ? 2 : 4)

INLINE void add_dots_of_row(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t inputs, vint *upper,
                            vint *lower, const int planes, const int vectors) {
    const int sets = SETS_OF(planes * vectors), step = vectors * WIDTH * 4;
    const int8_t *panel = tile->panel + first * vectors * WIDTH;
    const char *row = tile->row + ROW_HEAD + first, *end = row + inputs;
    vint more[2][4 * MOST_VECTORS];
    UNROLL for (int s = vectors; s < sets * vectors; s++)
        more[0][s] = more[1][s] = i_set(0);
    UNROLL for (int v = 0; v < vectors; v++) {
        more[0][v] = upper[v];
        more[1][v] = lower[v];
    }
    for (; end - row >= 4 * sets; row += 4 * sets, panel += sets * step) {
        UNROLL for (int set = 0; set < sets; set++)
            add_dots_of_one(panel + set * step, row + 4 * set, tile->elements, more[0] + set * vectors,
                            more[1] + set * vectors, planes, vectors);
    }
    for (; sets > 1 && row < end; row += 4, panel += step)
        add_dots_of_one(panel, row, tile->elements, more[0], more[1], planes, vectors);
    UNROLL for (int v = 0; v < vectors; v++) {
        UNROLL for (int set = 1; set < sets; set++) {
            more[0][v] = i_add(more[0][v], more[0][set * vectors + v]);
            more[1][v] = i_add(more[1][v], more[1][set * vectors + v]);
        }
        upper[v] = more[0][v];
        lower[v] = more[1][v];
    }
}

/* One plane of several rows. */
INLINE void add_dots(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t inputs, vint *sum,
                     const int plane, const int row_count, const int vectors) {
    const int8_t *panel = tile->panel + first * vectors * WIDTH;
    const char *row = tile->row + ROW_HEAD + plane * tile->elements + first, *end = row + inputs;
    const size_t row_size = tile->row_size;
    /* At least once, of inputs that fill it up with zeros: so compilers keep the sums where they are. */
    do {
        vfours weight[MOST_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            weight[v] = fours_load(panel + v * WIDTH * 4);
        UNROLL for (int r = 0; r < row_count; r++) {
            const vfour x = four_set(row + (size_t)r * row_size);
            UNROLL for (int v = 0; v < vectors; v++)
                sum[r * vectors + v] = i_add_dots(sum[r * vectors + v], weight[v], x);
        }
        row += 4;
        panel += vectors * WIDTH * 4;
    } while (row < end);
}

/* The sums of several rows. Their planes come one after the other, so that the registers hold the sums of twice the
 * rows: the lower one on top of the upper one where both fit 32 bits together. */
INLINE void dots_of_rows(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t inputs,
                         const int32_t *offsets, vreal *integers, const int planes, const int is_short,
                         const int row_count, const int vectors) {
    const int count = row_count * vectors;
    vint sum[MOST_ROWS * MOST_VECTORS], upper[MOST_ROWS * MOST_VECTORS];
    UNROLL for (int s = 0; s < count; s++)
        sum[s] = i_load(offsets + s % vectors * WIDTH);
    add_dots(tile, first, inputs, sum, 0, row_count, vectors);
    if (planes == 2) {
        UNROLL for (int s = 0; s < count; s++) {
            upper[s] = sum[s];
            sum[s] = is_short ? i_times_256(sum[s]) : i_set(0);
        }
        add_dots(tile, first, inputs, sum, 1, row_count, vectors);
    }
    UNROLL for (int s = 0; s < count; s++)
        integers[s] = planes == 1 || is_short ? i_to_real(sum[s]) : real_of_parts(upper[s], sum[s]);
}

/* The sums of a row alone, whose weights are read only once. */
INLINE void dots_of_row(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t inputs,
                        const int32_t *offsets, vreal *integers, const int planes, const int is_short,
                        const int vectors) {
    vint upper[MOST_VECTORS], lower[MOST_VECTORS];
    UNROLL for (int v = 0; v < vectors; v++) {
        upper[v] = i_load(offsets + v * WIDTH);
        lower[v] = i_set(0);
    }
    add_dots_of_row(tile, first, inputs, upper, lower, planes, vectors);
    UNROLL for (int v = 0; v < vectors; v++)
        integers[v] = planes == 1 ? i_to_real(upper[v])
                      : is_short  ? i_to_real(i_add(i_times_256(upper[v]), lower[v]))
                                  : real_of_parts(upper[v], lower[v]);
}

INLINE void dots_segment(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t inputs,
                         const int32_t *offsets, float *sums, const int planes, const int is_short,
                         const int row_count, const int vectors) {
    vreal integers[MOST_ROWS * MOST_VECTORS];
    if (row_count == 1)
        dots_of_row(tile, first, inputs, offsets, integers, planes, is_short, vectors);
    else
        dots_of_rows(tile, first, inputs, offsets, integers, planes, is_short, row_count, vectors);
    end_integers(tile, integers, sums, row_count, vectors);
}

INLINE void dots_tile(const struct int8_tile *tile, float *sums, const int planes, const int row_count,
                      const int vectors) {
    const int32_t *offsets = tile->offsets;
    if (tile->inputs <= INPUTS_AT_ONCE) {
        dots_segment(tile, 0, tile->inputs, offsets, sums, planes, 1, row_count, vectors);
        return;
    }
    for (ptrdiff_t first = 0; first < tile->inputs; first += SEGMENT) {
        const ptrdiff_t left = tile->inputs - first, inputs = left < SEGMENT ? left : SEGMENT;
        dots_segment(tile, first, inputs, offsets, sums, planes, 0, row_count, vectors);
        offsets += tile->offsets_step;
    }
}

DEFINE_INT8(dots_15, ROWS_OF_DOTS, dots_tile, 2, 4, DOTS_ZERO, 2)
DEFINE_INT8(dots_8, ROWS_OF_DOTS, dots_tile, 1, 4, DOTS_ZERO, 1)

#endif
