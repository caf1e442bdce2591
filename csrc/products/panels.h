/* Packing a matrix into panels. */
#ifndef GATEWISE_PANELS_H
#define GATEWISE_PANELS_H

#include "memory/store.h"
#include "products/formats.h"

INLINE void *block_panel(const struct panels *p, ptrdiff_t block) {
    return (char *)p->data + (size_t)block_offset(p, block, p->inputs) * p->format->size;
}

/* Memory for panels of the given gates, units, inputs and format; 0 where there is none. */
static int new_panels(struct panels *p) {
    const size_t size = (size_t)block_offset(p, block_count(p), p->inputs) * p->format->size;
    p->data = gw_allocate(size);
    gw_make_huge(p->data, size);
    return p->data != NULL;
}

/* The weights or, with one input, the scales of a matrix (gates * units, inputs). */
static void copy_blocks(const struct panels *p, const struct format *format, ptrdiff_t inputs,
                        const void *matrix, void *data, gw_watch *watch) {
    for (ptrdiff_t block = 0; block < block_count(p); block++) {
        const int vectors = block_vectors(p, block);
        for (int v = 0; v < vectors && gw_goes_on(watch, inputs * PACKING_WORK); v++) {
            const size_t skipped = (size_t)(vector_offset(p, block, v) * inputs) * format->size;
            format->copy((const char *)matrix + skipped, inputs, vector_length(p, block, v), data,
                         block_offset(p, block, inputs) + v * WIDTH, vectors * WIDTH);
        }
    }
}

/* Packs a matrix (gates * units, inputs), and its scales (gates * units) where the format has them. */
static int pack_panels(struct panels *p, int gates, ptrdiff_t units, ptrdiff_t inputs,
                       const struct format *format, const void *matrix, const real *scales, gw_watch *watch) {
    p->gates = gates;
    p->units = units;
    p->inputs = inputs;
    p->format = format;
    if (format->pack)
        return format->pack(p, matrix, scales, watch);
    if (!new_panels(p))
        return 0;
    copy_blocks(p, format, inputs, matrix, p->data, watch);
    return 1;
}

/* Packs a matrix (units, inputs) given as its transpose. */
static int pack_transposed(struct panels *p, ptrdiff_t units, ptrdiff_t inputs, const real *transpose,
                           gw_watch *watch) {
    *p = (struct panels){.gates = 1, .units = units, .inputs = inputs, .format = FULL};
    if (!new_panels(p))
        return 0;
    for (ptrdiff_t block = 0; block < block_count(p) && gw_goes_on(watch, inputs * PACKING_WORK); block++) {
        const ptrdiff_t first = block * PANEL_WIDTH, width = block_vectors(p, block) * WIDTH;
        const ptrdiff_t count = units - first < width ? units - first : width;
        real *target = block_panel(p, block);
        for (ptrdiff_t k = 0; k < inputs; k++, target += width) {
            memcpy(target, transpose + k * units + first, (size_t)count * sizeof(real));
            memset(target + count, 0, (size_t)(width - count) * sizeof(real));
        }
    }
    return 1;
}

#endif
