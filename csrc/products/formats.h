/* The table of formats: how weights can be kept, and the products and the packing of each.
 *
 * A format of its own kind, with other rows or another tile, has its own packing and products here. */
#ifndef GATEWISE_FORMATS_H
#define GATEWISE_FORMATS_H

#include "products/tile.h"

typedef void product_function(const real *const *rows, ptrdiff_t inputs, const void *panel,
                              ptrdiff_t panel_step, real *sums);

/* Copies `inputs` weights of `count` units, whose rows are that long, to where each input has `width` units and
 * those beyond `count` weigh nothing, `step` weights after the input before. */
typedef void copy_function(const void *matrix, ptrdiff_t inputs, ptrdiff_t count, void *panel,
                           ptrdiff_t first, ptrdiff_t step);

struct format {
    const char *name;
    size_t size; /* of a weight, in bytes */
    copy_function *copy;
    /* By vectors and rows; for one row and two panels at once, by vectors. */
    product_function *products[MOST_VECTORS][MOST_ROWS], *pairs[MOST_VECTORS];
};

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
#define DEFINE_PRODUCTS(format, vectors)                                                                     \
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
    DEFINE_PRODUCTS(format, 1)                                                                               \
    DEFINE_PRODUCTS(format, 2)                                                                               \
    DEFINE_PRODUCTS(format, 3)                                                                               \
    DEFINE_PRODUCTS(format, 4)

#define PRODUCTS(format, vectors)                                                                            \
    {format##_1x##vectors##x1, format##_2x##vectors##x1, format##_3x##vectors##x1,                           \
     format##_4x##vectors##x1, format##_5x##vectors##x1, format##_6x##vectors##x1}
#define FORMAT(format, name, type)                                                                           \
    {                                                                                                        \
        name, sizeof(type), copy_##format,                                                                   \
            {PRODUCTS(format, 1), PRODUCTS(format, 2), PRODUCTS(format, 3), PRODUCTS(format, 4)}, {          \
            format##_1x1x2, format##_1x2x2, format##_1x3x2, format##_1x4x2                                   \
        }                                                                                                    \
    }

DEFINE_FORMAT(full, real)

#if SINGLE
INLINE vreal load_float16(const void *panel, ptrdiff_t index) {
    return v_load_half((const uint16_t *)panel + index);
}
DEFINE_FORMAT(float16, uint16_t)

INLINE vreal load_int8(const void *panel, ptrdiff_t index) {
    return v_load_int8((const int8_t *)panel + index);
}
DEFINE_FORMAT(int8, int8_t)
#endif

/* The first has the precision of the sums; narrow ones are for inference in single precision. */
static const struct format formats[] = {
#if SINGLE
    FORMAT(full, "float32", real),
    FORMAT(float16, "float16", uint16_t),
    FORMAT(int8, "int8", int8_t),
#else
    FORMAT(full, "float64", real),
#endif
};

#define FULL (&formats[0])

/* NULL where the table has none of that name. */
static const struct format *find_format(const char *name) {
    for (size_t k = 0; k < sizeof formats / sizeof formats[0]; k++)
        if (!strcmp(formats[k].name, name))
            return &formats[k];
    return NULL;
}

#endif
