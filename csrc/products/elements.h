/* The elements of arrays, vector by vector and stretch by stretch. */
#ifndef GATEWISE_ELEMENTS_H
#define GATEWISE_ELEMENTS_H

#include "threads/call.h"
#include "vectors/real.h"

INLINE vreal load_some(const real *p, ptrdiff_t n) { return n == WIDTH ? v_load(p) : v_load_first(p, n); }

INLINE void store_some(real *p, ptrdiff_t n, vreal a) {
    if (n == WIDTH)
        v_store(p, a);
    else
        v_store_first(p, n, a);
}

/* So many elements at once, and what one takes, in multiply-adds. */
#define STRETCH 8192
#define ELEMENT_WORK 32

/* Where the stretch of `count` elements ends that begins with element k; k where there is none, or the call
 * is to end. */
INLINE ptrdiff_t stretch_end(ptrdiff_t k, ptrdiff_t count, gw_watch *watch) {
    const ptrdiff_t length = count - k < STRETCH ? count - k : STRETCH;
    return length > 0 && gw_goes_on(watch, length * ELEMENT_WORK) ? k + length : k;
}

/* The work on one vector from element k on or, where the elements end, on its first n. */
typedef void vector_function(const void *context, ptrdiff_t k, ptrdiff_t n);

INLINE void for_each_vector(vector_function run, const void *context, ptrdiff_t count, gw_watch *watch) {
    for (ptrdiff_t k = 0, end; (end = stretch_end(k, count, watch)) > k; k = end) {
        for (; k + WIDTH <= end; k += WIDTH)
            run(context, k, WIDTH);
        if (k < end)
            run(context, k, end - k);
    }
}

#endif
