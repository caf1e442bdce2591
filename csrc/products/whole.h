/* Whole products of rows and packed weights: the sums of a few rows go straight from registers to their place. */
#ifndef GATEWISE_WHOLE_H
#define GATEWISE_WHOLE_H

#include "products/panels.h"

/* The sums begin with the bias, unless it is NULL; `units` of them or fewer are stored. */
INLINE void begin_whole(const real *bias, ptrdiff_t units, vreal *sum, const int row_count,
                        const int vectors) {
    UNROLL for (int v = 0; v < vectors; v++) {
        const ptrdiff_t left = units - v * WIDTH;
        sum[v] = bias ? load_some(bias + v * WIDTH, left < WIDTH ? left : WIDTH) : v_set(0);
        UNROLL for (int row = 1; row < row_count; row++)
            sum[row * vectors + v] = sum[v];
    }
}

INLINE void end_whole(const vreal *sum, real *const *out, ptrdiff_t offset, ptrdiff_t units,
                      const int row_count, const int vectors) {
    UNROLL for (int row = 0; row < row_count; row++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            const ptrdiff_t left = units - v * WIDTH;
            store_some(out[row] + offset + v * WIDTH, left < WIDTH ? left : WIDTH, sum[row * vectors + v]);
        }
    }
}

INLINE void whole_tile(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                       real *const *out, ptrdiff_t offset, ptrdiff_t units, const int row_count,
                       const int vectors) {
    vreal sum[MOST_ROWS * MOST_VECTORS];
    begin_whole(bias, units, sum, row_count, vectors);
    add_products(x, inputs, panel, 0, sum, load_full, row_count, vectors, 1);
    end_whole(sum, out, offset, units, row_count, vectors);
}

/* One row alone, which would keep too few sums in flight, times a whole panel and the next one of `vectors`. */
INLINE void pair_tile(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                      real *const *out, ptrdiff_t offset, ptrdiff_t units, const int vectors) {
    const real *next = panel + inputs * PANEL_WIDTH;
    vreal sum[2 * MOST_VECTORS];
    begin_whole(bias, units, sum, 1, MOST_VECTORS + vectors);
    for (ptrdiff_t k = 0; k < inputs; k++, panel += PANEL_WIDTH, next += vectors * WIDTH) {
        const vreal value = v_set(x[0][k]);
        UNROLL for (int v = 0; v < MOST_VECTORS; v++)
            sum[v] = v_fma(value, v_load(panel + v * WIDTH), sum[v]);
        UNROLL for (int v = 0; v < vectors; v++)
            sum[MOST_VECTORS + v] = v_fma(value, v_load(next + v * WIDTH), sum[MOST_VECTORS + v]);
    }
    end_whole(sum, out, offset, units, 1, MOST_VECTORS + vectors);
}

typedef void whole_function(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                            real *const *out, ptrdiff_t offset, ptrdiff_t units);

#define DEFINE_WHOLE(rows, vectors)                                                                          \
    static void whole_##rows##x##vectors(const real *const *x, ptrdiff_t inputs, const real *panel,          \
                                         const real *bias, real *const *out, ptrdiff_t offset,               \
                                         ptrdiff_t units) {                                                  \
        /* As for product_tile. */                                                                           \
        if ((rows) <= MAX_ROWS(vectors))                                                                     \
            whole_tile(x, inputs, panel, bias, out, offset, units, rows, vectors);                           \
    }
#define DEFINE_WHOLES(vectors)                                                                               \
    DEFINE_WHOLE(1, vectors)                                                                                 \
    DEFINE_WHOLE(2, vectors)                                                                                 \
    DEFINE_WHOLE(3, vectors)                                                                                 \
    DEFINE_WHOLE(4, vectors)                                                                                 \
    DEFINE_WHOLE(5, vectors)                                                                                 \
    DEFINE_WHOLE(6, vectors)                                                                                 \
    static void whole_pair_##vectors(const real *const *x, ptrdiff_t inputs, const real *panel,              \
                                     const real *bias, real *const *out, ptrdiff_t offset,                   \
                                     ptrdiff_t units) {                                                      \
        pair_tile(x, inputs, panel, bias, out, offset, units, vectors);                                      \
    }
DEFINE_WHOLES(1)
DEFINE_WHOLES(2)
DEFINE_WHOLES(3)
DEFINE_WHOLES(4)

