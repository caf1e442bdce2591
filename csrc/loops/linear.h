/* A Linear's product, y = x w^T + b, with the weights packed once.
 *
 * Its sums have one order, which the layer's sizes choose and the number of rows does not. With many outputs, the
 * vectors hold outputs, and a sum is one chain over ascending inputs that begins with the bias. With fewer, which
 * are too few chains for one row, it is such chains over parts of the inputs. With very few, which would leave most
 * of a vector empty, vectors hold inputs: a sum has LANES chains, each over every LANES-th input. Chains are added
 * up at the end, and then the bias. */
#ifndef GATEWISE_LINEAR_H
#define GATEWISE_LINEAR_H

#include "loops/large.h"
#include "products/pack.h"

/* Enough to keep in flight for one output, and the same however wide vectors are, for the same sums. */
#define LANES (64 / (int)sizeof(real))
#define LANE_VECTORS (LANES / WIDTH)
/* Where a vector is one number, that would be much code for no registers. */
#if WIDTH == 1
#define UNROLL_LANES
#else
#define UNROLL_LANES UNROLL
#endif

/* So few outputs are summed in lanes; with MANY_INPUTS no more than MORE_OUTPUTS, and a panel, in parts. */
#define FEW_OUTPUTS 4
#define MANY_INPUTS 512

struct gw_linear {
    ptrdiff_t inputs, outputs;
    struct panels panels;
    int in_parts; /* as in large.h */
    real *lanes;  /* instead of panels: the rows of the weights, each filled up with zeros to whole LANES */
    real *bias;
    struct panels back; /* made by prepare_linear_back: the weights transposed */
};

/* Rows of x and of y, each at one distance. */
struct lanes {
    const gw_linear *layer;
    struct rows x, y;
    ptrdiff_t first_output, end_output;
};

/* Adds the products of one vector of inputs, or of its first `n`. */
INLINE void add_lanes(struct rows x, ptrdiff_t k, ptrdiff_t n, const real *weight, ptrdiff_t step, vreal *sum,
                      const int rows, const int outputs) {
    UNROLL for (int row = 0; row < rows; row++) {
        const vreal value = load_some(row_of(x, row) + k, n);
        UNROLL for (int o = 0; o < outputs; o++)
            sum[row * outputs + o] = v_fma(value, v_load(weight + o * step + k), sum[row * outputs + o]);
    }
}

/* Four sums of all lanes: the second half is added to the first, and so on. */
INLINE void total_lanes(vreal sum[LANE_VECTORS][4], real *totals) {
    UNROLL_LANES for (int half = LANE_VECTORS / 2; half > 0; half /= 2) {
        UNROLL_LANES for (int v = 0; v < half; v++) {
            UNROLL for (int s = 0; s < 4; s++)
                sum[v][s] = v_add(sum[v][s], sum[v + half][s]);
        }
    }
    v_totals(sum[0][0], sum[0][1], sum[0][2], sum[0][3], totals);
}

/* The sums of the rows first to end - 1, `rows` at a time, for the `outputs` outputs from `output` on: four sums
 * at a time, or fewer. */
INLINE void run_lanes(const struct lanes *job, ptrdiff_t first, ptrdiff_t end, ptrdiff_t output,
                      const int rows, const int outputs) {
    const ptrdiff_t inputs = job->layer->inputs, step = ceiling(inputs, LANES) * LANES;
    const ptrdiff_t whole = inputs / LANES * LANES;
    const real *weight = job->layer->lanes + output * step;
    struct rows x = {row_of(job->x, first), job->x.stride},
                y = {row_of(job->y, first) + output, job->y.stride};
    real bias[4];
    UNROLL for (int o = 0; o < outputs; o++)
        bias[o] = job->layer->bias[output + o];
    for (ptrdiff_t row = first; row < end; row += rows) {
        vreal sum[LANE_VECTORS][4];
        UNROLL_LANES for (int v = 0; v < LANE_VECTORS; v++) {
            UNROLL for (int s = 0; s < 4; s++)
                sum[v][s] = v_set(0);
        }
        for (ptrdiff_t k = 0; k < whole; k += LANES) {
            UNROLL_LANES for (int v = 0; v < LANE_VECTORS; v++)
                add_lanes(x, k + v * WIDTH, WIDTH, weight, step, sum[v], rows, outputs);
        }
        UNROLL_LANES for (int v = 0; v < LANE_VECTORS; v++) {
            const ptrdiff_t k = whole + v * WIDTH, left = inputs - k;
            if (left >= WIDTH)
                add_lanes(x, k, WIDTH, weight, step, sum[v], rows, outputs);
            else if (left > 0)
                add_lanes(x, k, left, weight, step, sum[v], rows, outputs);
        }
        real totals[4];
        total_lanes(sum, totals);
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int o = 0; o < outputs; o++)
                row_of(y, r)[o] = totals[r * outputs + o] + bias[o];
        }
        x.base = row_of(x, rows);
        y.base = row_of(y, rows);
    }
}

/* Few enough rows at a time to read them again from a cache for more outputs. */
#define LANES_ROWS 64

