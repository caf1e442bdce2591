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

/* The vector of weights that begins with this one; sums are always of `real`. */
typedef vreal load_function(const void *panel, ptrdiff_t index);

INLINE vreal load_full(const void *panel, ptrdiff_t index) { return v_load((const real *)panel + index); }

/* `panel_step` is the distance between panels; there is more than one only with one row. */
INLINE void add_products(const real *const *rows, ptrdiff_t inputs, const void *panel, ptrdiff_t panel_step,
                         vreal *sum, load_function load, const int row_count, const int vectors,
                         const int panels) {
    ptrdiff_t first = 0;
    for (ptrdiff_t k = 0; k < inputs; k++) {
        if (row_count == 1) {
            const vreal x = v_set(rows[0][k]);
            UNROLL for (int v = 0; v < vectors * panels; v++) {
                const ptrdiff_t index = first + (v / vectors) * panel_step + (v % vectors) * WIDTH;
                sum[v] = v_fma(x, load(panel, index), sum[v]);
            }
        } else {
            vreal weight[MOST_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++)
                weight[v] = load(panel, first + v * WIDTH);
            UNROLL for (int row = 0; row < row_count; row++) {
                const vreal x = v_set(rows[row][k]);
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[row * vectors + v] = v_fma(x, weight[v], sum[row * vectors + v]);
            }
        }
        first += vectors * WIDTH;
    }
}

/* The same of tiles whose panel and rows come from afar: every so many inputs it has the cache fetch some of what
 * comes next, the panel after this one and the rows below. Sixteen tiles fetch all of the panel. */
#define AHEAD_INPUTS 16
#define AHEAD_TILES 16

INLINE void add_products_ahead(const real *const *rows, const real *const *next_rows, ptrdiff_t inputs,
                               const char *panel, const char *next, size_t size, vreal *sum,
                               load_function load, const int row_count, const int vectors) {
    const size_t step = (size_t)(AHEAD_INPUTS * vectors * WIDTH) * size;
    const real *at[MOST_ROWS];
    ptrdiff_t k = 0;
    for (; k + AHEAD_INPUTS <= inputs; k += AHEAD_INPUTS, panel += step, next += step / AHEAD_TILES) {
        UNROLL for (size_t line = 0; line < step / AHEAD_TILES; line += 64)
            PREFETCH_FAR(next + line);
        UNROLL for (int row = 0; row < row_count; row++) {
            PREFETCH_FAR(next_rows[row] + k);
            at[row] = rows[row] + k;
        }
        add_products(at, AHEAD_INPUTS, panel, 0, sum, load, row_count, vectors, 1);
    }
    UNROLL for (int row = 0; row < row_count; row++)
        at[row] = rows[row] + k;
    add_products(at, inputs - k, panel, 0, sum, load, row_count, vectors, 1);
}

INLINE void ahead_tile(const real *const *rows, const real *const *next_rows, ptrdiff_t inputs,
                       const char *panel, const char *next, size_t size, real *sums, load_function load,
                       const int row_count, const int vectors) {
    vreal sum[MOST_ROWS * MOST_VECTORS];
    const int count = row_count * vectors;
    UNROLL for (int s = 0; s < count; s++)
        sum[s] = v_load(sums + s * WIDTH);
    add_products_ahead(rows, next_rows, inputs, panel, next, size, sum, load, row_count, vectors);
    UNROLL for (int s = 0; s < count; s++)
        v_store(sums + s * WIDTH, sum[s]);
}

INLINE void product_tile(const real *const *rows, ptrdiff_t inputs, const void *panel, ptrdiff_t panel_step,
                         real *sums, load_function load, const int row_count, const int vectors,
                         const int panels) {
    vreal sum[MOST_ROWS * MOST_VECTORS];
    const int count = row_count * vectors * panels;
    UNROLL for (int s = 0; s < count; s++)
        sum[s] = v_load(sums + s * WIDTH);
    add_products(rows, inputs, panel, panel_step, sum, load, row_count, vectors, panels);
    UNROLL for (int s = 0; s < count; s++)
        v_store(sums + s * WIDTH, sum[s]);
}

#endif
