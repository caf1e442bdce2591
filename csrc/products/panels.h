/* Packed weights, and running a product over them tile by tile. */
#ifndef GATEWISE_PANELS_H
#define GATEWISE_PANELS_H

#include <stdlib.h>
#include <string.h>

#include "gatewise.h"
#include "memory/memory.h"
#include "products/elements.h"
#include "products/formats.h"
#include "threads/threads.h"

/* A matrix (gates * units, inputs) as panels. With several gates, a panel holds WIDTH units of every gate
 * side by side; with one gate it holds MOST_VECTORS vectors of units, the last panel what is left. Units
 * that fill up the last vector have weights of zero. Narrow weights may have a scale for every output, laid
 * out like one input of the panels: the output is what it starts from plus its scale times its sum. */
struct panels {
    void *data;
    real *scales;
    ptrdiff_t units, inputs;
    int gates;
    const struct format *format;
};

INLINE ptrdiff_t ceiling(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

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

INLINE void *block_panel(const struct panels *p, ptrdiff_t block) {
    return (char *)p->data + (size_t)block_offset(p, block, p->inputs) * p->format->size;
}

/* Where vector `v` of a block stands in a canonical row, and how many of its elements are real. */
INLINE ptrdiff_t vector_offset(const struct panels *p, ptrdiff_t block, int v) {
    return block * units_per_block(p) + v * (p->gates > 1 ? p->units : WIDTH);
}

INLINE ptrdiff_t vector_length(const struct panels *p, ptrdiff_t block, int v) {
    const ptrdiff_t left = p->units - block * units_per_block(p) - (p->gates > 1 ? 0 : v * WIDTH);
    return left < WIDTH ? left : WIDTH;
}

/* Memory for panels of the given gates, units, inputs and format; 0 where there is none. */
static int new_panels(struct panels *p) {
    p->data = gw_allocate((size_t)block_offset(p, block_count(p), p->inputs) * p->format->size);
    return p->data != NULL;
}

/* What copying one input of a vector of units from rows of its own takes, in multiply-adds. */
#define PACKING_WORK (16 * WIDTH)

/* The weights or, with one input, the scales of a matrix (gates * units, inputs). */
static void copy_blocks(const struct panels *p, const struct format *format, ptrdiff_t inputs,
                        const void *matrix, void *data, gw_watch *watch) {
    for (ptrdiff_t block = 0; block < block_count(p); block++) {
        const int vectors = block_vectors(p, block);
        for (int v = 0; v < vectors && gw_goes_on(watch, inputs * PACKING_WORK); v++) {
            const size_t skipped = (size_t)(vector_offset(p, block, v) * inputs) * format->size;
            format->copy((const char *)matrix + skipped, inputs, vector_length(p, block, v), data,
                         block_offset(p, block, inputs) + v * WIDTH, vectors * WIDTH);
        }
    }
}

/* Packs a matrix (gates * units, inputs), and its scales (gates * units) unless they are NULL. */
static int pack_panels(struct panels *p, int gates, ptrdiff_t units, ptrdiff_t inputs,
                       const struct format *format, const void *matrix, const real *scales, gw_watch *watch) {
    p->gates = gates;
    p->units = units;
    p->inputs = inputs;
    p->format = format;
    if (!new_panels(p))
        return 0;
    copy_blocks(p, format, inputs, matrix, p->data, watch);
    if (!scales)
        return 1;
    p->scales = gw_allocate((size_t)block_offset(p, block_count(p), 1) * sizeof(real));
    if (p->scales)
        copy_blocks(p, FULL, 1, scales, p->scales, watch);
    return p->scales != NULL;
}

/* Packs a matrix (units, inputs) given as its transpose. */
static int pack_transposed(struct panels *p, ptrdiff_t units, ptrdiff_t inputs, const real *transpose,
                           gw_watch *watch) {
    *p = (struct panels){.gates = 1, .units = units, .inputs = inputs, .format = FULL};
    if (!new_panels(p))
        return 0;
    for (ptrdiff_t block = 0; block < block_count(p) && gw_goes_on(watch, inputs * PACKING_WORK); block++) {
        const ptrdiff_t first = block * PANEL_WIDTH, width = block_vectors(p, block) * WIDTH;
        const ptrdiff_t count = units - first < width ? units - first : width;
        real *target = block_panel(p, block);
        for (ptrdiff_t k = 0; k < inputs; k++, target += width) {
            memcpy(target, transpose + k * units + first, (size_t)count * sizeof(real));
            memset(target + count, 0, (size_t)(width - count) * sizeof(real));
        }
    }
    return 1;
}

/* Rows of one step. */
struct rows {
    real *base;
    ptrdiff_t stride;
};

INLINE real *row_of(struct rows rows, ptrdiff_t row) { return rows.base + row * rows.stride; }

INLINE void load_sums(const struct panels *p, ptrdiff_t block, struct rows from, ptrdiff_t row, int count,
                      real *sums) {
    const int vectors = block_vectors(p, block);
    for (int r = 0; r < count; r++)
        for (int v = 0; v < vectors; v++, sums += WIDTH)
            v_store(sums, load_some(row_of(from, row + r) + vector_offset(p, block, v),
                                    vector_length(p, block, v)));
}

INLINE void store_sums(const struct panels *p, ptrdiff_t block, struct rows to, ptrdiff_t row, int count,
                       const real *sums) {
    const int vectors = block_vectors(p, block);
    for (int r = 0; r < count; r++)
        for (int v = 0; v < vectors; v++, sums += WIDTH)
            store_some(row_of(to, row + r) + vector_offset(p, block, v), vector_length(p, block, v),
                       v_load(sums));
}

/* Called for every tile of sums: before the product to fill them, after it to make use of them. */
typedef void tile_function(const void *step, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                           int count, real *sums);

/* One term of a product: panels laid out like the tile's, which of their inputs, and the rows that these
 * multiply. */
struct term {
    const struct panels *panels;
    ptrdiff_t first_input, inputs;
    const real *const *rows;
};

/* A product over tiles: begin fills the sums, the terms add to them in their order, end makes use of them.
 * Between, unless it is NULL, comes after the first term. */
struct tiles {
    const struct panels *layout;
    int term_count;
    struct term terms[2];
    tile_function *begin, *between, *end;
    int descending;            /* the order of the blocks */
    const struct ahead *ahead; /* or NULL */
};

/* Rows that the next step will read, and their columns: a tile has the cache fetch its share of them, in the shadow
 * of its product, since no processor foresees rows that lie far apart. */
enum { MOST_AHEAD = 4 };

struct ahead {
    int count;
    struct rows rows[MOST_AHEAD];
    ptrdiff_t columns[MOST_AHEAD];
};

INLINE void look_ahead(struct ahead *ahead, struct rows rows, ptrdiff_t columns) {
    if (!rows.base)
        return;
    ahead->rows[ahead->count] = rows;
    ahead->columns[ahead->count++] = columns;
}

/* Inlined, since GCC 12 leaves out calls of a function that does nothing else. */
INLINE void fetch_ahead(const struct ahead *ahead, ptrdiff_t block, ptrdiff_t blocks, ptrdiff_t row,
                        int count) {
    for (int k = 0; k < ahead->count; k++) {
        const ptrdiff_t first = ahead->columns[k] * block / blocks,
                        end = ahead->columns[k] * (block + 1) / blocks;
        for (int r = 0; r < count; r++) {
            const real *const start = row_of(ahead->rows[k], row + r);
            for (ptrdiff_t column = first; column < end; column += LINE)
                PREFETCH(start + column);
        }
    }
}

/* sums = starts + scales * sums, for the scaled sums of `count` rows or of a pair of blocks. */
static void apply_scales(const real *scales, int vectors, int rows, const real *starts, real *sums) {
    for (int row = 0; row < rows; row++) {
        for (int v = 0; v < vectors; v++, sums += WIDTH, starts += WIDTH)
            v_store(sums, v_fma(v_load(scales + v * WIDTH), v_load(sums), v_load(starts)));
    }
}

/* Adds a term to the sums of `count` rows of one block, or of one row of a pair of blocks. */
static void add_term(const struct term *term, ptrdiff_t block, int blocks, ptrdiff_t row, int count,
                     real *sums) {
    const struct panels *p = term->panels;
    const int vectors = block_vectors(p, block);
    const struct format *format = p->format;
    product_function *run =
        blocks == 2 ? format->pairs[vectors - 1] : format->products[vectors - 1][count - 1];
    const size_t skipped = (size_t)(term->first_input * vectors * WIDTH) * p->format->size;
    const char *panel = (const char *)block_panel(p, block) + skipped;
    const ptrdiff_t panel_step = p->inputs * vectors * WIDTH;
    if (!p->scales) {
        run(term->rows + row, term->inputs, panel, panel_step, sums);
        return;
    }
    ALIGNED real starts[TILE_SIZE];
    const size_t size = (size_t)(count * blocks * vectors * WIDTH) * sizeof(real);
    memcpy(starts, sums, size);
    memset(sums, 0, size);
    run(term->rows + row, term->inputs, panel, panel_step, sums);
    apply_scales(p->scales + block_offset(p, block, 1), vectors * blocks, count, starts, sums);
}

struct tile_job {
    const struct tiles *tiles;
    ptrdiff_t rows;
    const void *step;
};

/* What one row of a block takes, in multiply-adds: its terms, and what begins and ends them. */
INLINE ptrdiff_t row_work(const struct tiles *tiles) {
    const ptrdiff_t second = tiles->term_count > 1 ? tiles->terms[1].inputs : 0;
    return (tiles->terms[0].inputs + second + 32) * whole_vectors(tiles->layout) * WIDTH;
}

/* All rows of a block or, one row alone keeping too few sums in flight, of a pair of blocks. */
static void run_block(const struct tile_job *job, ptrdiff_t block, int pair, gw_watch *watch) {
    const struct tiles *tiles = job->tiles;
    const struct panels *p = tiles->layout;
    const void *step = job->step;
    /* Twice the size: what stands between the terms may put something aside. */
    ALIGNED real sums[2 * TILE_SIZE];
    const int vectors = block_vectors(p, block);
    const int most = MAX_ROWS(vectors);
    real *second = sums + vectors * WIDTH;
    for (ptrdiff_t row = 0; row < job->rows;) {
        const ptrdiff_t left = job->rows - row;
        const int count = (int)ceiling(left, ceiling(left, most));
        tiles->begin(step, p, block, row, count, sums);
        if (pair)
            tiles->begin(step, p, block + 1, row, count, second);
        for (int term = 0; term < tiles->term_count; term++) {
            add_term(&tiles->terms[term], block, 1 + pair, row, count, sums);
            if (term || !tiles->between)
                continue;
            tiles->between(step, p, block, row, count, sums);
            if (pair)
                tiles->between(step, p, block + 1, row, count, second);
        }
        tiles->end(step, p, block, row, count, sums);
        if (pair)
            tiles->end(step, p, block + 1, row, count, second);
        if (tiles->ahead)
            fetch_ahead(tiles->ahead, block, block_count(p), row, count);
        row += count;
        if (row < job->rows && !gw_goes_on(watch, count * row_work(tiles)))
            return;
    }
}

/* A share of the blocks. */
static void run_tiles(const void *context, int index, int shares, gw_watch *watch) {
    const struct tile_job *job = context;
    const struct panels *p = job->tiles->layout;
    const ptrdiff_t first = block_count(p) * index / shares, end = block_count(p) * (index + 1) / shares;
    const ptrdiff_t at_once = job->rows == 1 ? 2 : 1, groups = ceiling(end - first, at_once);
    const ptrdiff_t work = row_work(job->tiles) * (at_once == 2 ? 2 : MOST_ROWS);
    for (ptrdiff_t group = 0; group < groups && gw_goes_on(watch, work); group++) {
        const ptrdiff_t block = first + (job->tiles->descending ? groups - 1 - group : group) * at_once;
        const ptrdiff_t last = block + at_once <= end ? block + at_once - 1 : end - 1;
        if (last == block) {
            run_block(job, block, 0, watch);
        } else if (block_vectors(p, block) == block_vectors(p, last)) {
            run_block(job, block, 1, watch);
        } else {
            run_block(job, block, 0, watch);
            run_block(job, last, 0, watch);
        }
    }
}

/* The members share the blocks. */
INLINE void for_each_tile(const struct tiles *tiles, ptrdiff_t rows, const void *step, gw_member *member) {
    const struct tile_job job = {tiles, rows, step};
    gw_run_shares(member, run_tiles, &job);
}

#endif
