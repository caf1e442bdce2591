/* The packed product: sums[row][v] += rows[row][k] * panel[k][v].
 *
 * A panel holds the weights of `vectors` (1 to 4) vectors of outputs, for every input k one after the other:
 * [k][vectors][WIDTH]. The sums of a few rows stay in registers over all k. Every single sum is one chain of
 * multiply-adds over ascending k, whatever the number of rows or panels done at once: that is why a
 * sequence's results do not depend on the batch it stands in.
 */
#ifndef GATEWISE_TILE_H
#define GATEWISE_TILE_H

#include "gatewise.h"
#include "vectors/real.h"

#define MOST_ROWS 6
#define MOST_VECTORS 4
/* Enough for a tile of sums: [row][vectors][WIDTH], or [panel][vectors][WIDTH] for one row. */
#define TILE_SIZE (MOST_ROWS * MOST_VECTORS * WIDTH)

/* What the weights of a panel are kept as; sums are always of `real`. */
enum format { FULL = GW_FULL, HALF = GW_HALF, INT8 = GW_INT8 };

INLINE vreal load_weight(const void *panel, ptrdiff_t index, const enum format format) {
#if SINGLE
    if (format == HALF)
        return v_load_half((const uint16_t *)panel + index);
    if (format == INT8)
        return v_load_int8((const int8_t *)panel + index);
#endif
    (void)format;
    return v_load((const real *)panel + index);
}

/* `panel_step` is the distance between panels; there is more than one only with one row. */
INLINE void add_products(const real *const *rows, ptrdiff_t inputs, const void *panel, ptrdiff_t panel_step,
                         vreal *sum, const enum format format, const int row_count, const int vectors,
                         const int panels) {
    ptrdiff_t first = 0;
    for (ptrdiff_t k = 0; k < inputs; k++) {
        if (row_count == 1) {
            const vreal x = v_set(rows[0][k]);
            UNROLL for (int v = 0; v < vectors * panels; v++) {
                const ptrdiff_t index = first + (v / vectors) * panel_step + (v % vectors) * WIDTH;
                sum[v] = v_fma(x, load_weight(panel, index, format), sum[v]);
            }
        } else {
            vreal weight[MOST_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++)
                weight[v] = load_weight(panel, first + v * WIDTH, format);
            UNROLL for (int row = 0; row < row_count; row++) {
                const vreal x = v_set(rows[row][k]);
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[row * vectors + v] = v_fma(x, weight[v], sum[row * vectors + v]);
            }
        }
        first += vectors * WIDTH;
    }
}

INLINE void product_tile(const real *const *rows, ptrdiff_t inputs, const void *panel, ptrdiff_t panel_step,
                         real *sums, const enum format format, const int row_count, const int vectors,
                         const int panels) {
    vreal sum[MOST_ROWS * MOST_VECTORS];
    const int count = row_count * vectors * panels;
    UNROLL for (int s = 0; s < count; s++)
        sum[s] = v_load(sums + s * WIDTH);
    add_products(rows, inputs, panel, panel_step, sum, format, row_count, vectors, panels);
    UNROLL for (int s = 0; s < count; s++)
        v_store(sums + s * WIDTH, sum[s]);
}

typedef void product_function(const real *const *rows, ptrdiff_t inputs, const void *panel,
                              ptrdiff_t panel_step, real *sums);

#define DEFINE_PRODUCT(format, row_count, vectors, panels)                                                   \
    static void product_##format##_##row_count##x##vectors##x##panels(                                       \
        const real *const *rows, ptrdiff_t inputs, const void *panel, ptrdiff_t panel_step, real *sums) {    \
        /* More rows than there are registers for are never asked for. */                                    \
        if ((row_count) > MAX_ROWS(vectors))                                                                 \
            return;                                                                                          \
        product_tile(rows, inputs, panel, panel_step, sums, format, row_count, vectors, panels);             \
    }
#define DEFINE_PRODUCTS(format, vectors)                                                                     \
    DEFINE_PRODUCT(format, 1, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 1, vectors, 2)                                                                    \
    DEFINE_PRODUCT(format, 2, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 3, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 4, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 5, vectors, 1)                                                                    \
    DEFINE_PRODUCT(format, 6, vectors, 1)
#define DEFINE_FORMAT(format)                                                                                \
    DEFINE_PRODUCTS(format, 1)                                                                               \
    DEFINE_PRODUCTS(format, 2)                                                                               \
    DEFINE_PRODUCTS(format, 3)                                                                               \
    DEFINE_PRODUCTS(format, 4)

#define PRODUCTS(format, vectors)                                                                            \
    {product_##format##_1x##vectors##x1, product_##format##_2x##vectors##x1,                                 \
     product_##format##_3x##vectors##x1, product_##format##_4x##vectors##x1,                                 \
     product_##format##_5x##vectors##x1, product_##format##_6x##vectors##x1}
#define FORMAT(format) {PRODUCTS(format, 1), PRODUCTS(format, 2), PRODUCTS(format, 3), PRODUCTS(format, 4)}
#define PAIRS(format)                                                                                        \
    {product_##format##_1x1x2, product_##format##_1x2x2, product_##format##_1x3x2, product_##format##_1x4x2}

DEFINE_FORMAT(FULL)
#if SINGLE
DEFINE_FORMAT(HALF)
DEFINE_FORMAT(INT8)
#define ALL_FORMATS(one) {one(FULL), one(HALF), one(INT8)}
#else
#define ALL_FORMATS(one) {one(FULL)}
#endif

static product_function *const products[][MOST_VECTORS][MOST_ROWS] = ALL_FORMATS(FORMAT);
static product_function *const pair_products[][MOST_VECTORS] = ALL_FORMATS(PAIRS);

#endif
