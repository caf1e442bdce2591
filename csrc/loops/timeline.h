/* A sequence's steps and rows, and the part of them that one thread runs. */
#ifndef GATEWISE_TIMELINE_H
#define GATEWISE_TIMELINE_H

#include "cells/layer.h"

/* Rows [first_row, end_row) of every step; `starts` are the first rows of a ragged batch's steps. */
struct timeline {
    const gw_sequence *sequence;
    const ptrdiff_t *starts;
    ptrdiff_t first_row, end_row;
};

/* NULL for a plain batch, and where there is no memory. */
static ptrdiff_t *new_starts(struct workspace *space, const gw_sequence *sequence) {
    if (!sequence->batch_sizes)
        return NULL;
    ptrdiff_t *starts = take_space(space, (size_t)sequence->time * sizeof(ptrdiff_t));
    ptrdiff_t start = 0;
    for (ptrdiff_t t = 0; starts && t < sequence->time; t++) {
        starts[t] = start;
        start += sequence->batch_sizes[t];
    }
    return starts;
}

/* The rows of step t that this thread runs. */
INLINE ptrdiff_t rows_at(const struct timeline *line, ptrdiff_t t) {
    ptrdiff_t end = line->starts ? line->sequence->batch_sizes[t] : line->sequence->batch;
    end = end < line->end_row ? end : line->end_row;
    return end > line->first_row ? end - line->first_row : 0;
}

INLINE struct rows step_rows(const struct timeline *line, const gw_rows *rows, ptrdiff_t t) {
    struct rows result = {rows->data, rows->row};
    if (result.base)
        result.base +=
            (line->starts ? line->starts[t] * rows->row : t * rows->time) + line->first_row * rows->row;
    return result;
}

INLINE struct rows state_rows(const struct timeline *line, void *state, ptrdiff_t size) {
    struct rows result = {state, size};
    if (result.base)
        result.base += line->first_row * size;
    return result;
}

/* The time of the n-th step to be run. */
INLINE ptrdiff_t time_of(const struct timeline *line, ptrdiff_t n, int reverse) {
    return reverse ? line->sequence->time - 1 - n : n;
}

INLINE void point_at(const real **pointers, struct rows rows, ptrdiff_t first, ptrdiff_t end) {
    for (ptrdiff_t row = first; row < end; row++)
        pointers[row] = row_of(rows, row);
}

/* Where every row of step t finds the state that it starts from: in what the step before left, or, for
 * the rows that begin with this step, in the initial state. */
static void point_before(const real **pointers, const struct timeline *line, const gw_rows *left, ptrdiff_t t,
                         struct rows initial) {
    const ptrdiff_t rows = rows_at(line, t);
    const ptrdiff_t previous = line->sequence->reverse ? t + 1 : t - 1;
    ptrdiff_t running = 0;
    if (previous >= 0 && previous < line->sequence->time) {
        running = rows_at(line, previous);
        running = running < rows ? running : rows;
        point_at(pointers, step_rows(line, left, previous), 0, running);
    }
    point_at(pointers, initial, running, rows);
}

/* Which rows of step t start anew: a byte for each, or NULL where no row of no step does. */
INLINE const uint8_t *resets_at(const struct timeline *line, ptrdiff_t t) {
    const gw_sequence *sequence = line->sequence;
    if (!sequence->resets.rows)
        return NULL;
    return sequence->resets.rows + (line->starts ? line->starts[t] : t * sequence->batch) + line->first_row;
}

/* Points the rows that start anew to what they start from. Says whether there are any. */
INLINE int point_anew(const real **pointers, const uint8_t *resets, ptrdiff_t rows, const real *state) {
    int any = 0;
    for (ptrdiff_t row = 0; row < rows; row++) {
        if (resets[row]) {
            pointers[row] = state;
            any = 1;
        }
    }
    return any;
}

/* Copies the outputs of the rows that end with step t into the state. */
static void keep_final(const struct timeline *line, ptrdiff_t t, struct rows y, struct rows state,
                       ptrdiff_t size) {
    const ptrdiff_t next = line->sequence->reverse ? t - 1 : t + 1;
    const int is_last = next < 0 || next >= line->sequence->time;
    const ptrdiff_t running = is_last ? 0 : rows_at(line, next);
    for (ptrdiff_t row = running; row < rows_at(line, t); row++)
        memcpy(row_of(state, row), row_of(y, row), (size_t)size * sizeof(real));
}

/* The first row of a thread's share: shares hold equal numbers of steps. */
static ptrdiff_t share_start(const gw_sequence *sequence, int thread, int threads) {
    if (!sequence->batch_sizes || thread == threads)
        return sequence->batch * thread / threads;
    ptrdiff_t total = 0, row = 0, before = 0, length = sequence->time;
    for (ptrdiff_t t = 0; t < sequence->time; t++)
        total += sequence->batch_sizes[t];
    for (; row < sequence->batch && before * threads < total * thread; row++) {
        while (length > 0 && sequence->batch_sizes[length - 1] <= row)
            length--;
        before += length;
    }
    return row;
}

INLINE ptrdiff_t step_work(const gw_packed *layer, ptrdiff_t rows) {
    return rows * layer->cell->gates * layer->hidden_size * (layer->output_size + layer->input_size);
}

/* What the rows of a block may take in a step, in bytes, so that it stays in a core's own cache of 512 KB or more
 * until the next step. But no fewer rows than make reading the weights worth while, least of all where these, in
 * bytes, are too many for any cache. */
#define BLOCK_BYTES ((size_t)256 * 1024)
#define LEAST_BLOCK 96
#define FAR_WEIGHTS ((size_t)12 << 20)
#define LEAST_FAR_BLOCK 512

/* How many rows each thread runs through all steps before it goes on to the next: about equal numbers. */
static ptrdiff_t rows_at_once(const gw_packed *layer, const gw_sequence *sequence, size_t row_bytes) {
    const ptrdiff_t fitting = (ptrdiff_t)(BLOCK_BYTES / row_bytes);
    const int is_far = (size_t)step_work(layer, 1) * layer->input.format->size > FAR_WEIGHTS;
    const ptrdiff_t least = is_far ? LEAST_FAR_BLOCK : LEAST_BLOCK;
    const ptrdiff_t most = fitting > least ? fitting / MOST_ROWS * MOST_ROWS : least;
    return most < sequence->batch ? most : sequence->batch;
}

/* The rows of a share that come next; 0 where `first` is at its end. */
static int next_block(struct timeline *line, ptrdiff_t *first, ptrdiff_t end, ptrdiff_t block) {
    if (*first >= end)
        return 0;
    const ptrdiff_t left = end - *first, rows = ceiling(left, ceiling(left, block));
    line->first_row = *first;
    line->end_row = *first += rows;
    return 1;
}

/* Below this many multiply-adds in all, waking another thread costs more than it saves. */
#define WORTH_SHARING 500000
/* Below this many in one step, waiting for each other in every step does. */
#define WORTH_WAITING 12000

/* Whether threads take rows each, which needs no waiting for one another, or else units of the layer. */
INLINE int shares_rows(const gw_sequence *sequence, int threads) { return sequence->batch >= 2 * threads; }

static int useful_threads(const gw_packed *layer, const gw_sequence *sequence, int threads) {
    const ptrdiff_t one_step = step_work(layer, sequence->batch);
    if (one_step * sequence->time < WORTH_SHARING)
        return 1;
    return shares_rows(sequence, threads) || one_step >= WORTH_WAITING ? threads : 1;
}

#endif
