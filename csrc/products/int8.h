/* int8 weights times rows of integers.
 *
 * A row is rounded to whole steps of its own scale: 127 of them in one plane of 8 bits, or 32512 = 127 * 256 in two.
 * Sums of products of integers are exact, so whatever order an instruction set takes them in, a sum's bits are the
 * same. An output is what it starts from plus (the sum times the row's scale) times the weights' scale, rounded
 * after each; the sum itself is rounded once, or where it is 2^31 and more as two parts are.
 *
 * A row's scale makes its largest element that many steps. That of rows that are bounded, the h of a cell that ends
 * in a tanh, takes 1 for the largest unless one exceeds it, as one of an initial state may. A row with what is not
 * finite has a scale of NaN.
 *
 * Panels hold groups of inputs side by side: [inputs / group][vectors][WIDTH][group]. There are two ways to multiply:
 *   dots    a group of 4 inputs, of 8 bits each, at once; the row has its planes one after the other
 *   pairs   a group of 2 inputs at once, both widened to 16 bits
 */
#ifndef GATEWISE_INT8_H
#define GATEWISE_INT8_H

#include <math.h>

#include "products/format.h"

/* Inputs whose sums do not exceed 32 bits, even of the lower plane: 65536 * 255 * 128 < 2^31. Of more inputs the
 * sums of such segments are added to the outputs one after another. */
#define SEGMENT 65536
/* The same of both planes at once: 512 * 32512 * 128 < 2^31. */
#define INPUTS_AT_ONCE 512

/* 2^-100: no scale is for a largest element below, so that none is infinite or 0. */
#define LEAST_SIZE 7.888609052210118e-31f
#define BITS_OF_ONE 0x3f800000
#define BITS_OF_INFINITY 0x7f800000

INLINE float steps_of(int planes) { return planes == 2 ? 32512.0f : 127.0f; }

/* Before the elements of a converted row stands its scale, alone in a line of a cache: so rows of many sizes do
 * not all begin in the same places of it. */
#define ROW_HEAD 64

/* Elements of a converted row, filled up to whole vectors and groups. */
INLINE ptrdiff_t row_elements(ptrdiff_t inputs) { return inputs ? ceiling(inputs, 16) * 16 : 16; }

INLINE float row_scale(const char *row) {
    float scale;
    memcpy(&scale, row, sizeof scale);
    return scale;
}

/* Stores WIDTH elements, in whole steps, from element k on. */
typedef void put_function(char *elements, ptrdiff_t count, ptrdiff_t k, vint steps);

/* Returns the bits of the largest size. */
INLINE int32_t put_row(const float *row, ptrdiff_t inputs, float steps_per_one, char *elements,
                       put_function put) {
    const ptrdiff_t count = row_elements(inputs), whole = inputs / WIDTH * WIDTH;
    const vreal factor = v_set(steps_per_one);
    vint most = i_set(0);
    for (ptrdiff_t k = 0; k < whole; k += WIDTH) {
        const vreal x = v_load(row + k);
        most = i_larger_size(most, x);
        put(elements, count, k, i_round(v_mul(x, factor)));
    }
    for (ptrdiff_t k = whole; k < count; k += WIDTH) {
        const vreal x = k < inputs ? v_load_first(row + k, inputs - k) : v_set(0);
        most = i_larger_size(most, x);
        put(elements, count, k, i_round(v_mul(x, factor)));
    }
    return i_largest(most);
}

INLINE int32_t largest_size(const float *row, ptrdiff_t inputs) {
    const ptrdiff_t whole = inputs / WIDTH * WIDTH;
    vint most = i_set(0);
    for (ptrdiff_t k = 0; k < whole; k += WIDTH)
        most = i_larger_size(most, v_load(row + k));
    if (whole < inputs)
        most = i_larger_size(most, v_load_first(row + whole, inputs - whole));
    return i_largest(most);
}

INLINE void convert_int8(const struct panels *p, const float *row, char *converted, int planes,
                         size_t row_bytes, put_function put) {
    const float steps = steps_of(planes);
    float size = 1, scale;
    int32_t most;
    if (p->is_bounded) {
        most = put_row(row, p->inputs, steps, converted + ROW_HEAD, put);
        if (most > BITS_OF_ONE)
            size = 0;
    } else {
        most = largest_size(row, p->inputs);
        size = 0;
    }
    if (size == 0) {
        memcpy(&size, &most, sizeof size);
        size = size > LEAST_SIZE ? size : LEAST_SIZE;
        if (most < BITS_OF_INFINITY)
            put_row(row, p->inputs, steps / size, converted + ROW_HEAD, put);
        else
            memset(converted + ROW_HEAD, 0, row_bytes - ROW_HEAD);
    }
    scale = most < BITS_OF_INFINITY ? size / steps : NAN;
    memcpy(converted, &scale, sizeof scale);
}

