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

INLINE void add_dots(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t inputs, vint *upper,
                     vint *lower, const int planes, const int row_count, const int vectors) {
    const int8_t *panel = tile->panel + first * vectors * WIDTH;
    const char *row = tile->row + ROW_HEAD + first, *end = row + inputs;
    /* At least once, of inputs that fill it up with zeros: so compilers keep the sums where they are. */
    do {
        vfours weight[MOST_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            weight[v] = fours_load(panel + v * WIDTH * 4);
        UNROLL for (int r = 0; r < row_count; r++) {
            const char *own = row + (size_t)r * tile->row_size;
            const vfour x = four_set(own), x_low = planes == 2 ? four_set(own + tile->elements) : x;
            UNROLL for (int v = 0; v < vectors; v++) {
                upper[r * vectors + v] = i_add_dots(upper[r * vectors + v], weight[v], x);
                if (planes == 2)
                    lower[r * vectors + v] = i_add_dots(lower[r * vectors + v], weight[v], x_low);
            }
        }
        row += 4;
        panel += vectors * WIDTH * 4;
    } while (row < end);
}

/* Where the inputs are few, whole sums fit 32 bits. */
INLINE void end_dots(const struct int8_tile *tile, const vint *upper, const vint *lower, float *sums,
                     const int planes, const int row_count, const int vectors, const int is_short) {
    UNROLL for (int r = 0; r < row_count; r++) {
        const vreal scale = v_set(row_scale(tile->row + (size_t)r * tile->row_size));
        UNROLL for (int v = 0; v < vectors; v++) {
            const vint up = upper[r * vectors + v], low = lower[r * vectors + v];
            const vreal integers = planes == 1 ? i_to_real(up)
                                   : is_short  ? i_to_real(i_add(i_times_256(up), low))
                                               : real_of_parts(up, low);
            add_integers(integers, scale, tile->scales + v * WIDTH, sums + (r * vectors + v) * WIDTH);
        }
    }
}

INLINE void dots_tile(const struct int8_tile *tile, float *sums, const int planes, const int row_count,
                      const int vectors) {
    const int32_t *offsets = tile->offsets;
    for (ptrdiff_t first = 0; first == 0 || first < tile->inputs; first += SEGMENT) {
        const ptrdiff_t left = tile->inputs - first, inputs = left < SEGMENT ? left : SEGMENT;
        vint upper[MOST_ROWS * MOST_VECTORS], lower[MOST_ROWS * MOST_VECTORS];
        UNROLL for (int r = 0; r < row_count; r++) {
            UNROLL for (int v = 0; v < vectors; v++) {
                upper[r * vectors + v] = i_load(offsets + v * WIDTH);
                lower[r * vectors + v] = i_set(0);
            }
        }
        if (row_count == 1)
            add_dots_of_row(tile, first, inputs, upper, lower, planes, vectors);
        else
            add_dots(tile, first, inputs, upper, lower, planes, row_count, vectors);
        if (tile->inputs <= INPUTS_AT_ONCE)
            end_dots(tile, upper, lower, sums, planes, row_count, vectors, 1);
        else
            end_dots(tile, upper, lower, sums, planes, row_count, vectors, 0);
        offsets += tile->offsets_step;
    }
}

DEFINE_INT8(dots_15, ROWS_OF_DOTS_15, dots_tile, 2, 4, DOTS_ZERO, 2)
DEFINE_INT8(dots_8, ROWS_OF_DOTS_8, dots_tile, 1, 4, DOTS_ZERO, 1)

#endif
