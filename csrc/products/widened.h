/* The formats that keep every weight by itself: of the precision of the sums, or widened to it as they are read. */
#ifndef GATEWISE_WIDENED_H
#define GATEWISE_WIDENED_H

#include "products/format.h"

#define DEFINE_COPY(format, type)                                                                            \
    static void copy_##format(const void *matrix, ptrdiff_t inputs, ptrdiff_t count, void *panel,            \
                              ptrdiff_t first, ptrdiff_t step) {                                             \
        const type *source = matrix;                                                                         \
        type *target = (type *)panel + first;                                                                \
        for (ptrdiff_t k = 0; k < inputs; k++, target += step) {                                             \
            for (ptrdiff_t unit = 0; unit < count; unit++)                                                   \
                target[unit] = source[unit * inputs + k];                                                    \
            for (ptrdiff_t unit = count; unit < WIDTH; unit++)                                               \
                target[unit] = 0;                                                                            \
        }                                                                                                    \
    }
#define DEFINE_PRODUCT(format, row_count, vectors, panels)                                                   \
    static void format##_##row_count##x##vectors##x##panels(                                                 \
        const real *const *rows, ptrdiff_t inputs, const void *panel, ptrdiff_t panel_step, real *sums) {    \
        /* More rows than there are registers for are never asked for. */                                    \
        if ((row_count) > MAX_ROWS(vectors))                                                                 \
            return;                                                                                          \
        product_tile(rows, inputs, panel, panel_step, sums, load_##format, row_count, vectors, panels);      \
    }
#define DEFINE_AHEAD(format, type, vectors)                                                                  \
    static void format##_ahead_##vectors(const real *const *rows, const real *const *next_rows,              \
                                         ptrdiff_t inputs, const void *panel, const void *next,              \
                                         real *sums) {                                                       \
        ahead_tile(rows, next_rows, inputs, panel, next, sizeof(type), sums, load_##format,                  \
                   MAX_ROWS(vectors), vectors);                                                              \
    }
#define DEFINE_PRODUCTS(format, type, vectors)                                                               \
    DEFINE_AHEAD(format, type, vectors)                                                                      \
    DEFINE_PRODUCT(format, 1, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 1, vectors, 2)                                                                    \
    DEFINE_PRODUCT(format, 2, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 3, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 4, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 5, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 6, vectors, 1)
/* What is called so is kept as `type`, and read by load_`format`. */
#define DEFINE_FORMAT(format, type)                                                                          \
    DEFINE_COPY(format, type)                                                                                \
    DEFINE_PRODUCTS(format, type, 1)                                                                         \
    DEFINE_PRODUCTS(format, type, 2)                                                                         \
    DEFINE_PRODUCTS(format, type, 3)                                                                         \
    DEFINE_PRODUCTS(format, type, 4)

#define PRODUCTS(format, vectors)                                                                            \
    {format##_1x##vectors##x1, format##_2x##vectors##x1, format##_3x##vectors##x1,                           \
     format##_4x##vectors##x1, format##_5x##vectors##x1, format##_6x##vectors##x1}
#define WIDENED(format, shown, type, way)                                                                    \
    {                                                                                                        \
        .name = shown,                                                                                       \
        .alone = way,                                                                                        \
        .size = sizeof(type),                                                                                \
        .copy = copy_##format,                                                                               \
        .products = {PRODUCTS(format, 1), PRODUCTS(format, 2), PRODUCTS(format, 3), PRODUCTS(format, 4)},    \
        .ahead = {format##_ahead_1, format##_ahead_2, format##_ahead_3, format##_ahead_4},                   \
        .pairs = {format##_1x1x2, format##_1x2x2, format##_1x3x2, format##_1x4x2},                           \
    }

DEFINE_FORMAT(full, real)

/* Those of full precision, for a format whose panels are widened when they are packed. */
static product_function *const full_products[MOST_VECTORS][MOST_ROWS] = {
    PRODUCTS(full, 1), PRODUCTS(full, 2), PRODUCTS(full, 3), PRODUCTS(full, 4)};
static product_function *const full_pairs[MOST_VECTORS] = {full_1x1x2, full_1x2x2, full_1x3x2, full_1x4x2};

#if SINGLE
INLINE vreal load_float16(const void *panel, ptrdiff_t index) {
    return v_load_half((const uint16_t *)panel + index);
}
DEFINE_FORMAT(float16, uint16_t)
#endif

#endif
