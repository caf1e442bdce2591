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
    real *dhidden;
    const real **pointers; /* BACK_POINTERS for each row and thread */
};

enum { BACK_POINTERS = 4 };

static void prepare_step(const struct back_run *run, const struct timeline *line, ptrdiff_t t,
                         const real **pointers, struct back_step *step) {
    const gw_packed *layer = run->layer;
    const ptrdiff_t batch = run->sequence->batch, hidden_size = layer->hidden_size;
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
    step->dgate_rows = pointers + batch;
    step->dn_rows = pointers + 2 * batch;
    step->dextra_rows = pointers + 3 * batch;
    const struct rows initial = layer->cell->has_c ? state_rows(line, run->initial.c, hidden_size)
                                                   : state_rows(line, run->initial.h, layer->output_size);
    point_before(pointers, line, layer->cell->has_c ? &run->extra : &run->y, t, initial);
    const gw_state *anew = &run->sequence->resets.state;
    const uint8_t *resets = resets_at(line, t);
    if (resets && point_anew(pointers, resets, step->rows, layer->cell->has_c ? anew->c : anew->h))
        step->resets = resets;
    point_at(pointers + batch, step->dgates, 0, step->rows);
    if (layer->cell->has_hidden_product) {
        const struct rows dn = {step->dgates.base + (layer->cell->gates - 1) * hidden_size,
                                step->dgates.stride};
        point_at(pointers + 2 * batch, dn, 0, step->rows);
    }
    if (step->dextra.base)
        point_at(pointers + 3 * batch, step->dextra, 0, step->rows);
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

static void run_back_part(void *context, gw_member *member) {
    const struct back_run *run = context;
    const gw_sequence *sequence = run->sequence;
    struct timeline line = {sequence, run->starts, 0, sequence->batch};
    const real **pointers = run->pointers + member->thread * BACK_POINTERS * sequence->batch;
    gw_member alone = gw_alone(member->watch);
    if (run->by_rows) {
        line.first_row = share_start(sequence, member->thread, member->threads);
        line.end_row = share_start(sequence, member->thread + 1, member->threads);
        member = &alone;
    }
    for (ptrdiff_t n = 0; n < sequence->time && gw_goes_on(member->watch, STEP_WORK); n++) {
        struct back_step step = {.layer = run->layer, .member = member, .descending = n % 2};
        prepare_step(run, &line, time_of(&line, n, !sequence->reverse), pointers, &step);
        run->layer->cell->back(&step);
        if (step.resets)
            cut_step(run, &line, &step);
    }
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
    struct workspace space;
    gw_call call;
    open_space(&space);
    run.starts = new_starts(&space, sequence);
    run.pointers = take_space(&space, (size_t)(threads * BACK_POINTERS * batch) * sizeof(real *));
    run.dhidden = take_space(&space, (size_t)(batch * layer->hidden_size) * sizeof(real));
    const int ready = (run.starts || !sequence->batch_sizes) && run.pointers && run.dhidden;
    gw_watch watch = gw_open(&call, 1);
    if (ready)
        gw_run(&watch, run_back_part, &run, threads);
    const gw_status status = gw_close(&call, ready ? GW_OK : GW_NO_MEMORY);
    release_space(&space);
    return status;
}

#endif