/* The inputs of a panel, filled up to whole groups, of which there is one at least. */
INLINE ptrdiff_t panel_inputs(ptrdiff_t inputs, int group) {
    return inputs ? ceiling(inputs, group) * group : group;
}

INLINE ptrdiff_t segments_of(ptrdiff_t inputs) { return inputs > SEGMENT ? ceiling(inputs, SEGMENT) : 1; }

/* One vector of units' weights of a segment and, where elements are stored with `zero` added, what makes up for it. */
static void pack_int8_vector(const struct panels *p, int group, ptrdiff_t block, int v, const int8_t *matrix,
                             int zero, int8_t *panel, int32_t *offsets, ptrdiff_t offsets_step) {
    const ptrdiff_t count = vector_length(p, block, v), inputs = p->inputs;
    const ptrdiff_t step = (ptrdiff_t)block_vectors(p, block) * WIDTH * group;
    const int8_t *source = matrix + vector_offset(p, block, v) * inputs;
    panel += v * WIDTH * group;
    for (ptrdiff_t unit = 0; unit < WIDTH; unit++) {
        for (ptrdiff_t k = 0; k < panel_inputs(inputs, group); k++) {
            const int8_t weight = unit < count && k < inputs ? source[unit * inputs + k] : 0;
            panel[k / group * step + unit * group + k % group] = weight;
            offsets[k / SEGMENT * offsets_step + v * WIDTH + unit] -= zero * weight;
        }
    }
}

static int pack_int8(struct panels *p, int group, int zero, const int8_t *matrix, const float *scales,
                     gw_watch *watch) {
    const ptrdiff_t inputs = panel_inputs(p->inputs, group), blocks = block_count(p);
    const ptrdiff_t outputs = block_offset(p, blocks, 1), segments = segments_of(p->inputs);
    const size_t offsets_size = (size_t)(outputs * segments) * sizeof(int32_t);
    p->data = gw_allocate((size_t)block_offset(p, blocks, inputs));
    p->scales = gw_allocate((size_t)outputs * sizeof(float));
    p->offsets = gw_allocate(offsets_size);
    if (!p->data || !p->scales || !p->offsets)
        return 0;
    memset(p->offsets, 0, offsets_size);
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t first = block_offset(p, block, 1);
        for (int v = 0; v < block_vectors(p, block) && gw_goes_on(watch, inputs * PACKING_WORK); v++) {
            const ptrdiff_t count = vector_length(p, block, v), unit = vector_offset(p, block, v);
            pack_int8_vector(p, group, block, v, matrix, zero,
                             (int8_t *)p->data + block_offset(p, block, inputs), p->offsets + first, outputs);
            for (ptrdiff_t k = 0; k < WIDTH; k++)
                p->scales[first + v * WIDTH + k] = k >= count ? 0 : scales ? scales[unit + k] : 1;
        }
    }
    return 1;
}

/* What a tile multiplies: rows, the first of which is here, and a panel. */
struct int8_tile {
    const char *row;
    size_t row_size;
    const int8_t *panel;
    ptrdiff_t inputs;   /* of the panel, filled up */
    ptrdiff_t elements; /* of a row, filled up */
    const int32_t *offsets;
    ptrdiff_t offsets_step; /* from segment to segment */
    const float *scales;
};

typedef void int8_function(const struct int8_tile *tile, float *sums);

/* Adds the integers that a tile has come to, times their scales. */
INLINE void end_integers(const struct int8_tile *tile, const vreal *integers, float *sums,
                         const int row_count, const int vectors) {
    vreal scales[MOST_VECTORS];
    UNROLL for (int v = 0; v < vectors; v++)
        scales[v] = v_load(tile->scales + v * WIDTH);
    UNROLL for (int r = 0; r < row_count; r++) {
        const vreal scale = v_set(row_scale(tile->row + (size_t)r * tile->row_size));
        UNROLL for (int v = 0; v < vectors; v++, sums += WIDTH) {
            const vreal scaled = v_mul(v_mul(integers[r * vectors + v], scale), scales[v]);
            v_store(sums, v_add(v_load(sums), scaled));
        }
    }
}

/* `low` may be of any size. A sum of these parts is that of the whole integer's own. */
INLINE vreal real_of_parts(vint high, vint low) {
    high = i_add(high, i_high(low));
    return v_add(v_mul(v_set(256), i_to_real(high)), i_to_real(i_low(low)));
}

INLINE void add_int8(const struct panels *p, const char *converted, ptrdiff_t block, int blocks,
                     ptrdiff_t row, int count, float *sums, int group,
                     int8_function *const functions[MOST_VECTORS][MOST_ROWS]) {
    const int vectors = block_vectors(p, block);
    const ptrdiff_t inputs = panel_inputs(p->inputs, group), first = block_offset(p, block, 1);
    struct int8_tile tile;
    tile.row_size = p->format->row_size(p->inputs);
    tile.row = converted + (size_t)row * tile.row_size;
    tile.panel = (const int8_t *)p->data + block_offset(p, block, inputs);
    tile.inputs = inputs;
    tile.elements = row_elements(p->inputs);
    tile.offsets = p->offsets + first;
    tile.offsets_step = block_offset(p, block_count(p), 1);
    tile.scales = p->scales + first;
    for (; blocks > 0; blocks--) {
        functions[vectors - 1][count - 1](&tile, sums);
        tile.panel += inputs * vectors * WIDTH;
        tile.offsets += vectors * WIDTH;
        tile.scales += vectors * WIDTH;
        sums += vectors * WIDTH;
    }
}

