/* sigmoid, tanh and softmax of whole arrays. */
#ifndef GATEWISE_ELEMENTWISE_H
#define GATEWISE_ELEMENTWISE_H

#include "activations.h"
#include "float_state.h"
#include "panels.h"

INLINE void apply(vreal function(vreal), const real *from, real *to, ptrdiff_t count) {
    const float_state before = flush_denormals();
    ptrdiff_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        v_store(to + i, function(v_load(from + i)));
    if (i < count)
        v_store_first(to + i, count - i, function(v_load_first(from + i, count - i)));
    restore_float_state(before);
}

static void sigmoid(const void *z, void *out, ptrdiff_t count) { apply(v_sigmoid, z, out, count); }

static void hyperbolic_tangent(const void *z, void *out, ptrdiff_t count) { apply(v_tanh, z, out, count); }

/* The largest of a row; NaN where there is one, as NumPy's max has it. */
INLINE real row_maximum(const real *row, ptrdiff_t classes) {
    real largest = row[0];
    for (ptrdiff_t k = 1; k < classes; k++)
        largest = row[k] > largest || row[k] != row[k] ? row[k] : largest;
    return largest;
}

static void softmax(const void *z, void *out, ptrdiff_t rows, ptrdiff_t classes) {
    const float_state before = flush_denormals();
    for (ptrdiff_t row = 0; row < rows; row++) {
        const real *from = (const real *)z + row * classes;
        real *to = (real *)out + row * classes;
        const vreal largest = v_set(row_maximum(from, classes));
        for (ptrdiff_t k = 0; k < classes; k += WIDTH) {
            const ptrdiff_t n = classes - k < WIDTH ? classes - k : WIDTH;
            store_some(to + k, n, v_exp(v_sub(load_some(from + k, n), largest)));
        }
        real sum = 0;
        for (ptrdiff_t k = 0; k < classes; k++)
            sum += to[k];
        const vreal total = v_set(sum);
        for (ptrdiff_t k = 0; k < classes; k += WIDTH) {
            const ptrdiff_t n = classes - k < WIDTH ? classes - k : WIDTH;
            store_some(to + k, n, v_div(load_some(to + k, n), total));
        }
    }
    restore_float_state(before);
}

#endif
