/* relu, sigmoid, tanh and softmax of whole arrays. */
#ifndef GATEWISE_ELEMENTWISE_H
#define GATEWISE_ELEMENTWISE_H

#include "products/elements.h"
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

/* The largest of them and of `largest`; NaN where there is one, as NumPy's max has it. */
INLINE real maximum(real largest, const real *values, ptrdiff_t count) {
    for (ptrdiff_t k = 0; k < count; k++)
        largest = values[k] > largest || values[k] != values[k] ? values[k] : largest;
    return largest;
}

INLINE void exponentials(const real *from, vreal largest, ptrdiff_t count, real *to) {
    for (ptrdiff_t k = 0; k < count; k += WIDTH) {
        const ptrdiff_t n = count - k < WIDTH ? count - k : WIDTH;
        store_some(to + k, n, v_exp(v_sub(load_some(from + k, n), largest)));
    }
}

INLINE void divide(real *values, vreal divisor, ptrdiff_t count) {
    for (ptrdiff_t k = 0; k < count; k += WIDTH) {
        const ptrdiff_t n = count - k < WIDTH ? count - k : WIDTH;
        store_some(values + k, n, v_div(load_some(values + k, n), divisor));
    }
}

static void softmax_row(const real *from, real *to, ptrdiff_t classes, gw_watch *watch) {
    real largest = from[0], sum = 0;
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, classes, watch)) > k; k = end)
        largest = maximum(largest, from + k, end - k);
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, classes, watch)) > k;) {
        exponentials(from + k, v_set(largest), end - k, to + k);
        for (; k < end; k++)
            sum += to[k];
    }
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, classes, watch)) > k; k = end)
        divide(to + k, v_set(sum), end - k);
}

static gw_status softmax(const void *z, void *out, ptrdiff_t rows, ptrdiff_t classes) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    for (ptrdiff_t row = 0; row < rows && gw_goes_on(&watch, ELEMENT_WORK); row++)
        softmax_row((const real *)z + row * classes, (real *)out + row * classes, classes, &watch);
    return gw_close(&call, GW_OK);
}

#endif
