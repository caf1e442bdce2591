/* One element at a time, for machines that have none of the others. */
#ifndef GATEWISE_VECTOR_SCALAR_H
#define GATEWISE_VECTOR_SCALAR_H

#include <string.h>

/* Whether the machine has a fused multiply-add: calling a function instead would take a hundred times as long. */
#if defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
#define HAS_FMA 1
#elif defined(__GNUC__) && (defined(__aarch64__) || defined(__powerpc64__) || defined(__s390x__) ||          \
                            defined(__loongarch64) || (defined(__riscv_flen) && __riscv_flen >= 64))
#define HAS_FMA 1
#else
#define HAS_FMA 0
#endif

typedef real vreal;
#define WIDTH 1
#define MAX_ROWS(vectors) 2

#if SINGLE
typedef uint32_t bits;
#define SIGN_BIT 0x80000000u
#else
typedef uint64_t bits;
#define SIGN_BIT 0x8000000000000000u
#endif

INLINE bits to_bits(vreal a) {
    bits b;
    memcpy(&b, &a, sizeof b);
    return b;
}

INLINE vreal from_bits(bits b) {
    vreal a;
    memcpy(&a, &b, sizeof a);
    return a;
}

INLINE vreal v_set(real x) { return x; }
INLINE vreal v_load(const real *p) { return *p; }
INLINE void v_store(real *p, vreal a) { *p = a; }
INLINE vreal v_load_first(const real *p, ptrdiff_t n) { return n ? *p : 0; }
INLINE void v_store_first(real *p, ptrdiff_t n, vreal a) {
    if (n)
        *p = a;
}
INLINE vreal v_add(vreal a, vreal b) { return a + b; }
INLINE vreal v_sub(vreal a, vreal b) { return a - b; }
INLINE vreal v_mul(vreal a, vreal b) { return a * b; }
INLINE vreal v_div(vreal a, vreal b) { return a / b; }
#if !HAS_FMA
INLINE vreal v_fma(vreal a, vreal b, vreal c) { return a * b + c; }
INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return c - a * b; }
#elif SINGLE
INLINE vreal v_fma(vreal a, vreal b, vreal c) { return __builtin_fmaf(a, b, c); }
INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return __builtin_fmaf(-a, b, c); }
#else
INLINE vreal v_fma(vreal a, vreal b, vreal c) { return __builtin_fma(a, b, c); }
INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return __builtin_fma(-a, b, c); }
#endif
INLINE vreal v_max(vreal a, vreal b) { return a > b ? a : b; }
INLINE vreal v_min(vreal a, vreal b) { return a < b ? a : b; }
INLINE vreal v_abs(vreal a) { return from_bits(to_bits(a) & ~SIGN_BIT); }
INLINE vreal v_copysign(vreal magnitude, vreal sign) {
    return from_bits((to_bits(magnitude) & ~SIGN_BIT) | (to_bits(sign) & SIGN_BIT));
}
INLINE vreal v_if_positive(vreal x, vreal a, vreal b) { return x > 0 ? a : b; }
INLINE vreal v_power_of_two(vreal shifted) {
    return from_bits((to_bits(shifted) + EXPONENT_BIAS) << MANTISSA_BITS);
}
INLINE void v_totals(vreal a, vreal b, vreal c, vreal d, real *totals) {
    totals[0] = a, totals[1] = b, totals[2] = c, totals[3] = d;
}

#if SINGLE
INLINE vreal v_load_half(const uint16_t *p) {
    const bits magnitude = *p & 0x7fffu, sign = (bits)(*p & 0x8000u) << 16;
    /* Half's exponent bias is 15, single's 127; a half without an exponent counts units of 2^-24. What is not
     * finite has the largest exponent in both. */
    const bits bias = (127u - 15) << 10, excess = magnitude < 31u << 10 ? 0 : bias;
    const vreal normal = from_bits((magnitude + bias + excess) << 13);
    return v_copysign(magnitude < (1u << 10) ? (vreal)magnitude / (1 << 24) : normal, from_bits(sign));
}

/* A NaN stays as it is. */
INLINE vreal v_bfloat16(vreal a) {
    const bits given = to_bits(a), magnitude = given & ~SIGN_BIT;
    if (magnitude < 0x00800000u)
        return from_bits(given & SIGN_BIT);
    return a == a ? from_bits((given + 0x7fffu + (given >> 16 & 1u)) & 0xffff0000u) : a;
}

typedef int32_t vint;
INLINE vint i_set(int32_t x) { return x; }
INLINE vint i_load(const int32_t *p) { return *p; }
INLINE vint i_add(vint a, vint b) { return a + b; }
/* As an arithmetic shift does it, which C leaves to the compiler. */
INLINE vint i_high(vint a) { return a < 0 ? -((-(a + 1)) >> 8) - 1 : a >> 8; }
INLINE vint i_low(vint a) { return a & 255; }
INLINE vreal i_to_real(vint a) { return (vreal)a; }
INLINE vint i_round(vreal a) { return a > -65536 && a < 65536 ? (vint)((a + MAGIC) - MAGIC) : 0; }
INLINE vint i_larger_size(vint most, vreal x) {
    const vint size = (vint)to_bits(v_abs(x));
    return size > most ? size : most;
}
INLINE int32_t i_largest(vint a) { return a; }
INLINE void i_store_16(int16_t *p, vint a) { *p = (int16_t)a; }

typedef struct {
    int32_t first, second;
} vpairs, vpair;
#define ROWS_OF_PAIRS(vectors) 2

INLINE vpair pair_set(const char *p) {
    int16_t pair[2];
    memcpy(pair, p, sizeof pair);
    return (vpair){pair[0], pair[1]};
}
INLINE vpairs pairs_load(const int8_t *p) { return (vpairs){p[0], p[1]}; }
INLINE vint i_add_pairs(vint sum, vpairs weights, vpair x) {
    return sum + weights.first * x.first + weights.second * x.second;
}
#endif

#endif
