/* Four inputs at once: weights with a sign times elements without one, to which `zero` has been added; what that is
 * too much stands in the offsets that the sums start from. Of two planes the upper one alone has it. */
#ifndef GATEWISE_INT8_DOTS_H
#define GATEWISE_INT8_DOTS_H

#include "products/int8.h"

INLINE void put_dots_15(char *elements, ptrdiff_t count, ptrdiff_t k, vint steps) {
    i_store_8((uint8_t *)elements + k, i_add(i_high(steps), i_set(128)));
    i_store_8((uint8_t *)elements + count + k, steps);
}

INLINE void put_dots_8(char *elements, ptrdiff_t count, ptrdiff_t k, vint steps) {
    (void)count;
    i_store_8((uint8_t *)elements + k, i_add(steps, i_set(128)));
}

INLINE void add_dots(const struct int8_tile *tile, ptrdiff_t first, ptrdiff_t inputs, vint *upper,
                     vint *lower, const int planes, const int row_count, const int vectors,
                     const int panels) {
    const int8_t *panel = tile->panel + first * vectors * WIDTH;
    const char *row = tile->row + ROW_HEAD + first, *end = row + inputs;
    /* At least once, of inputs that fill it up with zeros: so compilers keep the sums where they are. */
    do {
        if (row_count == 1) {
            const vfour x = four_set(row), x_low = planes == 2 ? four_set(row + tile->elements) : x;
            UNROLL for (int v = 0; v < vectors * panels; v++) {
                const vfours weight =
                    fours_load(panel + (v / vectors) * tile->panel_step + (v % vectors) * WIDTH * 4);
                upper[v] = i_add_dots(upper[v], weight, x);
                if (planes == 2)
                    lower[v] = i_add_dots(lower[v], weight, x_low);
            }
        } else {
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

INLINE void whole_dots_tile(const struct int8_tile *tile, float *sums, const int planes, const int row_count,
                            const int vectors, const int panels) {
    const int all = vectors * panels;
    const int32_t *offsets = tile->offsets;
    for (ptrdiff_t first = 0; first == 0 || first < tile->inputs; first += SEGMENT) {
        const ptrdiff_t left = tile->inputs - first;
        vint upper[MOST_ROWS * MOST_VECTORS], lower[MOST_ROWS * MOST_VECTORS];
        UNROLL for (int r = 0; r < row_count; r++) {
            UNROLL for (int v = 0; v < all; v++) {
                upper[r * all + v] = i_load(offsets + v * WIDTH);
                lower[r * all + v] = i_set(0);
            }
        }
        add_dots(tile, first, left < SEGMENT ? left : SEGMENT, upper, lower, planes, row_count, vectors,
                 panels);
        if (tile->inputs <= INPUTS_AT_ONCE)
            end_dots(tile, upper, lower, sums, planes, row_count, all, 1);
        else
            end_dots(tile, upper, lower, sums, planes, row_count, all, 0);
        offsets += tile->offsets_step;
    }
}

INLINE void dots_tile(const struct int8_tile *tile, float *sums, const int planes, const int row_count,
                      const int vectors, const int panels) {
    if (panels == 2 && vectors > 2 * ROWS_OF_DOTS_15(vectors) && planes == 2) {
        /* One after the other, since there are not the registers for both. */
        struct int8_tile next = *tile;
        next.panel += tile->panel_step;
        next.offsets += vectors * WIDTH;
        next.scales += vectors * WIDTH;
        whole_dots_tile(tile, sums, planes, row_count, vectors, 1);
        whole_dots_tile(&next, sums + vectors * WIDTH, planes, row_count, vectors, 1);
    } else {
        whole_dots_tile(tile, sums, planes, row_count, vectors, panels);
    }
}

DEFINE_INT8(dots_15, ROWS_OF_DOTS_15, dots_tile, 2, 4, 128, 2)
DEFINE_INT8(dots_8, ROWS_OF_DOTS_8, dots_tile, 1, 4, 128, 1)

#endif
