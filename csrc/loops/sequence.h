/* The time loops forward. */
#ifndef GATEWISE_SEQUENCE_H
#define GATEWISE_SEQUENCE_H

#include "loops/timeline.h"

/* The rows that a chunk of an inference's steps projects at once: enough to make good use of each panel
 * that is read, few enough for the result to stay in the cache until the steps take it. */
#define CHUNK_ROWS 48
/* Rows from which on a tile makes good use of the weights it reads. */
#define FEW_ROWS 4
/* Weights that stay in a core's own cache from step to step, in bytes. */
#define CACHED_WEIGHTS (256 * 1024)

/* What a step takes besides its products and units, in multiply-adds. */
#define STEP_WORK 1000

/* A whole run, which its threads share. */
struct run {
    const gw_packed *layer;
    const gw_sequence *sequence;
    /* Either x or the input's shares of the gates; gates are kept in training alone. */
    gw_rows x, shares, gates, y, extra;
    gw_state state;
    int by_rows;
    ptrdiff_t *starts;
    /* Scratch: projected gates and hidden rows for all, pointers to rows for each thread. */
    ptrdiff_t chunk;
    real *chunk_gates, *hidden;
    const real **pointers;
    /* Rows as the products take them, if they are converted, for each thread. */
    char *converted;
};

/* The pointers that one thread needs: h before a step, `hidden`, and the inputs of a chunk. */
INLINE ptrdiff_t pointer_count(const struct run *run) {
    return (2 + (run->chunk ? run->chunk : 1)) * run->sequence->batch;
}

/* Whether something of a step's comes between its gates and its output. */
INLINE int has_hidden(const gw_packed *layer) {
    return layer->cell->has_hidden_product || layer->projection.data;
}

/* The bytes that one thread needs for converted rows: those of both terms of a step, or of one of its others. */
INLINE size_t converted_bytes(const struct run *run) {
    const gw_packed *layer = run->layer;
    const ptrdiff_t batch = run->sequence->batch, chunk = run->chunk ? run->chunk : 1;
    size_t most = converted_size(&layer->recurrent, batch), other = converted_size(&layer->candidate, batch);
    most = most > other ? most : other;
    other = converted_size(&layer->projection, batch);
    most = most > other ? most : other;
    /* Where threads begin, in no line of another one's. */
    return (converted_size(&layer->input, run->x.data ? chunk * batch : 0) + most + 63) / 64 * 64;
}

static int open_run(struct run *run, struct workspace *space, int threads) {
    const ptrdiff_t batch = run->sequence->batch, width = run->layer->cell->gates * run->layer->hidden_size;
    const ptrdiff_t hidden_count = batch * run->layer->hidden_size;
    open_space(space);
    run->starts = new_starts(space, run->sequence);
    run->pointers = take_space(space, (size_t)(threads * pointer_count(run)) * sizeof(real *));
    run->hidden = take_space(space, has_hidden(run->layer) ? (size_t)hidden_count * sizeof(real) : 0);
    run->chunk_gates = take_space(space, (size_t)(run->chunk * batch * width) * sizeof(real));
    run->converted = take_space(space, (size_t)threads * converted_bytes(run));
    return (run->starts || !run->sequence->batch_sizes) && run->pointers && run->hidden && run->chunk_gates &&
           run->converted;
}

static void run_step(const struct run *run, const struct timeline *line, ptrdiff_t t, const real **pointers,
                     struct step *step) {
    const gw_packed *layer = run->layer;
    const struct rows h = state_rows(line, run->state.h, layer->output_size);
    step->rows = rows_at(line, t);
    step->y = step_rows(line, &run->y, t);
    step->extra = step_rows(line, &run->extra, t);
    step->c = state_rows(line, run->state.c, layer->hidden_size);
    point_before(pointers, line, &run->y, t, h);
    step->h_before = pointers;
    if (has_hidden(layer)) {
        const int keeps = layer->cell->has_hidden_product && step->extra.base;
        step->hidden = keeps ? step->extra : state_rows(line, run->hidden, layer->hidden_size);
        step->hidden_rows = pointers + run->sequence->batch;
        point_at(pointers + run->sequence->batch, step->hidden, 0, step->rows);
    }
    layer->cell->forward(step);
    if (step->member->thread == 0)
        keep_final(line, t, step->y, h, layer->output_size);
}

static void begin_bias(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row, int count,
                       real *sums) {
    const struct step *step = context;
    const struct rows bias = {step->layer->bias, 0};
    load_sums(p, block, bias, row, count, sums);
}

static void store_gates(const void *context, const struct panels *p, ptrdiff_t block, ptrdiff_t row,
                        int count, real *sums) {
    store_sums(p, block, ((const struct step *)context)->gates, row, count, sums);
}

/* The input's share of the steps first to end - 1, as one product. */
static struct rows project_chunk(const struct run *run, const struct timeline *line, ptrdiff_t first,
                                 ptrdiff_t end, const real **x_rows, struct scratch scratch,
                                 gw_member *member) {
    const gw_packed *layer = run->layer;
    const ptrdiff_t width = layer->cell->gates * layer->hidden_size;
    struct step all = {.layer = layer, .scratch = scratch};
    all.gates = (struct rows){run->chunk_gates + run->chunk * line->first_row * width, width};
    for (ptrdiff_t n = first; n < end; n++) {
        const ptrdiff_t t = time_of(line, n, run->sequence->reverse);
        point_at(x_rows + all.rows, step_rows(line, &run->x, t), 0, rows_at(line, t));
        all.rows += rows_at(line, t);
    }
    const struct term x = {&layer->input, 0, layer->input_size, x_rows};
    const struct tiles tiles = {&layer->input, 1, {x}, begin_bias, NULL, store_gates, 0, scratch};
    for_each_tile(&tiles, all.rows, &all, member);
    return all.gates;
}

