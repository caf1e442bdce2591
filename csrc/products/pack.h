/* Packing and releasing a layer's weights. */
#ifndef GATEWISE_PACK_H
#define GATEWISE_PACK_H

#include "cells/table.h"

static void free_panels(struct panels *p) {
    gw_free(p->data);
    gw_free(p->scales);
    gw_free(p->offsets);
}

static void release(gw_packed *layer) {
    if (!layer)
        return;
    free_panels(&layer->input);
    free_panels(&layer->recurrent);
    free_panels(&layer->candidate);
    free_panels(&layer->projection);
    free_panels(&layer->back_input);
    free_panels(&layer->back_recurrent);
    free_panels(&layer->back_candidate);
    free_panels(&layer->back_projection);
    gw_free(layer->bias);
    gw_free(layer->bias_hn);
    gw_free(layer->peepholes);
    gw_free(layer);
}

/* Copies a vector; 0 where there is no memory. Absent vectors stay NULL. */
static int copy_vector(real **target, const void *source, ptrdiff_t count) {
    if (!source)
        return 1;
    *target = gw_allocate((size_t)count * sizeof(real));
    if (*target)
        memcpy(*target, source, (size_t)count * sizeof(real));
    return *target != NULL;
}

/* Whether h, or what a hidden product makes of it, stays within 1 where it begins there. */
static int is_bounded(const gw_packed *layer) {
    const struct activations *by = &layer->activations;
    return !layer->projection.data && stays_within_one(layer->cell->has_c ? &by->output : &by->candidate);
}

/* 0 where the table has none of a name. */
static int find_activations(const gw_weights *weights, struct activations *found) {
    return find_activation(&weights->gate, &found->gate) &&
           find_activation(&weights->candidate, &found->candidate) &&
           find_activation(&weights->output, &found->output);
}

static gw_status pack(const gw_weights *weights, gw_packed **packed) {
    const struct cell *cell = find_cell(weights->cell);
    const struct format *format = find_format(weights->format);
    struct activations activations = {0};
    *packed = NULL;
    if (!cell || !format || !find_activations(weights, &activations))
        return GW_UNKNOWN;
    gw_packed *layer = gw_allocate(sizeof *layer);
    if (!layer)
        return GW_NO_MEMORY;
    memset(layer, 0, sizeof *layer);
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    const int gates = cell->gates;
    const ptrdiff_t inputs = weights->input_size, outputs = weights->output_size,
                    hidden = weights->rows / gates;
    const real *scale_hh = weights->scale_hh;
    const char *w_hh = weights->w_hh;
    layer->cell = cell;
    layer->activations = activations;
    layer->activations.are_fractions = format->has_fractions && is_standard(layer);
    layer->input_size = inputs;
    layer->hidden_size = hidden;
    layer->output_size = outputs;
    /* A step may add up both terms of its gates, so the panels of the two are laid out alike. */
    const int input_gates = cell->has_hidden_product ? 1 : gates;
    int done = pack_panels(&layer->input, input_gates, gates / input_gates * hidden, inputs, format,
                           weights->w_ih, weights->scale_ih, &watch) &&
               copy_vector(&layer->bias, weights->bias, gates * hidden) &&
               copy_vector(&layer->bias_hn, weights->bias_hn, hidden) &&
               copy_vector(&layer->peepholes, weights->peepholes, 3 * hidden);
    if (cell->has_hidden_product) {
        const ptrdiff_t others = (gates - 1) * hidden;
        done = done &&
               pack_panels(&layer->recurrent, gates - 1, hidden, hidden, format, w_hh, scale_hh, &watch) &&
               pack_panels(&layer->candidate, 1, hidden, hidden, format,
                           w_hh + (size_t)(others * hidden) * format->size,
                           scale_hh ? scale_hh + others : NULL, &watch);
    } else {
        done = done && pack_panels(&layer->recurrent, gates, hidden, outputs, format, w_hh, scale_hh, &watch);
    }
    if (weights->w_hr)
        done = done && pack_panels(&layer->projection, 1, outputs, hidden, format, weights->w_hr,
                                   weights->scale_hr, &watch);
    layer->recurrent.is_bounded = layer->candidate.is_bounded = is_bounded(layer);
    const gw_status status = gw_close(&call, done ? GW_OK : GW_NO_MEMORY);
    if (status == GW_OK)
        *packed = layer;
    else
        release(layer);
    return status;
}

