/* Products with panels that no core's own cache holds beside the rows: a part of tiles.h.
 *
 * A part of a panel's inputs goes through many rows before the next one does. In the shadow of the products the next
 * part comes into the cache, maybe from memory, and of the rows those of the next tile, each of which begins a page of
 * its own. Sums wait in memory between the parts, which leaves every one of them the same chain of multiply-adds. */
#ifndef GATEWISE_DEEP_H
#define GATEWISE_DEEP_H

#include "products/tiles.h"

/* What panels beyond which are deep and what a part has of one, in bytes. */
#define DEEP_BYTES ((size_t)384 * 1024)
#define PART_BYTES ((size_t)128 * 1024)
/* How many tiles go through all parts at once, and fewer than how many rows would read too little of each. */
#define DEEP_TILES 32
#define LEAST_DEEP_ROWS 32

/* The sums of a tile, and what stands between the terms may put aside; and of all tiles, in bytes. */
#define DEEP_STEP (2 * TILE_SIZE)
#define DEEP_SPACE (DEEP_TILES * DEEP_STEP * sizeof(real))

INLINE size_t input_bytes(const struct panels *p) {
    return (size_t)(whole_vectors(p) * WIDTH) * p->format->size;
}

/* Whether a product of so many rows, all of whose terms have so many inputs, is done by parts. */
INLINE int is_deep(const struct panels *p, ptrdiff_t inputs, ptrdiff_t rows) {
    return p->data && !p->format->convert && rows >= LEAST_DEEP_ROWS &&
           (size_t)inputs * input_bytes(p) > DEEP_BYTES;
}

INLINE size_t deep_space(const struct panels *p, ptrdiff_t inputs, ptrdiff_t rows) {
    return is_deep(p, inputs, rows) ? DEEP_SPACE : 0;
}

/* The sums of one thread, of all of them; NULL where none are needed. */
INLINE real *deep_sums(real *all, size_t size, int thread) {
    return size ? all + (size_t)thread * (size / sizeof(real)) : NULL;
}

/* A tile of the rows from `row` to `end` - 1. */
INLINE int tile_rows(ptrdiff_t row, ptrdiff_t end, int most) {
    return (int)ceiling(end - row, ceiling(end - row, most));
}

/* Calls a function for every tile of rows. */
INLINE void for_each_deep_tile(const struct tile_job *job, ptrdiff_t block, ptrdiff_t row, ptrdiff_t end,
                               tile_function *run) {
    const struct panels *p = job->tiles->layout;
    real *sums = job->tiles->row_space.sums;
    for (int count; row < end; row += count, sums += DEEP_STEP) {
        count = tile_rows(row, end, MAX_ROWS(block_vectors(p, block)));
        run(job->step, p, block, row, count, sums);
    }
}

INLINE const char *term_panel(const struct term *term, ptrdiff_t block, ptrdiff_t input) {
    const struct panels *p = term->panels;
    const ptrdiff_t skipped = (term->first_input + input) * block_vectors(p, block) * WIDTH;
    return (const char *)block_panel(p, block) + (size_t)skipped * p->format->size;
}

INLINE void point_from(const real **pointers, const real *const *rows, int count, ptrdiff_t input) {
    for (int r = 0; r < count; r++)
        pointers[r] = rows[r] + input;
}

/* The inputs from `first` on of a term, times the rows from `row` to `end` - 1; `next` is the part after this one. */
static void add_part(const struct term *term, ptrdiff_t block, ptrdiff_t first, ptrdiff_t inputs,
                     const char *next, ptrdiff_t row, ptrdiff_t end, real *sums) {
    const struct panels *p = term->panels;
    const int vectors = block_vectors(p, block), most = MAX_ROWS(vectors);
    const size_t share = (size_t)(inputs * vectors * WIDTH) * p->format->size / AHEAD_TILES;
    const char *panel = term_panel(term, block, first);
    const real *rows[MOST_ROWS], *below[MOST_ROWS];
    for (int tile = 0, count; row < end; row += count, tile++, sums += DEEP_STEP) {
        count = tile_rows(row, end, most);
        point_from(rows, term->rows + row, count, first);
        if (count < most) {
            p->format->products[vectors - 1][count - 1](rows, inputs, panel, 0, sums);
            continue;
        }
        point_from(below, term->rows + (end - row < 2 * count ? row : row + count), count, first);
        p->format->ahead[vectors - 1](rows, below, inputs, panel, next, sums);
        /* All of it is there, or on its way. */
        next += tile + 1 < AHEAD_TILES ? share : 0;
    }
}

/* As many of a term's inputs as a part has, parts being about equal. */
INLINE ptrdiff_t part_inputs(const struct term *term) {
    const ptrdiff_t most = (ptrdiff_t)(PART_BYTES / input_bytes(term->panels));
    const ptrdiff_t even = ceiling(term->inputs, ceiling(term->inputs, most));
    return ceiling(even, AHEAD_INPUTS) * AHEAD_INPUTS;
}

/* All rows of a block; after it comes the block `next`. */
static void run_deep_block(const struct tile_job *job, ptrdiff_t block, ptrdiff_t next, gw_watch *watch) {
    const struct tiles *tiles = job->tiles;
    const struct panels *p = tiles->layout;
    const int vectors = block_vectors(p, block), most = MAX_ROWS(vectors);
    for (ptrdiff_t row = 0, end; row < job->rows; row = end) {
        end = row + tile_rows(row, job->rows, DEEP_TILES * most);
        for_each_deep_tile(job, block, row, end, tiles->begin);
        for (int k = 0; k < tiles->term_count; k++) {
            const struct term *term = &tiles->terms[k];
            const ptrdiff_t part = part_inputs(term);
            for (ptrdiff_t first = 0; first < term->inputs; first += part) {
                const ptrdiff_t left = term->inputs - first, inputs = left < part ? left : part;
                const char *after = left > part ? term_panel(term, block, first + part)
                                    : k + 1 < tiles->term_count
                                        ? term_panel(term + 1, block, 0)
                                        : term_panel(tiles->terms, end < job->rows ? block : next, 0);
                if (!gw_goes_on(watch, (end - row) * (inputs + 32) * vectors * WIDTH))
                    return;
                add_part(term, block, first, inputs, after, row, end, tiles->row_space.sums);
            }
            if (k == 0 && tiles->between)
                for_each_deep_tile(job, block, row, end, tiles->between);
        }
        for_each_deep_tile(job, block, row, end, tiles->end);
        for (int count; tiles->ahead && row < end; row += count) {
            count = tile_rows(row, end, most);
            fetch_ahead(tiles->ahead, block, block_count(p), row, count);
        }
    }
}

/* The blocks from `first` to `end` - 1. */
static void run_deep_blocks(const struct tile_job *job, ptrdiff_t first, ptrdiff_t end, gw_watch *watch) {
    const ptrdiff_t way = job->tiles->descending ? -1 : 1;
    ptrdiff_t block = job->tiles->descending ? end - 1 : first;
    for (ptrdiff_t left = end - first; left > 0 && gw_goes_on(watch, 0); left--, block += way)
        run_deep_block(job, block, left > 1 ? block + way : block, watch);
}

#endif
