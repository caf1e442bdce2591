/* The time loop of one row alone, in one thread. */
#ifndef GATEWISE_LOOPS_ALONE_H
#define GATEWISE_LOOPS_ALONE_H

#include "loops/timeline.h"

/* Units up to which a row runs alone. */
#define MOST_LONE_UNITS 512
/* Weights, in bytes, that stay in a core's nearest cache. */
#define NEAR_WEIGHTS (40 * 1024)
/* Below this many multiply-adds in a step, threads had better not share it. */
#define WORTH_SHARING_A_ROW 40000

/* Whether a layer has what its cell's steps of one row know. */
static int can_run_alone(const gw_packed *layer, const gw_sequence *sequence) {
    if (sequence->batch != 1 || layer->hidden_size > MOST_LONE_UNITS || !layer->cell->forward_alone)
        return 0;
    if (layer->input.format->alone == NOT_ALONE || layer->projection.data || layer->peepholes)
        return 0;
    return is_standard(layer);
}

/* Whether a step multiplies its own input; reading many weights for it takes longer than that saves. */
static int fuses_input(const gw_packed *layer) {
    const ptrdiff_t width = layer->cell->gates * layer->hidden_size;
    const size_t weights = (size_t)(width * (layer->input_size + layer->output_size)) * sizeof(real);
    return weights <= NEAR_WEIGHTS || 8 * layer->input_size <= layer->output_size;
}

/* A state on its way through the steps, in whole vectors. */
struct lone_state {
    ALIGNED real h[2][MOST_LONE_UNITS + PANEL_WIDTH], c[MOST_LONE_UNITS + PANEL_WIDTH];
    /* Both h as the format multiplies them, where it does not as they are. */
    ALIGNED real rows[2][MOST_LONE_UNITS + PANEL_WIDTH];
};

/* What fills up the last vector is computed with, too. */
static void clear_lone_end(struct lone_state *lone, const gw_packed *layer) {
    memset(lone->h[0] + layer->hidden_size, 0, PANEL_WIDTH * sizeof(real));
    memset(lone->h[1] + layer->hidden_size, 0, PANEL_WIDTH * sizeof(real));
    memset(lone->c + layer->hidden_size, 0, PANEL_WIDTH * sizeof(real));
}

static void enter_lone_state(struct lone_state *lone, int now, const gw_packed *layer, gw_state state) {
    const size_t size = (size_t)layer->hidden_size * sizeof(real);
    memcpy(lone->h[now], state.h, size);
    if (layer->recurrent.format->convert)
        layer->recurrent.format->convert(&layer->recurrent, lone->h[now], (char *)lone->rows[now]);
    if (layer->cell->has_c)
        memcpy(lone->c, state.c, size);
}

#endif