/* Packs the transpose of what `forward` holds, square by square of WIDTH units and inputs. */
static int transpose_panels(struct panels *back, const struct panels *forward, gw_watch *watch) {
    back->gates = 1;
    back->units = forward->inputs;
    back->inputs = forward->gates * forward->units;
    back->format = FULL;
    if (!new_panels(back))
        return 0;
    for (ptrdiff_t block = 0; block < block_count(forward); block++) {
        const int vectors = block_vectors(forward, block);
        for (int v = 0; v < vectors; v++) {
            const real *source = (const real *)block_panel(forward, block) + v * WIDTH;
            const ptrdiff_t k = vector_offset(forward, block, v), length = vector_length(forward, block, v);
            if (!gw_goes_on(watch, back->units * PACKING_WORK))
                return 1;
            for (ptrdiff_t unit = 0; unit < back->units; unit += WIDTH) {
                const ptrdiff_t back_block = unit / PANEL_WIDTH;
                const int back_vectors = block_vectors(back, back_block);
                const ptrdiff_t columns = vector_length(back, back_block, (int)(unit % PANEL_WIDTH / WIDTH));
                real *target =
                    (real *)block_panel(back, back_block) + k * back_vectors * WIDTH + unit % PANEL_WIDTH;
                for (ptrdiff_t row = 0; row < length; row++, target += back_vectors * WIDTH) {
                    for (ptrdiff_t column = 0; column < columns; column++)
                        target[column] = source[(unit + column) * vectors * WIDTH + row];
                    for (ptrdiff_t column = columns; column < WIDTH; column++)
                        target[column] = 0;
                }
            }
        }
    }
    return 1;
}

/* The same in the format's own form, if it has one; of the outputs from `first` to `end` - 1. */
static int transpose_part(struct panels *back, const struct panels *forward, ptrdiff_t first, ptrdiff_t end,
                          gw_watch *watch) {
    return forward->format->transpose ? forward->format->transpose(back, forward, first, end, watch)
                                      : transpose_panels(back, forward, watch);
}

/* 1 also where there is nothing to transpose, or it has been done. The handler of a signal may do it while
 * this is under way. */
static int transpose_once(struct panels *back, const struct panels *forward, ptrdiff_t first, ptrdiff_t end,
                          gw_watch *watch) {
    if (!forward->data || back->data)
        return 1;
    struct panels made = {0};
    const int done = transpose_part(&made, forward, first, end, watch);
    if (done && gw_goes_on(watch, 0) && !back->data)
        *back = made;
    else
        gw_free(made.data);
    return done;
}

static int transpose_all(struct panels *back, const struct panels *forward, gw_watch *watch) {
    return transpose_once(back, forward, 0, forward->gates * forward->units, watch);
}

static gw_status prepare_backward(gw_packed *layer) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    /* What r multiplies has rows of its own, which other formats convert for themselves. */
    const struct panels *recurrent = &layer->recurrent;
    const ptrdiff_t outputs = recurrent->gates * recurrent->units;
    const int is_split = layer->bias_hn && recurrent->format->transpose;
    const ptrdiff_t own = is_split ? outputs - recurrent->units : outputs;
    const int done = transpose_all(&layer->back_input, &layer->input, &watch) &&
                     transpose_once(&layer->back_recurrent, recurrent, 0, own, &watch) &&
                     (is_split ? transpose_once(&layer->back_candidate, recurrent, own, outputs, &watch)
                               : transpose_all(&layer->back_candidate, &layer->candidate, &watch)) &&
                     transpose_all(&layer->back_projection, &layer->projection, &watch);
    return gw_close(&call, done ? GW_OK : GW_NO_MEMORY);
}

#endif
