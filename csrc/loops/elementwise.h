/* relu, sigmoid, tanh and softmax of whole arrays. */
#ifndef GATEWISE_ELEMENTWISE_H
#define GATEWISE_ELEMENTWISE_H

#include "loops/linear.h"
#include "vectors/activations.h"

struct elements {
    const real *from;
    real *to;
};

#define DEFINE_ELEMENTWISE(name, function)                                                                   \
    INLINE void name##_vector(const void *context, ptrdiff_t k, ptrdiff_t n) {                               \
        const struct elements *elements = context;                                                           \
        store_some(elements->to + k, n, function(load_some(elements->from + k, n)));                         \
    }                                                                                                        \
    static gw_status name(const void *z, void *out, ptrdiff_t count) {                                       \
        const struct elements elements = {z, out};                                                           \
        gw_call call;                                                                                        \
        gw_watch watch = gw_open(&call, 1);                                                                  \
        for_each_vector(name##_vector, &elements, count, &watch);                                            \
        return gw_close(&call, GW_OK);                                                                       \
    }
DEFINE_ELEMENTWISE(relu, v_relu)
DEFINE_ELEMENTWISE(hyperbolic_tangent, v_tanh)
DEFINE_ELEMENTWISE(sigmoid, v_sigmoid)

struct activated {
    struct activation by;
    struct elements elements;
};

static void activated_vector(const void *context, ptrdiff_t k, ptrdiff_t n) {
    const struct activated *job = context;
    store_some(job->elements.to + k, n, activate(&job->by, load_some(job->elements.from + k, n)));
}

static gw_status activate_all(const gw_activation *activation, const void *z, void *out, ptrdiff_t count) {
    struct activated job = {.elements = {z, out}};
    if (!find_activation(activation, &job.by))
        return GW_UNKNOWN;
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    for_each_vector(activated_vector, &job, count, &watch);
    return gw_close(&call, GW_OK);
}

/* The largest of them and of `largest`, but for those that are no number. */
INLINE vreal maxima(vreal largest, const real *values, ptrdiff_t count) {
    ptrdiff_t k = 0;
    for (; k + WIDTH <= count; k += WIDTH)
        largest = v_max(v_load(values + k), largest);
    for (; k < count; k++)
        largest = v_max(v_set(values[k]), largest);
    return largest;
}

INLINE real maximum(vreal values) {
    real all[WIDTH];
    v_store(all, values);
    for (int k = 1; k < WIDTH; k++)
        all[0] = all[k] > all[0] ? all[k] : all[0];
    return all[0];
}

INLINE void exponential(const real *from, vreal largest, ptrdiff_t n, real *to, vreal *sum) {
    store_some(to, n, v_exp(v_sub(load_some(from, n), largest)));
    /* Again, for zeros behind the end. */
    *sum = v_add(*sum, load_some(to, n));
}

/* Adds to sums[v][0], of which there are as many as LANES, for the same order however wide vectors are. */
INLINE void exponentials(const real *from, vreal largest, ptrdiff_t count, real *to, vreal sums[][4]) {
    ptrdiff_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        UNROLL_LANES for (int v = 0; v < LANE_VECTORS; v++)
            exponential(from + k + v * WIDTH, largest, WIDTH, to + k + v * WIDTH, sums[v]);
    }
    for (int v = 0; k < count; k += WIDTH, v++)
        exponential(from + k, largest, count - k < WIDTH ? count - k : WIDTH, to + k, sums[v]);
}

INLINE void divide(real *values, vreal divisor, ptrdiff_t count) {
    for (ptrdiff_t k = 0; k < count; k += WIDTH) {
        const ptrdiff_t n = count - k < WIDTH ? count - k : WIDTH;
        store_some(values + k, n, v_div(load_some(values + k, n), divisor));
    }
}

static void softmax_row(const real *from, real *to, ptrdiff_t classes, gw_watch *watch) {
    vreal largest = v_set(from[0]), sums[LANE_VECTORS][4];
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, classes, watch)) > k; k = end)
        largest = maxima(largest, from + k, end - k);
    largest = v_set(maximum(largest));
    UNROLL_LANES for (int v = 0; v < LANE_VECTORS; v++) {
        UNROLL for (int s = 0; s < 4; s++)
            sums[v][s] = v_set(0);
    }
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, classes, watch)) > k; k = end)
        exponentials(from + k, largest, end - k, to + k, sums);
    real totals[4];
    total_lanes(sums, totals);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, classes, watch)) > k; k = end)
        divide(to + k, v_set(totals[0]), end - k);
}

static gw_status softmax(const void *z, void *out, ptrdiff_t rows, ptrdiff_t classes) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    for (ptrdiff_t row = 0; row < rows && gw_goes_on(&watch, ELEMENT_WORK); row++)
        softmax_row((const real *)z + row * classes, (real *)out + row * classes, classes, &watch);
    return gw_close(&call, GW_OK);
}

#endif
