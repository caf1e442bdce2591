/* The time loops forward. */
#ifndef GATEWISE_SEQUENCE_H
#define GATEWISE_SEQUENCE_H

#include "loops/alone.h"

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
    int by_rows, alone;
    ptrdiff_t *starts;
    /* So many rows at most go through all steps before the next do. */
    ptrdiff_t block;
    ptrdiff_t chunk;
    /* Scratch of all threads; those who share a step share it, but for the pointers and rows of their own. */
    struct scratch {
        real *chunk_gates, *hidden;
        const real **pointers;
        struct row_space row_space;
    } scratch;
};

/* The pointers that one thread needs: h and c before a step, `hidden`, and the inputs of a chunk. */
INLINE ptrdiff_t pointer_count(const struct run *run) {
    return (3 + (run->chunk ? run->chunk : 1)) * run->block;
}

/* What a chunk of a block's projected gates takes. */
INLINE ptrdiff_t chunk_size(const struct run *run) {
    return run->chunk * run->block * run->layer->cell->gates * run->layer->hidden_size;
}

/* Whether something of a step's comes between its gates and its output. */
INLINE int has_hidden(const gw_packed *layer) {
    return layer->cell->has_hidden_product || layer->projection.data;
}

/* The bytes that one thread needs for converted rows: those of both terms of a step, or of one of its others. */
INLINE size_t converted_bytes(const struct run *run) {
    const gw_packed *layer = run->layer;
    const ptrdiff_t rows = run->block, chunk = run->chunk ? run->chunk : 1;
    size_t most = converted_size(&layer->recurrent, rows), other = converted_size(&layer->candidate, rows);
    most = most > other ? most : other;
    other = converted_size(&layer->projection, rows);
    most = most > other ? most : other;
    /* Where threads begin, in no line of another one's. */
    return (converted_size(&layer->input, run->x.data ? chunk * rows : 0) + most + 63) / 64 * 64;
}

/* The bytes that one thread needs for the sums of deep panels, which any product may have. */
INLINE size_t deep_bytes(const struct run *run) {
    const gw_packed *layer = run->layer;
    const ptrdiff_t rows = run->block, chunk = run->chunk ? run->chunk : 1;
    return deep_space(&layer->recurrent, layer->input_size + layer->output_size, rows) |
           deep_space(&layer->input, layer->input_size, chunk * rows) |
           deep_space(&layer->candidate, layer->hidden_size, rows) |
           deep_space(&layer->projection, layer->hidden_size, rows);
}

INLINE struct scratch scratch_of(const struct run *run, int thread) {
    struct scratch scratch = run->scratch;
    scratch.pointers += thread * pointer_count(run);
    scratch.row_space.own = scratch.row_space.shared + (size_t)thread * converted_bytes(run);
    scratch.row_space.sums = deep_sums(scratch.row_space.sums, deep_bytes(run), thread);
    if (run->by_rows) {
        scratch.chunk_gates += thread * chunk_size(run);
        scratch.hidden += thread * run->block * run->layer->hidden_size;
    }
    return scratch;
}

static int open_run(struct run *run, struct workspace *space, int threads) {
    const ptrdiff_t own = run->by_rows ? threads : 1;
    const ptrdiff_t hidden = has_hidden(run->layer) ? own * run->block * run->layer->hidden_size : 0;
    struct scratch *scratch = &run->scratch;
    open_space(space);
    run->starts = new_starts(space, run->sequence);
    scratch->pointers = take_space(space, (size_t)(threads * pointer_count(run)) * sizeof(real *));
    scratch->hidden = take_space(space, (size_t)hidden * sizeof(real));
    scratch->chunk_gates = take_space(space, (size_t)(own * chunk_size(run)) * sizeof(real));
    scratch->row_space.shared = take_space(space, (size_t)threads * converted_bytes(run));
    scratch->row_space.sums = take_space(space, (size_t)threads * deep_bytes(run));
    return (run->starts || !run->sequence->batch_sizes) && scratch->pointers && scratch->hidden &&
           scratch->chunk_gates && scratch->row_space.shared && scratch->row_space.sums;
}

/* Lets the rows of a step that start anew do so. */
static void reset_rows(const struct timeline *line, ptrdiff_t t, const real **pointers, const real **c_before,
                       struct step *step) {
    const gw_state *state = &line->sequence->resets.state;
    const uint8_t *resets = resets_at(line, t);
    if (!resets || !point_anew(pointers, resets, step->rows, state->h) || !step->c.base)
        return;
    point_at(c_before, step->c, 0, step->rows);
    point_anew(c_before, resets, step->rows, state->c);
    step->c_before = c_before;
}

