/* The vectors that the kernels are written against.
 *
 * One implementation per instruction set, which the variant names by VECTORS, for the element type `real` that
 * SINGLE chooses. What is included after it, it compiles for its instruction set; then TARGET_PUSHED says that
 * the variant has to end that. Each defines
 *   vreal, WIDTH            a vector and its number of elements
 *   MAX_ROWS(vectors)       how many rows times `vectors` sums the registers hold
 *   v_set v_load v_store    all elements; v_load_first, v_store_first: the first n, 1 <= n <= WIDTH
 *   v_add v_sub v_mul v_div
 *   v_fma(a, b, c)          a * b + c, v_fnma(a, b, c): c - a * b
 *   v_max(a, b) v_min(a, b) b where the two are equal, as 0 and -0 are, or have no order, so that
 *                           v_max(constant, x) passes NaN on
 *   v_abs v_copysign(magnitude, sign)
 *   v_if_positive(x, a, b)  a where x > 0, else b
 *   v_power_of_two(shifted) 2^n, given n + MAGIC: see activations.h
 *   v_totals(a, b, c, d, t) four sums of all elements: the second half is added to the first, and so on
 *   v_load_half             where `real` is float: WIDTH numbers of half precision
 *   v_bfloat16(a)           there, too: rounded to bfloat16, of two the even one; a denormal to zero
 * and for int8, again where `real` is float,
 *   vint                    WIDTH integers of 32 bits; i_set i_load i_add, i_high(a): a >> 8, i_low(a): a & 255, and
 *                           for vfours i_times_256
 *   i_to_real i_round       from and to integers, to the nearest, of two the even one
 *   i_larger_size(most, x)  the larger of bits and the bits of |x|, in whose order NaN comes last; i_largest
 *   i_store_16 i_store_8    the low bits of each
 *   vpairs vpair            2 weights for each unit, 2 elements for all: pairs_load, pair_set,
 *                           i_add_pairs(sum, weights, x); ROWS_OF_PAIRS(vectors), as MAX_ROWS
 *   vfours vfour            the same of 4 bytes, the elements without a sign unless DOTS_HAVE_SIGN is defined, where
 *                           DOTS_CONDITION is, which says whether the processor has them
 *   vtwos vtwo              the same of bfloat16, where BFLOAT16_CONDITION is defined: twos_load, two_set, and
 *                           v_add_twos(sum, weights, x); v_store_bfloat16, each pair turned
 *                           round, and v_store_pairs of two
 *                           vectors side by side; ROWS_OF_TWOS(vectors)
 */
#ifndef GATEWISE_REAL_H
#define GATEWISE_REAL_H

#include <stddef.h>
#include <stdint.h>

#if SINGLE
typedef float real;
#define REAL(x) x##f
/* 1.5 * 2^23: adding it rounds to the nearest integer, which then stands in the low bits. */
#define MAGIC 12582912.0f
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#else
typedef double real;
#define REAL(x) x
#define MAGIC 6755399441055744.0
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#endif

#if defined(_MSC_VER)
#define INLINE static __forceinline
#define NOINLINE static __declspec(noinline)
#define UNROLL
#elif defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* The elements of a line of a cache, and having one fetched. */
#define LINE ((ptrdiff_t)(64 / sizeof(real)))
#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH(p) __builtin_prefetch(p)
#define PREFETCH_FAR(p) __builtin_prefetch(p, 0, 2)
#else
#define PREFETCH(p) ((void)(p))
#define PREFETCH_FAR(p) ((void)(p))
#endif

#include VECTORS

#endif