#define INT8_TABLE_ROW(name, vectors)                                                                        \
    {name##_1x##vectors, name##_2x##vectors, name##_3x##vectors,                                             \
     name##_4x##vectors, name##_5x##vectors, name##_6x##vectors}
#define DEFINE_INT8_TILE(name, rows, vectors, most, tile_of, planes)                                         \
    static void name##_##rows##x##vectors(const struct int8_tile *tile, float *sums) {                       \
        /* More rows than there are registers for are never asked for. */                                    \
        if ((rows) > most(vectors))                                                                          \
            return;                                                                                          \
        tile_of(tile, sums, planes, rows, vectors);                                                          \
    }
#define DEFINE_INT8_TILES(name, vectors, most, tile_of, planes)                                              \
    DEFINE_INT8_TILE(name, 1, vectors, most, tile_of, planes)                                                \
    DEFINE_INT8_TILE(name, 2, vectors, most, tile_of, planes)                                                \
    DEFINE_INT8_TILE(name, 3, vectors, most, tile_of, planes)                                                \
    DEFINE_INT8_TILE(name, 4, vectors, most, tile_of, planes)                                                \
    DEFINE_INT8_TILE(name, 5, vectors, most, tile_of, planes)                                                \
    DEFINE_INT8_TILE(name, 6, vectors, most, tile_of, planes)
/* A format's functions, of a name; `zero` is what stands for an element of 0. */
#define DEFINE_INT8(name, most, tile_of, planes, group, zero, bytes)                                         \
    DEFINE_INT8_TILES(name, 1, most, tile_of, planes)                                                        \
    DEFINE_INT8_TILES(name, 2, most, tile_of, planes)                                                        \
    DEFINE_INT8_TILES(name, 3, most, tile_of, planes)                                                        \
    DEFINE_INT8_TILES(name, 4, most, tile_of, planes)                                                        \
    static int8_function *const name##_functions[MOST_VECTORS][MOST_ROWS] = {                                \
        INT8_TABLE_ROW(name, 1), INT8_TABLE_ROW(name, 2), INT8_TABLE_ROW(name, 3), INT8_TABLE_ROW(name, 4)}; \
    static int pack_##name(struct panels *p, const void *matrix, const float *scales, gw_watch *watch) {     \
        return pack_int8(p, group, zero, matrix, scales, watch);                                             \
    }                                                                                                        \
    static size_t row_size_##name(ptrdiff_t inputs) {                                                        \
        return ROW_HEAD + (size_t)(row_elements(inputs) * (bytes));                                          \
    }                                                                                                        \
    static void convert_##name(const struct panels *p, const float *row, char *converted) {                  \
        convert_int8(p, row, converted, planes, row_size_##name(p->inputs), put_##name);                     \
    }                                                                                                        \
    static void add_##name(const struct panels *p, const char *converted, ptrdiff_t block, int blocks,       \
                           ptrdiff_t row, int count, float *sums) {                                          \
        add_int8(p, converted, block, blocks, row, count, sums, group, name##_functions);                    \
    }
#define INT8_FORMAT(own, shown, most, condition)                                                             \
    {                                                                                                        \
        .name = shown,                                                                                       \
        .size = 1,                                                                                           \
        .is_there = condition,                                                                               \
        .pack = pack_##own,                                                                                  \
        .row_size = row_size_##own,                                                                          \
        .convert = convert_##own,                                                                            \
        .add = add_##own,                                                                                    \
        .most_rows = {most(1), most(2), most(3), most(4)},                                                   \
    }

#include "products/int8_pairs.h"
#ifdef DOTS_CONDITION
#include "products/int8_dots.h"
#define INT8_FORMATS                                                                                         \
    INT8_FORMAT(dots_15, "int8", ROWS_OF_DOTS, DOTS_CONDITION),                                              \
        INT8_FORMAT(dots_8, "int8_8", ROWS_OF_DOTS, DOTS_CONDITION),                                         \
        INT8_FORMAT(pairs_15, "int8", ROWS_OF_PAIRS, NULL),                                                  \
        INT8_FORMAT(pairs_8, "int8_8", ROWS_OF_PAIRS, NULL)
#else
#define INT8_FORMATS                                                                                         \
    INT8_FORMAT(pairs_15, "int8", ROWS_OF_PAIRS, NULL), INT8_FORMAT(pairs_8, "int8_8", ROWS_OF_PAIRS, NULL)
#endif

#endif