static void run_step(const struct run *run, const struct timeline *line, ptrdiff_t t,
                     const struct scratch *scratch, struct step *step) {
    const gw_packed *layer = run->layer;
    const real **pointers = scratch->pointers;
    const struct rows h = state_rows(line, run->state.h, layer->output_size);
    step->rows = rows_at(line, t);
    step->y = step_rows(line, &run->y, t);
    step->extra = step_rows(line, &run->extra, t);
    step->c = state_rows(line, run->state.c, layer->hidden_size);
    point_before(pointers, line, &run->y, t, h);
    reset_rows(line, t, pointers, pointers + 2 * run->block, step);
    step->h_before = pointers;
    if (has_hidden(layer)) {
        const int keeps = layer->cell->has_hidden_product && step->extra.base;
        step->hidden = keeps ? step->extra : (struct rows){scratch->hidden, layer->hidden_size};
        step->hidden_rows = pointers + run->block;
        point_at(pointers + run->block, step->hidden, 0, step->rows);
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
                                 ptrdiff_t end, const struct scratch *scratch, gw_member *member) {
    const gw_packed *layer = run->layer;
    const real **x_rows = scratch->pointers + 3 * run->block;
    struct step all = {.layer = layer};
    all.gates = (struct rows){scratch->chunk_gates, layer->cell->gates * layer->hidden_size};
    for (ptrdiff_t n = first; n < end; n++) {
        const ptrdiff_t t = time_of(line, n, run->sequence->reverse);
        point_at(x_rows + all.rows, step_rows(line, &run->x, t), 0, rows_at(line, t));
        all.rows += rows_at(line, t);
    }
    const struct term x = {&layer->input, 0, layer->input_size, x_rows};
    const struct tiles tiles = {.layout = &layer->input,
                                .term_count = 1,
                                .terms = {x},
                                .begin = begin_bias,
                                .end = store_gates,
                                .row_space = scratch->row_space,
                                .from = {layer->bias, 0},
                                .to = all.gates};
    for_each_tile(&tiles, all.rows, &all, member);
    return all.gates;
}

static void run_steps(const struct run *run, const struct timeline *line, const struct scratch *scratch,
                      gw_member *member) {
    const gw_sequence *sequence = run->sequence;
    const real **x_rows = scratch->pointers + 3 * run->block;
    struct rows projected = {0};
    for (ptrdiff_t n = 0; n < sequence->time && gw_goes_on(member->watch, STEP_WORK); n++) {
        const ptrdiff_t t = time_of(line, n, sequence->reverse);
        struct step step = {.layer = run->layer, .member = member, .row_space = scratch->row_space};
        /* Back and forth: what a step read last is still in a cache when the next one begins with it. */
        step.descending = sequence->odd ^ (n % 2);
        step.kept = step_rows(line, &run->gates, t);
        if (!run->x.data) {
            step.gates = step_rows(line, &run->shares, t);
        } else if (run->chunk) {
            if (n % run->chunk == 0) {
                const ptrdiff_t end = n + run->chunk < sequence->time ? n + run->chunk : sequence->time;
                projected = project_chunk(run, line, n, end, scratch, member);
            }
            step.gates = projected;
            projected.base += rows_at(line, t) * projected.stride;
        } else {
            point_at(x_rows, step_rows(line, &run->x, t), 0, rows_at(line, t));
            step.x_rows = x_rows;
        }
        run_step(run, line, t, scratch, &step);
    }
}

/* A row as its format multiplies it, there if it has to be converted. */
INLINE const void *lone_row(const struct panels *p, const real *row, char *converted) {
    if (!p->format->convert)
        return row;
    p->format->convert(p, row, converted);
    return converted;
}

/* All steps of one row. */
static void run_alone(const struct run *run, const struct timeline *line, const struct scratch *scratch,
                      gw_member *member) {
    const gw_packed *layer = run->layer;
    const gw_sequence *sequence = run->sequence;
    const ptrdiff_t work = STEP_WORK + step_work(layer, 1);
    const size_t size = (size_t)layer->hidden_size * sizeof(real);
    const int converts = layer->recurrent.format->convert != NULL;
    struct lone_state lone;
    struct rows projected = {0};
    int now = 0;
    clear_lone_end(&lone, layer);
    enter_lone_state(&lone, now, layer, run->state);
    for (ptrdiff_t n = 0; n < sequence->time && gw_goes_on(member->watch, work); n++, now = !now) {
        const ptrdiff_t t = time_of(line, n, sequence->reverse);
        const uint8_t *resets = resets_at(line, t);
        if (resets && *resets)
            enter_lone_state(&lone, now, layer, sequence->resets.state);
        struct lone_step step = {.layer = layer, .descending = sequence->odd ^ (n % 2)};
        step.h_row = converts ? lone.rows[now] : lone.h[now];
        step.next_row = lone.rows[!now];
        step.h_before = lone.h[now];
        step.h = lone.h[!now];
        step.c = lone.c;
        step.y = step_rows(line, &run->y, t).base;
        step.extra = step_rows(line, &run->extra, t).base;
        step.kept = step_rows(line, &run->gates, t).base;
        if (!run->x.data) {
            step.gates = step_rows(line, &run->shares, t).base;
        } else if (run->chunk) {
            if (n % run->chunk == 0) {
                const ptrdiff_t end = n + run->chunk < sequence->time ? n + run->chunk : sequence->time;
                projected = project_chunk(run, line, n, end, scratch, member);
            }
            step.gates = projected.base;
            projected.base += projected.stride;
        } else {
            step.x_row = lone_row(&layer->input, step_rows(line, &run->x, t).base, scratch->row_space.own);
        }
        layer->cell->forward_alone(&step);
    }
    memcpy(run->state.h, lone.h[now], size);
    if (layer->cell->has_c)
        memcpy(run->state.c, lone.c, size);
}

static void run_part(void *context, gw_member *member) {
    const struct run *run = context;
    const struct scratch scratch = scratch_of(run, member->thread);
    struct timeline line = {run->sequence, run->starts, 0, run->sequence->batch};
    if (run->alone) {
        run_alone(run, &line, &scratch, member);
        return;
    }
    if (!run->by_rows) {
        run_steps(run, &line, &scratch, member);
        return;
    }
    gw_member alone = gw_alone(member->watch);
    const ptrdiff_t end = share_start(run->sequence, member->thread + 1, member->threads);
    ptrdiff_t first = share_start(run->sequence, member->thread, member->threads);
    while (next_block(&line, &first, end, run->block))
        run_steps(run, &line, &scratch, &alone);
}

/* How many steps to project at once; 0 where each step had better add up both terms of its gates, which
 * saves writing and reading the input's share but reads the input's weights once a step. */
static ptrdiff_t chunk_steps(const gw_packed *layer, const gw_sequence *sequence, ptrdiff_t rows, int alone) {
    const size_t weights =
        (size_t)(layer->cell->gates * layer->hidden_size * layer->input_size) * layer->input.format->size;
    if (alone && fuses_input(layer))
        return 0;
    const ptrdiff_t enough = weights > CACHED_WEIGHTS ? CHUNK_ROWS / 2 : FEW_ROWS;
    const int can_fuse = !layer->cell->has_hidden_product;
    if (sequence->time == 0 || (can_fuse && (rows >= enough || sequence->time == 1)))
        return 0;
    const ptrdiff_t steps = rows < CHUNK_ROWS ? CHUNK_ROWS / (rows ? rows : 1) : 1;
    /* Of about equal lengths: a short last one would read all weights for little. */
    return ceiling(sequence->time, ceiling(sequence->time, steps));
}

/* What a step reads and writes of one row, in bytes. */
static size_t run_row_bytes(const struct run *run) {
    const gw_packed *layer = run->layer;
    ptrdiff_t count = 2 * layer->output_size;
    count += run->x.data ? layer->input_size : 0;
    count += layer->cell->has_c || has_hidden(layer) ? layer->hidden_size : 0;
    count += run->extra.data ? layer->hidden_size : 0;
    count += run->gates.data || !run->x.data ? layer->cell->gates * layer->hidden_size : 0;
    return (size_t)count * sizeof(real);
}

static gw_status run_sequence(struct run *run, int threads) {
    threads = useful_threads(run->layer, run->sequence, threads);
    run->alone = can_run_alone(run->layer, run->sequence) &&
                 (threads == 1 || step_work(run->layer, 1) < WORTH_SHARING_A_ROW);
    if (run->alone)
        threads = 1;
    run->by_rows = shares_rows(run->sequence, threads);
    run->block = run->sequence->batch;
    if (run->by_rows)
        run->block = rows_at_once(run->layer, run->sequence, run_row_bytes(run));
    if (run->x.data)
        run->chunk = chunk_steps(run->layer, run->sequence, run->block, run->alone);
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
