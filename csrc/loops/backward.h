/* The time loop of the backward pass. Only dh = dgates W stays in it; the gradients of the weights are
 * products over all steps at once, made by the caller from dgates. */
#ifndef GATEWISE_BACKWARD_H
#define GATEWISE_BACKWARD_H

#include "loops/sequence.h"

/* A whole run, which its threads share. */
struct back_run {
    const gw_packed *layer;
    const gw_sequence *sequence;
    gw_rows gates, extra, y, dy, dgates, dextra;
    gw_state initial, dstate, dresets;
    int by_rows;
    ptrdiff_t *starts;
    /* So many rows at most go through all steps before the next do. */
    ptrdiff_t block;
    real *dhidden;
    const real **pointers; /* BACK_POINTERS for each row of a block and thread */
    char *converted;       /* so many bytes for each thread */
    size_t converted_size;
    real *deep_sums; /* so many bytes for each thread, too */
    size_t deep_size;
};

enum { BACK_POINTERS = 4 };

static void prepare_step(const struct back_run *run, const struct timeline *line, ptrdiff_t t,
                         const real **pointers, struct back_step *step) {
    const gw_packed *layer = run->layer;
    const ptrdiff_t block = run->block, hidden_size = layer->hidden_size;
    step->rows = rows_at(line, t);
    step->gates = step_rows(line, &run->gates, t);
    step->extra = step_rows(line, &run->extra, t);
    step->y = step_rows(line, &run->y, t);
    step->dy = step_rows(line, &run->dy, t);
    step->dgates = step_rows(line, &run->dgates, t);
    step->dextra = step_rows(line, &run->dextra, t);
    step->dh = state_rows(line, run->dstate.h, layer->output_size);
    step->dc = state_rows(line, run->dstate.c, hidden_size);
    step->dhidden = state_rows(line, run->dhidden, hidden_size);
    step->before = pointers;
    step->dgate_rows = pointers + block;
    step->dn_rows = pointers + 2 * block;
    step->dextra_rows = pointers + 3 * block;
    const struct rows initial = layer->cell->has_c ? state_rows(line, run->initial.c, hidden_size)
                                                   : state_rows(line, run->initial.h, layer->output_size);
    point_before(pointers, line, layer->cell->has_c ? &run->extra : &run->y, t, initial);
    const gw_state *anew = &run->sequence->resets.state;
    const uint8_t *resets = resets_at(line, t);
    if (resets && point_anew(pointers, resets, step->rows, layer->cell->has_c ? anew->c : anew->h))
        step->resets = resets;
    point_at(pointers + block, step->dgates, 0, step->rows);
    if (layer->cell->has_hidden_product) {
        const struct rows dn = {step->dgates.base + (layer->cell->gates - 1) * hidden_size,
                                step->dgates.stride};
        point_at(pointers + 2 * block, dn, 0, step->rows);
    }
    if (step->dextra.base)
        point_at(pointers + 3 * block, step->dextra, 0, step->rows);
}

/* What rows that started anew leave of the gradient of the state before them: nothing. It is added to that of the
 * state that they started from, if that is wanted. */
struct cut {
    const struct back_step *step;
    struct rows dstate, dresets;
    ptrdiff_t size;
};

static void cut_units(const void *context, int index, int count, gw_watch *watch) {
    const struct cut *cut = context;
    const ptrdiff_t first = cut->size * index / count, end = cut->size * (index + 1) / count;
    (void)watch;
    for (ptrdiff_t row = 0; row < cut->step->rows; row++) {
        if (!cut->step->resets[row])
            continue;
        real *dstate = row_of(cut->dstate, row);
        for (ptrdiff_t unit = first; unit < end; unit++) {
            if (cut->dresets.base)
                row_of(cut->dresets, row)[unit] += dstate[unit];
            dstate[unit] = 0;
        }
    }
}

static void cut_step(const struct back_run *run, const struct timeline *line, const struct back_step *step) {
    const ptrdiff_t hidden_size = run->layer->hidden_size, output_size = run->layer->output_size;
    const struct rows dh = state_rows(line, run->dresets.h, output_size);
    const struct rows dc = state_rows(line, run->dresets.c, hidden_size);
    const struct cut of_h = {step, step->dh, dh, output_size}, of_c = {step, step->dc, dc, hidden_size};
    gw_run_shares(step->member, cut_units, &of_h);
    if (run->layer->cell->has_c)
        gw_run_shares(step->member, cut_units, &of_c);
}

/* What step t will read that another call has left, maybe in memory. */
static void look_back(const struct back_run *run, const struct timeline *line, ptrdiff_t t,
                      struct ahead *ahead) {
    const gw_packed *layer = run->layer;
    look_ahead(ahead, step_rows(line, &run->dy, t), layer->output_size);
    look_ahead(ahead, step_rows(line, &run->y, t), layer->output_size);
    if (layer->cell->keeps_gates)
        look_ahead(ahead, step_rows(line, &run->gates, t), layer->cell->gates * layer->hidden_size);
    look_ahead(ahead, step_rows(line, &run->extra, t), layer->hidden_size);
}