static void run_steps(const struct run *run, const struct timeline *line, const real **pointers,
                      struct scratch scratch, gw_member *member) {
    const gw_sequence *sequence = run->sequence;
    const real **x_rows = pointers + 2 * sequence->batch;
    struct rows projected = {0};
    for (ptrdiff_t n = 0; n < sequence->time && gw_goes_on(member->watch, STEP_WORK); n++) {
        const ptrdiff_t t = time_of(line, n, sequence->reverse);
        struct step step = {.layer = run->layer, .member = member, .scratch = scratch};
        /* Back and forth: what a step read last is still in a cache when the next one begins with it. */
        step.descending = sequence->odd ^ (n % 2);
        step.kept = step_rows(line, &run->gates, t);
        if (!run->x.data) {
            step.gates = step_rows(line, &run->shares, t);
        } else if (run->chunk) {
            if (n % run->chunk == 0) {
                const ptrdiff_t end = n + run->chunk < sequence->time ? n + run->chunk : sequence->time;
                projected = project_chunk(run, line, n, end, x_rows, scratch, member);
            }
            step.gates = projected;
            projected.base += rows_at(line, t) * projected.stride;
        } else {
            point_at(x_rows, step_rows(line, &run->x, t), 0, rows_at(line, t));
            step.x_rows = x_rows;
        }
        run_step(run, line, t, pointers, &step);
    }
}

static void run_part(void *context, gw_member *member) {
    const struct run *run = context;
    struct timeline line = {run->sequence, run->starts, 0, run->sequence->batch};
    const real **pointers = run->pointers + member->thread * pointer_count(run);
    const struct scratch scratch = {run->converted + (size_t)member->thread * converted_bytes(run),
                                    run->converted};
    gw_member alone = gw_alone(member->watch);
    if (run->by_rows) {
        line.first_row = share_start(run->sequence, member->thread, member->threads);
        line.end_row = share_start(run->sequence, member->thread + 1, member->threads);
        member = &alone;
    }
    run_steps(run, &line, pointers, scratch, member);
}

/* How many steps to project at once; 0 where each step had better add up both terms of its gates, which
 * saves writing and reading the input's share but reads the input's weights once a step. */
static ptrdiff_t chunk_steps(const gw_packed *layer, const gw_sequence *sequence, int threads) {
    const ptrdiff_t rows = ceiling(sequence->batch, threads);
    const size_t weights =
        (size_t)(layer->cell->gates * layer->hidden_size * layer->input_size) * layer->input.format->size;
    const ptrdiff_t enough = weights > CACHED_WEIGHTS ? CHUNK_ROWS / 2 : FEW_ROWS;
    const int can_fuse = !layer->cell->has_hidden_product;
    if (sequence->time == 0 || (can_fuse && (rows >= enough || sequence->time == 1)))
        return 0;
    const ptrdiff_t steps = rows < CHUNK_ROWS ? CHUNK_ROWS / (rows ? rows : 1) : 1;
    /* Of about equal lengths: a short last one would read all weights for little. */
    return ceiling(sequence->time, ceiling(sequence->time, steps));
}

static gw_status run_sequence(struct run *run, int threads) {
    threads = useful_threads(run->layer, run->sequence, threads);
    run->by_rows = shares_rows(run->sequence, threads);
    if (run->x.data)
        run->chunk = chunk_steps(run->layer, run->sequence, run->by_rows ? threads : 1);
    struct workspace space;
    gw_call call;
    const int ready = open_run(run, &space, threads);
    gw_watch watch = gw_open(&call, !run->sequence->in_place);
    if (ready)
        gw_run(&watch, run_part, run, threads);
    const gw_status status = gw_close(&call, ready ? GW_OK : GW_NO_MEMORY);
    release_space(&space);
    return status;
}

static gw_status forward(const gw_packed *layer, const gw_sequence *sequence, gw_rows x, gw_rows gates,
                         gw_state state, gw_rows y, gw_rows extra, int threads) {
    struct run run = {.layer = layer, .sequence = sequence, .x = x, .gates = gates, .y = y, .extra = extra};
    run.shares = gates;
    run.state = state;
    return run_sequence(&run, threads);
}

static gw_status infer(const gw_packed *layer, const gw_sequence *sequence, gw_rows x, gw_state state,
                       gw_rows y, gw_rows cells, int threads) {
    struct run run = {.layer = layer, .sequence = sequence, .x = x, .state = state, .y = y, .extra = cells};
    return run_sequence(&run, threads);
}

static gw_status infer_shares(const gw_packed *layer, const gw_sequence *sequence, gw_rows shares,
                              gw_state state, gw_rows y, gw_rows cells, int threads) {
    struct run run = {.layer = layer, .sequence = sequence, .state = state, .y = y, .extra = cells};
    run.shares = shares;
    return run_sequence(&run, threads);
}

#endif
