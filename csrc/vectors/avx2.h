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

INLINE vreal v_load_int8(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
}
#endif

#endif