static void run_back_steps(const struct back_run *run, const struct timeline *line, const real **pointers,
                           struct row_space row_space, gw_member *member) {
    const gw_sequence *sequence = run->sequence;
    for (ptrdiff_t n = 0; n < sequence->time && gw_goes_on(member->watch, STEP_WORK); n++) {
        struct back_step step = {.layer = run->layer, .member = member, .descending = n % 2};
        step.row_space = row_space;
        prepare_step(run, line, time_of(line, n, !sequence->reverse), pointers, &step);
        struct ahead ahead = {0};
        if (run->by_rows && n + 1 < sequence->time) {
            look_back(run, line, time_of(line, n + 1, !sequence->reverse), &ahead);
            step.ahead = &ahead;
        }
        run->layer->cell->back(&step);
        if (step.resets)
            cut_step(run, line, &step);
    }
}

static void run_back_part(void *context, gw_member *member) {
    const struct back_run *run = context;
    struct timeline line = {run->sequence, run->starts, 0, run->sequence->batch};
    const real **pointers = run->pointers + member->thread * BACK_POINTERS * run->block;
    const struct row_space row_space = {run->converted + (size_t)member->thread * run->converted_size,
                                        run->converted,
                                        deep_sums(run->deep_sums, run->deep_size, member->thread)};
    if (!run->by_rows) {
        run_back_steps(run, &line, pointers, row_space, member);
        return;
    }
    gw_member alone = gw_alone(member->watch);
    const ptrdiff_t end = share_start(run->sequence, member->thread + 1, member->threads);
    ptrdiff_t first = share_start(run->sequence, member->thread, member->threads);
    while (next_block(&line, &first, end, run->block))
        run_back_steps(run, &line, pointers, row_space, &alone);
}

/* The bytes that a thread needs for converted rows: those of both terms of a step, or of another product. */
static size_t back_converted(const gw_packed *layer, ptrdiff_t rows) {
    const size_t both =
        converted_size(&layer->back_recurrent, rows) + converted_size(&layer->back_candidate, rows);
    const size_t other = converted_size(&layer->back_projection, rows);
    return ((both > other ? both : other) + 63) / 64 * 64;
}

/* The bytes that a thread needs for the sums of deep panels, which any product may have. */
static size_t back_deep(const gw_packed *layer, ptrdiff_t rows) {
    const ptrdiff_t gates = layer->cell->gates * layer->hidden_size;
    return deep_space(&layer->back_recurrent, gates, rows) |
           deep_space(&layer->back_candidate, layer->hidden_size, rows) |
           deep_space(&layer->back_projection, layer->output_size, rows);
}

/* What a step back reads and writes of one row, in bytes. */
static size_t back_row_bytes(const struct back_run *run) {
    const gw_packed *layer = run->layer;
    ptrdiff_t count = 3 * layer->output_size + 2 * layer->cell->gates * layer->hidden_size;
    count += run->extra.data ? 2 * layer->hidden_size : 0;
    count += run->dextra.data ? layer->hidden_size : 0;
    return (size_t)count * sizeof(real);
}

static gw_status backward(const gw_packed *layer, const gw_sequence *sequence, gw_rows gates, gw_rows extra,
                          gw_rows y, gw_state initial, gw_rows dy, gw_state dstate, gw_rows dgates,
                          gw_rows dextra, gw_state dresets, int threads) {
    struct back_run run = {.layer = layer,
                           .sequence = sequence,
                           .gates = gates,
                           .extra = extra,
                           .y = y,
                           .dy = dy,
                           .dgates = dgates,
                           .dextra = dextra,
                           .initial = initial,
                           .dstate = dstate,
                           .dresets = dresets};
    const ptrdiff_t batch = sequence->batch;
    threads = useful_threads(layer, sequence, threads);
    run.by_rows = shares_rows(sequence, threads);
    run.block = run.by_rows ? rows_at_once(layer, sequence, back_row_bytes(&run)) : batch;
    struct workspace space;
    gw_call call;
    open_space(&space);
    run.starts = new_starts(&space, sequence);
    run.pointers = take_space(&space, (size_t)(threads * BACK_POINTERS * run.block) * sizeof(real *));
    run.dhidden = take_space(&space, (size_t)(batch * layer->hidden_size) * sizeof(real));
    run.converted_size = back_converted(layer, run.block);
    run.converted = take_space(&space, (size_t)threads * run.converted_size);
    run.deep_size = back_deep(layer, run.block);
    run.deep_sums = take_space(&space, (size_t)threads * run.deep_size);
    const int ready = (run.starts || !sequence->batch_sizes) && run.pointers && run.dhidden &&
                      run.converted && run.deep_sums;
    gw_watch watch = gw_open(&call, 1);
    if (ready)
        gw_run(&watch, run_back_part, &run, threads);
    const gw_status status = gw_close(&call, ready ? GW_OK : GW_NO_MEMORY);
    release_space(&space);
    return status;
}

#endif
