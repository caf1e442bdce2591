/* What a format of weights is: how it packs a matrix, the rows that it multiplies, and its products.
 *
 * Most keep every weight by itself, and multiply rows of `real` as they come: such a format has a function that
 * copies weights and a product for each size of tile. Any other owns its panels, the type of its rows and its
 * tile: it has `pack`, `row_size`, `convert` and `add`, and a file of its own. */
#ifndef GATEWISE_FORMAT_H
#define GATEWISE_FORMAT_H

#include <string.h>

#include "gatewise.h"
#include "memory/memory.h"
#include "products/elements.h"
#include "products/tile.h"

struct format;

/* A matrix (gates * units, inputs) as panels. With several gates, a panel holds WIDTH units of every gate
 * side by side; with one gate it holds MOST_VECTORS vectors of units, the last panel what is left. Units
 * that fill up the last vector have weights of zero. Narrow weights may have a scale for every output, laid
 * out like one input of the panels: the output is what it starts from plus its scale times its sum. */
struct panels {
    void *data;
    real *scales;
    int32_t *offsets; /* where integer sums start, laid out like scales */
    ptrdiff_t units, inputs;
    int gates;
    int is_bounded; /* whether the rows, but for the first of a sequence, hold nothing beyond 1 */
    const struct format *format;
};

/* One term of a product: panels laid out like the tile's, which of their inputs, and the rows that these
 * multiply. */
struct term {
    const struct panels *panels;
    ptrdiff_t first_input, inputs;
    const real *const *rows;
};

typedef void product_function(const real *const *rows, ptrdiff_t inputs, const void *panel,
                              ptrdiff_t panel_step, real *sums);

/* The same of as many rows as a tile has at most, while the cache fetches the next rows and a share of the next
 * panel. */
typedef void ahead_function(const real *const *rows, const real *const *next_rows, ptrdiff_t inputs,
                            const void *panel, const void *next, real *sums);

/* Copies `inputs` weights of `count` units, whose rows are that long, to where each input has `width` units and
 * those beyond `count` weigh nothing, `step` weights after the input before. */
typedef void copy_function(const void *matrix, ptrdiff_t inputs, ptrdiff_t count, void *panel,
                           ptrdiff_t first, ptrdiff_t step);

/* Adds to the sums of `count` rows from `row` on and of one block, or of one row and a pair of blocks. */
typedef void add_function(const struct panels *p, const char *converted, ptrdiff_t block, int blocks,
                          ptrdiff_t row, int count, real *sums);

/* Where the sums of a tile stand: the first vector, and the distances of rows and of vectors. */
struct place {
    real *base;
    ptrdiff_t row, vector;
};

/* Both terms of a tile in one go, from where the sums start to where they go. */
struct whole_tile {
    int term_count;
    const struct panels *panels[2];
    const char *converted[2];
    struct place from, to;
};
typedef void tile_sums_function(const struct whole_tile *tile, ptrdiff_t block, ptrdiff_t row, int count);

/* How a row alone multiplies, if it can: panels of `real`, or dots of pairs. */
enum { NOT_ALONE, ALONE, ALONE_IN_DOTS };

struct format {
    const char *name;
    size_t size; /* of a weight, in bytes */
    /* Whether the processor has what it takes; NULL where every one of the variant's has. */
    int (*is_there)(void);
    copy_function *copy;
    /* By vectors and rows; for one row and two panels at once, by vectors. */
    product_function *products[MOST_VECTORS][MOST_ROWS], *pairs[MOST_VECTORS];
    ahead_function *ahead[MOST_VECTORS]; /* by vectors */
    /* In place of these. Fills panels whose sizes are known; 0 where there is no memory. */
    int (*pack)(struct panels *p, const void *matrix, const real *scales, gw_watch *watch);
    /* The bytes of a row as `add` takes it, which is converted once for all blocks. */
    size_t (*row_size)(ptrdiff_t inputs);
    void (*convert)(const struct panels *p, const real *row, char *converted);
    add_function *add;
    tile_sums_function *add_all; /* or NULL */
    /* Of a format that trains: packs the transpose of the outputs from `first` to `end` - 1. */
    int (*transpose)(struct panels *back, const struct panels *forward, ptrdiff_t first, ptrdiff_t end,
                     gw_watch *watch);
    /* By vectors, the rows of its tile. */
    int most_rows[MOST_VECTORS];
    int few_rows; /* so many rows and no more had better be one tile, too */
    int alone;
    int has_fractions; /* whether a cell's standard activations share divisions */
};

/* The bytes that so many rows of a term take once they are converted. */
INLINE size_t converted_size(const struct panels *p, ptrdiff_t rows) {
    return p->data && p->format->convert ? (size_t)rows * p->format->row_size(p->inputs) : 0;
}

INLINE ptrdiff_t ceiling(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

/* Whole pairs, and one of them at least. */
INLINE ptrdiff_t whole_pairs_of(ptrdiff_t inputs) { return inputs ? ceiling(inputs, 2) * 2 : 2; }

/* The width of a whole panel of one gate. */
#define PANEL_WIDTH (MOST_VECTORS * WIDTH)

INLINE int whole_vectors(const struct panels *p) { return p->gates > 1 ? p->gates : MOST_VECTORS; }

INLINE ptrdiff_t units_per_block(const struct panels *p) {
    return p->gates > 1 ? WIDTH : MOST_VECTORS * WIDTH;
}

INLINE ptrdiff_t block_count(const struct panels *p) { return ceiling(p->units, units_per_block(p)); }

INLINE int block_vectors(const struct panels *p, ptrdiff_t block) {
    if (p->gates > 1)
        return p->gates;
    const ptrdiff_t left = ceiling(p->units - block * MOST_VECTORS * WIDTH, WIDTH);
    return left < MOST_VECTORS ? (int)left : MOST_VECTORS;
}

/* The distance of a block's weights from the first block's, or with one input that of its scales. */
INLINE ptrdiff_t block_offset(const struct panels *p, ptrdiff_t block, ptrdiff_t inputs) {
    return block * inputs * whole_vectors(p) * WIDTH;
}

/* Where vector `v` of a block stands in a canonical row, and how many of its elements are real. */
INLINE ptrdiff_t vector_offset(const struct panels *p, ptrdiff_t block, int v) {
    return block * units_per_block(p) + v * (p->gates > 1 ? p->units : WIDTH);
}

INLINE ptrdiff_t vector_length(const struct panels *p, ptrdiff_t block, int v) {
    const ptrdiff_t left = p->units - block * units_per_block(p) - (p->gates > 1 ? 0 : v * WIDTH);
    return left < WIDTH ? left : WIDTH;
}

/* What copying one input of a vector of units from rows of its own takes, in multiply-adds. */
#define PACKING_WORK (16 * WIDTH)

#endif
