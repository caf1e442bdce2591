/* The table of formats: how weights can be kept. */
#ifndef GATEWISE_FORMATS_H
#define GATEWISE_FORMATS_H

#include "products/widened.h"
#if SINGLE
#include "products/bfloat16.h"
#include "products/int8.h"
#endif

/* The first has the precision of the sums; narrow ones are for inference in single precision. Of those with one
 * name, the first that the processor has is chosen. */
static const struct format formats[] = {
#if SINGLE
    WIDENED(full, "float32", real, ALONE),
    WIDENED(float16, "float16", uint16_t, NOT_ALONE),
    INT8_FORMATS,
    BFLOAT16_FORMATS,
#else
    WIDENED(full, "float64", real, ALONE),
#endif
};

#define FULL (&formats[0])

/* NULL where the table has none of that name; "to_bfloat16" are float32 weights, for the products of bfloat16. */
static const struct format *find_format(const char *name) {
    for (size_t k = 0; k < sizeof formats / sizeof formats[0]; k++)
        if (!strcmp(formats[k].name, name) && (!formats[k].is_there || formats[k].is_there()))
            return &formats[k];
    /* What training rounds it keeps as well, so it need not where that is no faster. */
    return strcmp(name, "to_bfloat16") ? NULL : FULL;
}

#endif
