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

/* GW_UNKNOWN is for a name that the table of cells, of formats or of activations does not have. After
 * GW_INTERRUPTED and GW_FORKED what the call was to write is worth nothing: see call.h. */
typedef enum gw_status { GW_OK, GW_NO_MEMORY, GW_UNKNOWN, GW_INTERRUPTED, GW_FORKED } gw_status;

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

/* h and c are contiguous (batch, features); c is NULL but for the LSTM. */
typedef struct gw_state {
    void *h, *c;
} gw_state;

/* The rows that start anew, a byte for each in the order of all rows of all steps, which is not 0 if it does; NULL
 * where none does. They start from one state for all, of (features,). */
typedef struct gw_resets {
    const uint8_t *rows;
    gw_state state;
} gw_resets;

/* batch_sizes is NULL for a plain batch. */
typedef struct gw_sequence {
    ptrdiff_t time, batch;
    const int64_t *batch_sizes;
    int reverse;
    int odd;      /* alternates between short calls on the same weights, to make better use of caches */
    int in_place; /* a step of layers that advance together: no signal ends the call */
    gw_resets resets;
} gw_sequence;

/* A name of the table in vectors/activations.h, and the numbers that go with it. */
typedef struct gw_activation {
    const char *name;
    double alpha, beta;
} gw_activation;

/* Canonical weights, contiguous; what a cell does not have is NULL, and an activation that it does not have any
 * name of the table. Scales, one for each row of their matrix, multiply what that row's weights give. */
typedef struct gw_weights {
    const char *cell;
    const char *format;                      /* of w_ih, w_hh and w_hr */
    gw_activation gate, candidate, output;   /* the last is what c goes through on its way to h */
    ptrdiff_t rows, input_size, output_size; /* of w_ih and w_hh; the columns of w_ih, and of w_hh */
    const void *w_ih, *w_hh, *bias, *bias_hn, *w_hr, *peepholes;
    const void *scale_ih, *scale_hh, *scale_hr;
} gw_weights;

/* The notebook's own arrays: a row for each feature, a column for each example, contiguous. All that a cell has
 * of one kind stands in the notebook's order. */
enum { GW_MOST_STATES = 2, GW_MOST_GATES = 4, GW_MOST_PARAMETERS = 8 };

typedef struct gw_columns {
    const char *cell;
    ptrdiff_t n_x, n_a, n_y, m;
    const void *parameters[GW_MOST_PARAMETERS];
    const void *w_y, *b_y; /* of the prediction, forward only */
} gw_columns;

/* One step: xt (n_x, m), and (n_a, m) each the state before and after it and the values of the gates. */
typedef struct gw_columns_step {
    const void *xt, *before[GW_MOST_STATES];
    void *after[GW_MOST_STATES], *gates[GW_MOST_GATES];
} gw_columns_step;

/* The gradients of a step: in `after` those of the state that it left. The others are added to, but for that of
 * an LSTM's c before, which may stand in the place of that after. */
typedef struct gw_columns_gradients {
    const void *after[GW_MOST_STATES];
    void *xt, *before[GW_MOST_STATES], *parameters[GW_MOST_PARAMETERS];
} gw_columns_gradients;

/* `time` steps: x (time, n_x, m), the state before the first, and `values`, for each step the state after it and
 * the gates, (n_a, m) each. */
typedef struct gw_columns_run {
    ptrdiff_t time;
    const void *x, *initial[GW_MOST_STATES];
    void *values;
} gw_columns_run;

typedef struct gw_packed gw_packed;

/* The packed weights and bias of a Linear, or of a convolution. */
typedef struct gw_linear gw_linear;

/* Windows over the steps of sequences: the inputs of a row of `out` are those of `taps` steps of x, `dilation` apart,
 * from step t * stride - before on. What they lack before the first step is in `history`, or counts as nothing, as
 * does what lies past the end of a sequence. */