#define WHOLES(vectors)                                                                                      \
    {whole_1x##vectors, whole_2x##vectors, whole_3x##vectors,                                                \
     whole_4x##vectors, whole_5x##vectors, whole_6x##vectors}
static whole_function *const wholes[MOST_VECTORS][MOST_ROWS] = {WHOLES(1), WHOLES(2), WHOLES(3), WHOLES(4)};
static whole_function *const whole_pairs[MOST_VECTORS] = {whole_pair_1, whole_pair_2, whole_pair_3,
                                                          whole_pair_4};

/* One row with few outputs would keep too few sums in flight. So each of these is a sum over PARTS parts of the
 * inputs, and then the bias. Few are as many as fill two cache lines. */
#define PARTS 4
#define MORE_OUTPUTS (128 / (ptrdiff_t)sizeof(real))

INLINE void parts_tile(const real *const *x, ptrdiff_t inputs, const real *panel, const real *bias,
                       real *const *out, ptrdiff_t offset, ptrdiff_t units, const int row_count,
                       const int vectors) {
    const ptrdiff_t length = inputs / PARTS, size = length * vectors * WIDTH;
    vreal sums[PARTS][MOST_ROWS * MOST_VECTORS];
    UNROLL for (int part = 0; part < PARTS; part++) {
        UNROLL for (int s = 0; s < row_count * vectors; s++)
            sums[part][s] = v_set(0);
    }
    if (row_count == 1) {
        /* As many sums at once as there are registers for. */
        const int at_once = vectors > 2 ? PARTS / 2 : PARTS;
        for (int first = 0; first < PARTS; first += at_once) {
            const real *from = x[0] + first * length, *weights = panel + first * size;
            vreal sum[PARTS * MOST_VECTORS];
            UNROLL for (int s = 0; s < at_once * vectors; s++)
                sum[s] = v_set(0);
            for (ptrdiff_t k = 0; k < length; k++, weights += vectors * WIDTH) {
                UNROLL for (int part = 0; part < at_once; part++) {
                    const vreal value = v_set(from[part * length + k]);
                    UNROLL for (int v = 0; v < vectors; v++)
                        sum[part * vectors + v] =
                            v_fma(value, v_load(weights + part * size + v * WIDTH), sum[part * vectors + v]);
                }
            }
            for (int part = 0; part < at_once; part++) {
                UNROLL for (int v = 0; v < vectors; v++)
                    sums[first + part][v] = sum[part * vectors + v];
            }
        }
        const real *rest = x[0] + PARTS * length;
        add_products(&rest, inputs - PARTS * length, panel + PARTS * size, 0, sums[PARTS - 1], load_full, 1,
                     vectors, 1);
    } else {
        for (int part = 0; part < PARTS; part++) {
            const ptrdiff_t first = part * length, count = part < PARTS - 1 ? length : inputs - first;
            const real *rows[MOST_ROWS];
            for (int row = 0; row < row_count; row++)
                rows[row] = x[row] + first;
            vreal sum[MOST_ROWS * MOST_VECTORS];
            UNROLL for (int s = 0; s < row_count * vectors; s++)
                sum[s] = v_set(0);
            add_products(rows, count, panel + part * size, 0, sum, load_full, row_count, vectors, 1);
            UNROLL for (int s = 0; s < row_count * vectors; s++)
                sums[part][s] = sum[s];
        }
    }
    UNROLL for (int row = 0; row < row_count; row++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            const ptrdiff_t left = units - v * WIDTH, n = left < WIDTH ? left : WIDTH;
            const int s = row * vectors + v;
            const vreal sum = v_add(v_add(sums[0][s], sums[1][s]), v_add(sums[2][s], sums[3][s]));
            store_some(out[row] + offset + v * WIDTH, n, v_add(sum, load_some(bias + v * WIDTH, n)));
        }
    }
}

typedef whole_function parts_function;

#define DEFINE_PART(rows, vectors)                                                                           \
    static void parts_##rows##x##vectors(const real *const *x, ptrdiff_t inputs, const real *panel,          \
                                         const real *bias, real *const *out, ptrdiff_t offset,               \
                                         ptrdiff_t units) {                                                  \
        /* Nor are more vectors than so few outputs fill. */                                                 \
        if ((rows) <= MAX_ROWS(vectors) && ((vectors) - 1) * WIDTH < MORE_OUTPUTS)                           \
            parts_tile(x, inputs, panel, bias, out, offset, units, rows, vectors);                           \
    }
#define DEFINE_PARTS(vectors)                                                                                \
    DEFINE_PART(1, vectors)                                                                                  \
    DEFINE_PART(2, vectors)                                                                                  \
    DEFINE_PART(3, vectors)                                                                                  \
    DEFINE_PART(4, vectors)                                                                                  \
    DEFINE_PART(5, vectors)                                                                                  \
    DEFINE_PART(6, vectors)
DEFINE_PARTS(1)
DEFINE_PARTS(2)
DEFINE_PARTS(3)
DEFINE_PARTS(4)

#define ALL_PARTS(vectors)                                                                                   \
    {parts_1x##vectors, parts_2x##vectors, parts_3x##vectors,                                                \
     parts_4x##vectors, parts_5x##vectors, parts_6x##vectors}
static parts_function *const parts[MOST_VECTORS][MOST_ROWS] = {ALL_PARTS(1), ALL_PARTS(2), ALL_PARTS(3),
                                                               ALL_PARTS(4)};

#endif
