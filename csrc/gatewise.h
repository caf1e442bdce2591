/* What the C core offers: one table of functions per instruction set and precision.
 *
 * The core knows floats, strides and counts. It checks nothing, allocates nothing inside a time loop and, but
 * for the threads and the memory that wait for the next call, keeps nothing between calls. Its vocabulary
 * (rows, ragged batches, cells, extra) is that of src/gatewise/kernels/numpy, which says what each function
 * computes.
 */
#ifndef GATEWISE_H
#define GATEWISE_H

#include <stddef.h>
#include <stdint.h>

typedef enum gw_cell { GW_RNN_TANH, GW_RNN_RELU, GW_LSTM, GW_GRU, GW_GRU_RESET_BEFORE } gw_cell;

/* After GW_INTERRUPTED and GW_FORKED what the call was to write is worth nothing: see call.h. */
typedef enum gw_status { GW_OK, GW_NO_MEMORY, GW_INTERRUPTED, GW_FORKED } gw_status;

typedef struct gw_watch gw_watch;

/* (time, batch, features) with contiguous features; strides in elements. data may be NULL: not wanted. */
typedef struct gw_rows {
    void *data;
    ptrdiff_t time, row;
} gw_rows;

/* All rows of all steps: `time` steps of `batch` rows of `features`. */
typedef struct gw_block {
    gw_rows rows;
    ptrdiff_t time, batch, features;
} gw_block;

/* (rows, columns), rows at a distance of `step` elements. */
typedef struct gw_matrix {
    void *data;
    ptrdiff_t rows, columns, step;
} gw_matrix;

/* batch_sizes is NULL for a plain batch. */
typedef struct gw_sequence {
    ptrdiff_t time, batch;
    const int64_t *batch_sizes;
    int reverse;
    int odd;      /* alternates between short calls on the same weights, to make better use of caches */
    int in_place; /* a step of layers that advance together: no signal ends the call */
} gw_sequence;

/* h and c are contiguous (batch, features); c is NULL but for the LSTM. */
typedef struct gw_state {
    void *h, *c;
} gw_state;

/* How weights are kept. Narrow ones are for inference in single precision. */
typedef enum gw_format { GW_FULL, GW_HALF, GW_INT8 } gw_format;

/* Canonical weights, contiguous; what a cell does not have is NULL. Scales, one for each row of their
 * matrix, multiply what that row's weights give. */
typedef struct gw_weights {
    gw_cell cell;
    gw_format format; /* of w_ih, w_hh and w_hr */
    ptrdiff_t input_size, hidden_size, output_size;
    const void *w_ih, *w_hh, *bias, *bias_hn, *w_hr, *peepholes;
    const void *scale_ih, *scale_hh, *scale_hr;
} gw_weights;

/* A single step of one of the notebook's cells: its sizes, and the call that it is part of. */
typedef struct gw_columns {
    gw_cell cell;
    gw_watch *watch;
    ptrdiff_t n_x, n_a, n_y, m;
} gw_columns;

typedef struct gw_packed gw_packed;

/* The packed weights and bias of a Linear. */
typedef struct gw_linear gw_linear;

typedef struct gw_kernels {
    gw_status (*pack)(const gw_weights *weights, gw_packed **packed);
    void (*release)(gw_packed *packed);
    /* Makes what only `backward` needs, if it is not there yet. Not to be called by two threads at once. */
    gw_status (*prepare_backward)(gw_packed *packed);
    gw_status (*infer)(const gw_packed *packed, const gw_sequence *sequence, gw_rows x, gw_state state,
                       gw_rows y, gw_rows cells, int threads);
    /* Given the input's shares of the gates, in place of x; they may be overwritten. */
    gw_status (*infer_shares)(const gw_packed *packed, const gw_sequence *sequence, gw_rows shares,
                              gw_state state, gw_rows y, gw_rows cells, int threads);
    /* x.data may be NULL: gates hold the input's share already. */
    gw_status (*forward)(const gw_packed *packed, const gw_sequence *sequence, gw_rows x, gw_rows gates,
                         gw_state state, gw_rows y, gw_rows extra, int threads);
    gw_status (*backward)(const gw_packed *packed, const gw_sequence *sequence, gw_rows gates, gw_rows extra,
                          gw_rows y, gw_state initial, gw_rows dy, gw_state dstate, gw_rows dgates,
                          gw_rows dextra, int threads);
    gw_status (*project_back)(const gw_packed *packed, gw_block dgates, gw_block dx, int threads);
    /* weight is (outputs, inputs) and contiguous; bias may be NULL. */
    gw_status (*pack_linear)(ptrdiff_t inputs, ptrdiff_t outputs, const void *weight, const void *bias,
                             gw_linear **packed);
    void (*release_linear)(gw_linear *packed);
    /* As for prepare_backward; with the weights that were packed. */
    gw_status (*prepare_linear_back)(gw_linear *packed, const void *weight);
    gw_status (*linear)(const gw_linear *packed, gw_block x, gw_block out, int threads);
    gw_status (*linear_back)(const gw_linear *packed, gw_block dy, gw_block dx, int threads);
    /* Adds to out. */
    gw_status (*outer)(gw_block a, gw_block b, gw_matrix out, int threads);
    /* Adds to the rows of out that the tokens name. */
    gw_status (*add_by_token)(const int64_t *tokens, gw_block rows, gw_matrix out);
    /* in, values and out are as for cell_forward and cell_backward in kernels/numpy/columns.py. The latter
     * adds to out. Whoever calls them opens and closes the call that they are part of. */
    void (*cell_forward)(const gw_columns *sizes, const void *const *in, void *values, void *yt);
    gw_status (*cell_backward)(const gw_columns *sizes, const void *const *in, void *const *out);
    gw_status (*relu)(const void *z, void *out, ptrdiff_t count);
    gw_status (*tanh)(const void *z, void *out, ptrdiff_t count);
    gw_status (*sigmoid)(const void *z, void *out, ptrdiff_t count);
    gw_status (*softmax)(const void *z, void *out, ptrdiff_t rows, ptrdiff_t classes);
} gw_kernels;

/* The variants that this build has and this CPU can run, best first, ended by NULL. */
const char *const *gw_instruction_sets(void);

/* Chooses a variant for the whole process; 0 where `name` is none of gw_instruction_sets(). */
int gw_choose_instruction_set(const char *name);

const char *gw_instruction_set(void);

/* The chosen variant's kernels for float (single) or double. */
const gw_kernels *gw_get_kernels(int single);

#endif