typedef struct gw_windows {
    ptrdiff_t taps, stride, dilation, before;
    gw_block x, out;
    gw_rows history;        /* `before` steps of each sequence; its data may be NULL */
    const int64_t *lengths; /* of x and then of `out`, where sequences may be shorter than both; or NULL */
} gw_windows;

/* A product over all rows: those of one side are shared by some such products. */
typedef struct gw_outer_side {
    gw_block b;
    gw_matrix out;
} gw_outer_side;
enum { GW_MOST_SIDES = 2 };

typedef gw_status gw_elementwise(const void *z, void *out, ptrdiff_t count);

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
    /* dresets may be NULL: each row's gradients of the state that it was reset to are added to it. */
    gw_status (*backward)(const gw_packed *packed, const gw_sequence *sequence, gw_rows gates, gw_rows extra,
                          gw_rows y, gw_state initial, gw_rows dy, gw_state dstate, gw_rows dgates,
                          gw_rows dextra, gw_state dresets, int threads);
    gw_status (*project_back)(const gw_packed *packed, gw_block dgates, gw_block dx, int threads);
    /* weight is (outputs, inputs) and contiguous, in the format of this name, or in the sums' own if that is NULL;
     * bias may be NULL, and scales where the format has none. It is for `convolve` if `taps` is not 0: then a row's
     * inputs are those of so many steps. */
    gw_status (*pack_linear)(ptrdiff_t inputs, ptrdiff_t outputs, const char *format, const void *weight,
                             const void *scales, const void *bias, ptrdiff_t taps, gw_linear **packed);
    void (*release_linear)(gw_linear *packed);
    /* As for prepare_backward; with the weights that were packed. */
    gw_status (*prepare_linear_back)(gw_linear *packed, const void *weight);
    gw_status (*linear)(const gw_linear *packed, gw_block x, gw_block out, int threads);
    gw_status (*linear_back)(const gw_linear *packed, gw_block dy, gw_block dx, int threads);
    /* Writes the rows of windows->out that are no longer than their lengths. */
    gw_status (*convolve)(const gw_linear *packed, const gw_windows *windows, int threads);
    /* Adds to each side's out; in products of bfloat16 where that is wanted and the processor has them. */
    gw_status (*outer)(gw_block a, const gw_outer_side *sides, int count, int in_bfloat16, int threads);
    /* Adds the rows one after the other to out, which is contiguous. */
    gw_status (*add_rows)(gw_block rows, void *out);
    /* Adds to the rows of out that the tokens name. */
    gw_status (*add_by_token)(const int64_t *tokens, gw_block rows, gw_matrix out);
    /* Fills the run's values, and predictions (time, n_y, m). */
    gw_status (*columns_forward)(const gw_columns *columns, const gw_columns_run *run, void *predictions);
    gw_status (*columns_step_back)(const gw_columns *columns, const gw_columns_step *step,
                                   const gw_columns_gradients *gradients);
    /* da (time, n_a, m) has the gradients of all a, and is used up; dx (time, n_x, m), da_initial and
     * dparameters are added to. */
    gw_status (*columns_back)(const gw_columns *columns, const gw_columns_run *run, void *da, void *dx,
                              void *da_initial, void *const *dparameters);
    gw_elementwise *relu, *tanh, *sigmoid;
    gw_status (*activate)(const gw_activation *activation, const void *z, void *out, ptrdiff_t count);
    gw_status (*softmax)(const void *z, void *out, ptrdiff_t rows, ptrdiff_t classes);
} gw_kernels;

/* The names of the variants that this build has and this CPU can run, best first; NULL behind the last. */
const char *gw_instruction_set_at(int index);

/* Chooses a variant for the whole process, before any other thread asks for kernels; 0 where there is none of
 * this `name`. */
int gw_choose_instruction_set(const char *name);

const char *gw_instruction_set(void);

/* Whether the chosen variant may use the products of four bytes that not all its processors have. */
int gw_has_dots(void);

/* The same of the products of pairs of bfloat16. */
int gw_has_bfloat16(void);

/* The chosen variant's kernels for float (single) or double. */
const gw_kernels *gw_get_kernels(int single);

#endif
