/* Running a product over packed weights, tile by tile. */
#ifndef GATEWISE_TILES_H
#define GATEWISE_TILES_H

#include "products/panels.h"
#include "threads/threads.h"

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

/* Where rows are converted: memory of this thread's own, and what all members of its team have. And where a thread
 * has the sums of deep panels, or NULL where there are none. */
struct row_space {
    char *own, *shared;
    real *sums;
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

/* A product over tiles: begin fills the sums, the terms add to them in their order, end makes use of them.
 * Between, unless it is NULL, comes after the first term. */
struct tiles {
    const struct panels *layout;
    int term_count;
    struct term terms[2];
    tile_function *begin, *between, *end;
    int descending;            /* the order of the blocks */
    const struct ahead *ahead; /* or NULL */
    struct row_space row_space;
    /* Rows that begin would copy and that end would fill, or bases of NULL. Where a format adds all terms in one go,
     * whole vectors of them never pass through other memory. */
    struct rows from, to;
};

/* Adds a term of rows as they are to the sums of `count` rows of one block, or of one row of a pair of blocks. */
static void add_term(const struct term *term, ptrdiff_t block, int blocks, ptrdiff_t row, int count,
                     real *sums) {
    const struct panels *p = term->panels;
    const int vectors = block_vectors(p, block);
    const struct format *format = p->format;
    product_function *run =
        blocks == 2 ? format->pairs[vectors - 1] : format->products[vectors - 1][count - 1];
    const size_t skipped = (size_t)(term->first_input * vectors * WIDTH) * p->format->size;
    const char *panel = (const char *)block_panel(p, block) + skipped;
    run(term->rows + row, term->inputs, panel, p->inputs * vectors * WIDTH, sums);
}

/* Rows that a format converts: where those of each term go, and whether they are there yet, which each thread has
 * to know for itself, unless all have converted them together. */
struct conversion {
    char *rows[2];
    int is_done;
};

struct tile_job {
    const struct tiles *tiles;
    ptrdiff_t rows;
    const void *step;
    struct conversion *conversion; /* NULL where rows are multiplied as they are */
};

/* What converting an element takes, in multiply-adds. */
#define CONVERSION_WORK 8

/* A share of the rows of all terms. */
static void convert_rows(const void *context, int index, int shares, gw_watch *watch) {
    const struct tile_job *job = context;
    const ptrdiff_t first = job->rows * index / shares, end = job->rows * (index + 1) / shares;
    for (int k = 0; k < job->tiles->term_count; k++) {
        const struct term *term = &job->tiles->terms[k];
        const struct panels *p = term->panels;
        const size_t size = p->format->row_size(p->inputs);
        char *to = job->conversion->rows[k] + (size_t)first * size;
        for (ptrdiff_t row = first; row < end && gw_goes_on(watch, p->inputs * CONVERSION_WORK); row++) {
            p->format->convert(p, term->rows[row], to);
            to += size;
        }
    }
}

/* Those of all terms. */
INLINE ptrdiff_t all_inputs(const struct tiles *tiles) {
    return tiles->terms[0].inputs + (tiles->term_count > 1 ? tiles->terms[1].inputs : 0);
}

/* What one row of a block takes, in multiply-adds: its terms, and what begins and ends them. */
INLINE ptrdiff_t row_work(const struct tiles *tiles) {
    return (all_inputs(tiles) + 32) * whole_vectors(tiles->layout) * WIDTH;
}

INLINE struct place place_of(struct rows rows, const struct panels *p, ptrdiff_t block, ptrdiff_t row) {
    return (struct place){row_of(rows, row) + vector_offset(p, block, 0), rows.stride,
                          p->gates > 1 ? p->units : WIDTH};
}

/* A tile of whole vectors, whose terms its format adds in one go. */
INLINE void run_whole_tile(const struct tile_job *job, ptrdiff_t block, ptrdiff_t row, int count,
                           real *sums) {
    const struct tiles *tiles = job->tiles;
    const struct panels *p = tiles->layout;
    const struct place own = {sums, block_vectors(p, block) * WIDTH, WIDTH};
    struct whole_tile tile = {
        .term_count = tiles->term_count,
        .panels = {tiles->terms[0].panels, tiles->terms[1].panels},
        .converted = {job->conversion->rows[0], job->conversion->rows[1]},
        .from = tiles->from.base ? place_of(tiles->from, p, block, row) : own,
        .to = tiles->to.base ? place_of(tiles->to, p, block, row) : own,
    };
    if (!tiles->from.base)
        tiles->begin(job->step, p, block, row, count, sums);
    p->format->add_all(&tile, block, row, count);
    if (!tiles->to.base)
        tiles->end(job->step, p, block, row, count, sums);
}

#include "products/deep.h"

/* All rows of a block or, one row alone keeping too few sums in flight, of a pair of blocks. */
static void run_block(const struct tile_job *job, ptrdiff_t block, int pair, gw_watch *watch) {
    const struct tiles *tiles = job->tiles;
    const struct panels *p = tiles->layout;
    const void *step = job->step;
    /* Twice the size: what stands between the terms may put something aside. */
    ALIGNED real sums[2 * TILE_SIZE];
    const int vectors = block_vectors(p, block);
    const struct conversion *conversion = job->conversion;
    int most = conversion ? p->format->most_rows[vectors - 1] : MAX_ROWS(vectors);
    if (conversion && job->rows <= p->format->few_rows)
        most = p->format->few_rows;
    real *second = sums + vectors * WIDTH;
    const int is_whole = conversion && p->format->add_all && !pair && !tiles->between &&
                         vector_length(p, block, vectors - 1) == WIDTH;
    for (ptrdiff_t row = 0; row < job->rows;) {
        const ptrdiff_t left = job->rows - row;
        const int count = (int)ceiling(left, ceiling(left, most));
        if (is_whole) {
            run_whole_tile(job, block, row, count, sums);
            row += count;
            if (row < job->rows && !gw_goes_on(watch, count * row_work(tiles)))
                return;
            continue;
        }
        tiles->begin(step, p, block, row, count, sums);
        if (pair)
            tiles->begin(step, p, block + 1, row, count, second);
        for (int term = 0; term < tiles->term_count; term++) {
            if (conversion)
                p->format->add(tiles->terms[term].panels, conversion->rows[term], block, 1 + pair, row, count,
                               sums);
            else
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
    if (job->conversion && !job->conversion->is_done) {
        convert_rows(job, 0, 1, watch);
        job->conversion->is_done = 1;
    }
    if (job->tiles->row_space.sums && is_deep(p, all_inputs(job->tiles), job->rows)) {
        run_deep_blocks(job, first, end, watch);
        return;
    }
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

/* From so many rows on it is worth waiting for each other to convert each only once. */
#define SHARED_ROWS 8

/* As for_each_tile, of rows that are converted. */
NOINLINE void for_each_converted_tile(const struct tiles *tiles, ptrdiff_t rows, const void *step,
                                      gw_member *member) {
    struct conversion conversion;
    const struct tile_job job = {tiles, rows, step, &conversion};
    conversion.is_done = member->threads > 1 && rows >= SHARED_ROWS;
    conversion.rows[0] = conversion.is_done ? tiles->row_space.shared : tiles->row_space.own;
    conversion.rows[1] = conversion.rows[0] + converted_size(tiles->terms[0].panels, rows);
    if (conversion.is_done)
        gw_run_shares(member, convert_rows, &job);
    gw_run_shares(member, run_tiles, &job);
}

/* The members share the blocks. */
INLINE void for_each_tile(const struct tiles *tiles, ptrdiff_t rows, const void *step, gw_member *member) {
    const struct tile_job job = {tiles, rows, step, NULL};
    if (tiles->layout->format->convert)
        for_each_converted_tile(tiles, rows, step, member);
    else
        gw_run_shares(member, run_tiles, &job);
}

#endif
