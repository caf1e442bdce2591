/* The table of cells. Those of the notebook have their steps on its arrays as well. */
#ifndef GATEWISE_TABLE_H
#define GATEWISE_TABLE_H

#include "cells/alone.h"
#include "cells/columns.h"

static const struct cell all_cells[] = {
    {.name = "rnn",
     .gates = 1,
     .forward = rnn_step,
     .forward_alone = rnn_step_alone,
     .back = rnn_step_back,
     .columns = rnn_columns,
     .columns_back = rnn_columns_back},
    {.name = "lstm",
     .gates = 4,
     .has_c = 1,
     .keeps_gates = 1,
     .forward = lstm_step,
     .forward_alone = lstm_step_alone,
     .back = lstm_step_back,
     .columns = lstm_columns,
     .columns_back = lstm_columns_back},
    {.name = "gru",
     .gates = 3,
     .keeps_gates = 1,
     .forward = gru_step,
     .forward_alone = gru_step_alone,
     .back = gru_step_back},
    {.name = "gru_reset_before",
     .gates = 3,
     .keeps_gates = 1,
     .has_hidden_product = 1,
     .forward = gru_reset_before_step,
     .back = gru_reset_before_step_back,
     .columns = gru_columns,
     .columns_back = gru_columns_back},
};

/* NULL where the table has none of that name. */
static const struct cell *find_cell(const char *name) {
    for (size_t k = 0; k < sizeof all_cells / sizeof all_cells[0]; k++)
        if (!strcmp(all_cells[k].name, name))
            return &all_cells[k];
    return NULL;
}

#endif
