/* relu, sigmoid, tanh and softmax of whole arrays. */
#ifndef GATEWISE_ELEMENTWISE_H
#define GATEWISE_ELEMENTWISE_H

#include "products/panels.h"
#include "vectors/activations.h"

/* So many elements at once, and what one takes, in multiply-adds. */
#define STRETCH 8192
#define ELEMENT_WORK 32

/* Where the stretch of `count` elements ends that begins with element k; k where there is none, or the call
 * is to end. */
INLINE ptrdiff_t stretch_end(ptrdiff_t k, ptrdiff_t count, gw_watch *watch) {
    const ptrdiff_t length = count - k < STRETCH ? count - k : STRETCH;
    return length > 0 && gw_goes_on(watch, length * ELEMENT_WORK) ? k + length : k;
}

INLINE void apply(vreal function(vreal), const real *from, real *to, ptrdiff_t count, gw_watch *watch) {
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, count, watch)) > k; k = end) {
        for (; k + WIDTH <= end; k += WIDTH)
            v_store(to + k, function(v_load(from + k)));
        if (k < end)
            v_store_first(to + k, end - k, function(v_load_first(from + k, end - k)));
    }
}

INLINE vreal v_relu(vreal z) { return v_max(v_set(0), z); }

static gw_status relu(const void *z, void *out, ptrdiff_t count) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    apply(v_relu, z, out, count, &watch);
    return gw_close(&call, GW_OK);
}

static void apply_sigmoid(const real *z, real *out, ptrdiff_t count, gw_watch *watch) {
    apply(v_sigmoid, z, out, count, watch);
}

static void apply_tanh(const real *z, real *out, ptrdiff_t count, gw_watch *watch) {
    apply(v_tanh, z, out, count, watch);
}

static gw_status sigmoid(const void *z, void *out, ptrdiff_t count) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    apply_sigmoid(z, out, count, &watch);
    return gw_close(&call, GW_OK);
}

static gw_status hyperbolic_tangent(const void *z, void *out, ptrdiff_t count) {
    gw_call call;
    gw_watch watch = gw_open(&call, 1);
    apply_tanh(z, out, count, &watch);
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
