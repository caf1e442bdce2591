/* AVX2 with FMA: 16 registers of 256 bits. */
#ifndef GATEWISE_VECTOR_AVX2_H
#define GATEWISE_VECTOR_AVX2_H

/* MSVC needs no switch for intrinsics. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define TARGET_PUSHED
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma,f16c")
#endif

#include <string.h>

#include "vectors/totals_avx.h"

#define MAX_ROWS(vectors) ((vectors) == 4 ? 3 : (vectors) == 3 ? 4 : 6)

#if SINGLE
typedef __m256 vreal;
#define WIDTH 8
#define OP(name) _mm256_##name##_ps
#define INT_OP(name) _mm256_##name##_epi32
#define AS_INT _mm256_castps_si256
#define SET_INT _mm256_set1_epi32
#define AS_REAL _mm256_castsi256_ps
#else
typedef __m256d vreal;
#define WIDTH 4
#define OP(name) _mm256_##name##_pd
#define INT_OP(name) _mm256_##name##_epi64
#define AS_INT _mm256_castpd_si256
#define SET_INT _mm256_set1_epi64x
#define AS_REAL _mm256_castsi256_pd
#endif

#define v_set OP(set1)
#define v_load OP(loadu)
#define v_store OP(storeu)
#define v_add OP(add)
#define v_sub OP(sub)
#define v_mul OP(mul)
#define v_div OP(div)
#define v_fma OP(fmadd)
#define v_fnma OP(fnmadd)
#define v_max OP(max)
#define v_min OP(min)

INLINE __m256i first_mask(ptrdiff_t n) {
#if SINGLE
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#else
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
#endif
}

INLINE vreal v_load_first(const real *p, ptrdiff_t n) { return OP(maskload)(p, first_mask(n)); }

INLINE void v_store_first(real *p, ptrdiff_t n, vreal a) { OP(maskstore)(p, first_mask(n), a); }

INLINE vreal v_abs(vreal a) { return OP(andnot)(v_set(REAL(-0.0)), a); }

INLINE vreal v_copysign(vreal magnitude, vreal sign) {
    const vreal bit = v_set(REAL(-0.0));
    return OP(or)(OP(andnot)(bit, magnitude), OP (and)(bit, sign));
}

INLINE vreal v_if_positive(vreal x, vreal a, vreal b) {
    return OP(blendv)(b, a, OP(cmp)(x, v_set(0), _CMP_GT_OQ));
}

INLINE vreal v_power_of_two(vreal shifted) {
    return AS_REAL(INT_OP(slli)(INT_OP(add)(AS_INT(shifted), SET_INT(EXPONENT_BIAS)), MANTISSA_BITS));
}

INLINE void v_totals(vreal a, vreal b, vreal c, vreal d, real *totals) { totals_of_256(a, b, c, d, totals); }

#if SINGLE
INLINE vreal v_load_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }

/* A NaN stays as it is. */
INLINE vreal v_bfloat16(vreal a) {
    const __m256i bits = AS_INT(a), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), SET_INT(1));
    const __m256i above = _mm256_add_epi32(bits, _mm256_add_epi32(odd, SET_INT(0x7fff)));
    const vreal nearest = AS_REAL(_mm256_and_si256(above, SET_INT(-65536)));
    const vreal rounded = OP(blendv)(nearest, a, OP(cmp)(a, a, _CMP_UNORD_Q));
    const vreal is_normal = OP(cmp)(v_abs(a), v_set(0x1p-126f), _CMP_NLT_UQ);
    return OP (and)(rounded, OP(or)(is_normal, v_set(-0.0f)));
}

typedef __m256i vint;
#define i_set _mm256_set1_epi32
#define i_load(p) _mm256_loadu_si256((const void *)(p))
#define i_add _mm256_add_epi32
#define i_high(a) _mm256_srai_epi32(a, 8)
#define i_times_256(a) _mm256_slli_epi32(a, 8)
#define i_low(a) _mm256_and_si256(a, _mm256_set1_epi32(255))
#define i_to_real _mm256_cvtepi32_ps
#define i_round _mm256_cvtps_epi32

INLINE vint i_larger_size(vint most, vreal x) {
    return _mm256_max_epi32(most, _mm256_castps_si256(v_abs(x)));
}

INLINE int32_t i_largest(vint a) {
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1)));
}

INLINE void i_store_16(int16_t *p, vint a) {
    /* Each half of the low 16 bits in its own low half. */
    const __m256i places = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 4,
                                            5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a, places), 0x08);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(halves));
}

INLINE void i_store_8(uint8_t *p, vint a) {
    const __m256i places = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4,
                                            8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i halves = _mm256_shuffle_epi8(a, places);
    _mm_storel_epi64((void *)p,
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
}

typedef __m256i vpairs, vpair;
#define ROWS_OF_PAIRS(vectors) ((vectors) == 4 ? 2 : (vectors) == 3 ? 3 : (vectors) == 2 ? 4 : 6)

INLINE vpair pair_set(const char *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm256_set1_epi32(pair);
}

INLINE vpairs pairs_load(const int8_t *p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)p)); }

INLINE vint i_add_pairs(vint sum, vpairs weights, vpair x) {
    const __m256i products = _mm256_madd_epi16(weights, x);
#if defined(__GNUC__)
    /* Not the intrinsic: GCC copies its sums, which are of two types to it, from register to register. */
    __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
    return sum;
#else
    return i_add(sum, products);
#endif
}

/* AVX-VNNI, which compilers and their assemblers have known for a shorter time. */
#if defined(__clang__) ? __clang_major__ >= 12 : defined(__GNUC__) ? __GNUC__ >= 11 : _MSC_VER >= 1929
#define DOTS_CONDITION gw_has_dots
#define ROWS_OF_DOTS(vectors) ((vectors) == 4 ? 2 : (vectors) == 3 ? 3 : (vectors) == 2 ? 4 : 6)

typedef __m256i vfour, vfours;
#define fours_load(p) _mm256_loadu_si256((const void *)(p))

#if defined(__GNUC__)
/* As in avx512.h; "vex" since that with 256 bits is an instruction of AVX-512, too. */
INLINE vint i_add_dots(vint sum, vfours weights, vfour x) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(weights));
    return sum;
}
#else
#define i_add_dots(sum, weights, x) _mm256_dpbusd_avx_epi32(sum, x, weights)
#endif

INLINE vfour four_set(const char *p) { return pair_set(p); }
#endif
#endif

#endif