static void run_all_lanes(const struct lanes *job, ptrdiff_t count, gw_watch *watch) {
    const ptrdiff_t first_output = job->first_output, end_output = job->end_output;
    const ptrdiff_t work = LANES_ROWS * (job->layer->inputs + LANES) * job->layer->outputs;
    for (ptrdiff_t first = 0; first < count && gw_goes_on(watch, work); first += LANES_ROWS) {
        const ptrdiff_t end = first + LANES_ROWS < count ? first + LANES_ROWS : count;
        const ptrdiff_t fours = first + (end - first) / 4 * 4;
        ptrdiff_t output = first_output;
        for (; output + 2 <= end_output; output += 2)
            run_lanes(job, first, fours, output, 2, 2);
        if (output < end_output)
            run_lanes(job, first, fours, output, 4, 1);
        for (output = first_output; output + 4 <= end_output; output += 4)
            run_lanes(job, fours, end, output, 1, 4);
        for (; output < end_output; output++)
            run_lanes(job, fours, end, output, 1, 1);
    }
}

struct lanes_product {
    const gw_linear *layer;
    gw_block x, out;
};

/* Each thread takes rows or, where these are few, outputs. */
static void lanes_part(void *context, gw_member *member) {
    const struct lanes_product *product = context;
    const gw_block *x = &product->x, *out = &product->out;
    const ptrdiff_t rows = block_rows(x), thread = member->thread, threads = member->threads;
    struct lanes job = {.layer = product->layer, .end_output = product->layer->outputs};
    ptrdiff_t first = 0, end = rows;
    if (rows < 2 * threads) {
        job.first_output = job.end_output * thread / threads;
        job.end_output = job.end_output * (thread + 1) / threads;
    } else {
        first = rows * thread / threads;
        end = rows * (thread + 1) / threads;
    }
    while (first < end && gw_goes_on(member->watch, 0)) {
        const ptrdiff_t left_of_step = x->batch - first % x->batch, left = end - first;
        const ptrdiff_t count = left < left_of_step ? left : left_of_step;
        job.x = (struct rows){block_row(x, first), x->rows.row};
        job.y = (struct rows){block_row(out, first), out->rows.row};
        run_all_lanes(&job, count, member->watch);
        first += count;
    }
}

static void release_linear(gw_linear *layer) {
    if (!layer)
        return;
    free_panels(&layer->panels);
    free_panels(&layer->back);
    gw_free(layer->lanes);
    gw_free(layer->bias);
    gw_free(layer);
}

static int pack_lanes(gw_linear *layer, const real *weight, gw_watch *watch) {
    const ptrdiff_t inputs = layer->inputs, step = ceiling(inputs, LANES) * LANES;
    layer->lanes = gw_allocate((size_t)(layer->outputs * step) * sizeof(real));
    if (!layer->lanes)
        return 0;
    for (ptrdiff_t output = 0; output < layer->outputs && gw_goes_on(watch, step); output++) {
        memcpy(layer->lanes + output * step, weight + output * inputs, (size_t)inputs * sizeof(real));
        memset(layer->lanes + output * step + inputs, 0, (size_t)(step - inputs) * sizeof(real));
    }
    return 1;
}

static gw_status pack_linear(ptrdiff_t inputs, ptrdiff_t outputs, const char *format_name, const void *weight,
                             const void *scales, const void *bias, ptrdiff_t taps, gw_linear **packed) {
    const struct format *format = format_name ? find_format(format_name) : FULL;
    *packed = NULL;
    if (!format)
        return GW_UNKNOWN;
    const int is_full = format == FULL;
    gw_linear *layer = gw_allocate(sizeof *layer);
    if (!layer)
        return GW_NO_MEMORY;
    memset(layer, 0, sizeof *layer);
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    layer->inputs = inputs;
    layer->outputs = outputs;
    layer->in_parts = is_full && !taps && outputs <= MORE_OUTPUTS && inputs >= MANY_INPUTS;
    int done = is_full && !taps && outputs <= FEW_OUTPUTS
                   ? pack_lanes(layer, weight, &watch)
                   : pack_panels(&layer->panels, 1, outputs, inputs, format, weight, scales, &watch);
    layer->bias = gw_allocate((size_t)outputs * sizeof(real));
    done = done && layer->bias;
    /* Neither -0 nor a denormal, to which a product with 0 could make a difference. */
    for (ptrdiff_t output = 0; done && output < outputs; output++)
        layer->bias[output] = (bias ? ((const real *)bias)[output] : 0) + REAL(0.0);
    const gw_status status = gw_close(&call, done ? GW_OK : GW_NO_MEMORY);
    if (status == GW_OK)
        *packed = layer;
    else
        release_linear(layer);
    return status;
}

/* What multiplies gradients needs the weights once more, the same as were packed. */
static gw_status prepare_linear_back(gw_linear *layer, const void *weight) {
    if (layer->back.data)
        return GW_OK;
    struct panels back;
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    const int done = pack_transposed(&back, layer->inputs, layer->outputs, weight, &watch);
    const gw_status status = gw_close(&call, done ? GW_OK : GW_NO_MEMORY);
    if (status == GW_OK)
        layer->back = back;
    else
        gw_free(back.data);
    return status;
}

static gw_status linear(const gw_linear *layer, gw_block x, gw_block out, int threads) {
    if (!layer->lanes && layer->panels.format != FULL)
        return multiply_narrow(x, &layer->panels, layer->bias, out, threads);
    if (!layer->lanes)
        return multiply_packed(x, &layer->panels, layer->bias, out, threads, layer->in_parts);
    struct lanes_product product = {layer, x, out};
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    gw_run(&watch, lanes_part, &product, product_threads(&x, &out, threads));
    return gw_close(&call, GW_OK);
}

static gw_status linear_back(const gw_linear *layer, gw_block dy, gw_block dx, int threads) {
    return multiply_packed(dy, &layer->back, NULL, dx, threads, 0);
}

#endif
