/* bfloat16 weights times rows rounded to bfloat16, to nearest, of two the even one.
 *
 * Products of two bfloat16 are exact, and sums are float32, one chain of multiply-adds over ascending inputs. So is
 * AVX512_BF16's instruction, which of a pair takes the upper one first, and so all instruction sets with fused
 * multiply-adds have the same bits. ARM's rounds a pair's sum in its own way. A denormal counts as zero.
 *
 *   dots     the processor multiplies pairs: panels [inputs / 2][vectors][WIDTH][2], of bfloat16 like the rows, the first of a
 *            pair above the second
 *   rounded  float32 does: panels and rows as for it
 */
#ifndef GATEWISE_BFLOAT16_H
#define GATEWISE_BFLOAT16_H

#include "products/widened.h"

INLINE uint32_t bits_of(float value) {
    uint32_t pattern;
    memcpy(&pattern, &value, sizeof pattern);
    return pattern;
}

/* The bits of a float that is a bfloat16. */
INLINE uint32_t rounded_bits(uint32_t pattern) {
    const uint32_t magnitude = pattern & 0x7fffffff, sign = pattern & 0x80000000;
    const uint32_t nearest = (pattern + 0x7fff + (pattern >> 16 & 1)) & 0xffff0000;
    const uint32_t numeric = magnitude < 0x00800000 ? sign : nearest;
    return magnitude > 0x7f800000 ? (pattern | 0x00400000) & 0xffff0000 : numeric;
}

/* Weights as their bits or, in training, as float32 still to be rounded. */
struct bfloat16_source {
    const void *weights;
    int are_wide;
};

INLINE uint16_t bfloat16_at(const struct bfloat16_source *from, ptrdiff_t index) {
    if (from->are_wide)
        return (uint16_t)(rounded_bits(bits_of(((const float *)from->weights)[index])) >> 16);
    return ((const uint16_t *)from->weights)[index];
}

/* One vector of units. */
INLINE void pack_bfloat16_vector(const struct bfloat16_source *from, ptrdiff_t inputs, ptrdiff_t source,
                                 ptrdiff_t count, void *panel, ptrdiff_t first, ptrdiff_t step,
                                 const int dots) {
    for (ptrdiff_t unit = 0; unit < WIDTH; unit++) {
        for (ptrdiff_t k = 0; k < (dots ? whole_pairs_of(inputs) : inputs); k++) {
            uint16_t weight = 0;
            if (unit < count && k < inputs)
                weight = bfloat16_at(from, source + unit * inputs + k);
            if (dots) {
                ((uint16_t *)panel)[2 * (first + k / 2 * step + unit) + 1 - k % 2] = weight;
            } else {
                const uint32_t pattern = (uint32_t)weight << 16;
                memcpy((float *)panel + first + k * step + unit, &pattern, sizeof pattern);
            }
        }
    }
}

static int pack_bfloat16(struct panels *p, const void *matrix, int are_wide, int dots, gw_watch *watch) {
    const struct bfloat16_source from = {matrix, are_wide};
    const ptrdiff_t rows = dots ? whole_pairs_of(p->inputs) / 2 : p->inputs;
    p->data = gw_allocate((size_t)block_offset(p, block_count(p), rows) * sizeof(float));
    if (!p->data)
        return 0;
    for (ptrdiff_t block = 0; block < block_count(p); block++) {
        const int vectors = block_vectors(p, block);
        for (int v = 0; v < vectors && gw_goes_on(watch, p->inputs * PACKING_WORK); v++) {
            const ptrdiff_t source = vector_offset(p, block, v) * p->inputs;
            const ptrdiff_t first = block_offset(p, block, rows) + v * WIDTH;
            pack_bfloat16_vector(&from, p->inputs, source, vector_length(p, block, v), p->data, first,
                                 vectors * WIDTH, dots);
        }
    }
    return 1;
}

static size_t row_size_rounded(ptrdiff_t inputs) { return (size_t)inputs * sizeof(float); }

static void convert_rounded(const struct panels *p, const float *row, char *converted) {
    float *const target = (float *)converted;
    const ptrdiff_t inputs = p->inputs, whole = inputs / WIDTH * WIDTH;
    for (ptrdiff_t k = 0; k < whole; k += WIDTH)
        v_store(target + k, v_bfloat16(v_load(row + k)));
    if (whole < inputs)
        v_store_first(target + whole, inputs - whole, v_bfloat16(v_load_first(row + whole, inputs - whole)));
}

static void add_rounded(const struct panels *p, const char *converted, ptrdiff_t block, int blocks,
                        ptrdiff_t row, int count, float *sums) {
    const int vectors = block_vectors(p, block);
    const ptrdiff_t inputs = p->inputs;
    const float *rows[MOST_ROWS];
    for (int r = 0; r < count; r++)
        rows[r] = (const float *)converted + (row + r) * inputs;
    product_function *run = blocks == 2 ? full_pairs[vectors - 1] : full_products[vectors - 1][count - 1];
    run(rows, inputs, (const float *)p->data + block_offset(p, block, inputs), inputs * vectors * WIDTH,
        sums);
}

static int pack_rounded(struct panels *p, const void *matrix, const float *scales, gw_watch *watch) {
    (void)scales;
    return pack_bfloat16(p, matrix, 0, 0, watch);
}

#define BFLOAT16_FORMAT(own, shown, packing, transposing, source_size, most, way, condition, all, few)       \
    {                                                                                                        \
        .name = shown,                                                                                       \
        .size = source_size,                                                                                 \
        .is_there = condition,                                                                               \
        .pack = packing,                                                                                     \
        .row_size = row_size_##own,                                                                          \
        .convert = convert_##own,                                                                            \
        .add = add_##own,                                                                                    \
        .add_all = all,                                                                                      \
        .transpose = transposing,                                                                            \
        .most_rows = {most(1), most(2), most(3), most(4)},                                                   \
        .few_rows = few,                                                                                     \
        .alone = way,                                                                                        \
        .has_fractions = 1,                                                                                  \
    }
#define ROUNDED_FORMATS                                                                                      \
    BFLOAT16_FORMAT(rounded, "bfloat16", pack_rounded, NULL, 2, MAX_ROWS, ALONE, NULL, NULL, 0)

#ifdef BFLOAT16_CONDITION
#include "products/bfloat16_dots.h"
#define BFLOAT16_FORMATS DOTTED_FORMATS, ROUNDED_FORMATS
#else
#define BFLOAT16_FORMATS ROUNDED_FORMATS
#endif

#endif
