/* AVX-512F: 32 registers of 512 bits, masks for the last vector of a row. */
#ifndef GATEWISE_VECTOR_AVX512_H
#define GATEWISE_VECTOR_AVX512_H

/* MSVC needs no switch for intrinsics. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma,f16c"))), apply_to = function)
#define TARGET_PUSHED
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx2,fma,f16c")
#endif

#include "vectors/totals_avx.h"

#define MAX_ROWS(vectors) 6

#if SINGLE
typedef __m512 vreal;
typedef __mmask16 vmask;
#define WIDTH 16
#define OP(name) _mm512_##name##_ps
#define COMPARE _mm512_cmp_ps_mask
#define INT_OP(name) _mm512_##name##_epi32
#define AS_INT _mm512_castps_si512
#define AS_REAL _mm512_castsi512_ps
#define SET_INT _mm512_set1_epi32
#define SIGN_BIT INT32_MIN
#else
typedef __m512d vreal;
typedef __mmask8 vmask;
#define WIDTH 8
#define OP(name) _mm512_##name##_pd
#define COMPARE _mm512_cmp_pd_mask
#define INT_OP(name) _mm512_##name##_epi64
#define AS_INT _mm512_castpd_si512
#define AS_REAL _mm512_castsi512_pd
#define SET_INT _mm512_set1_epi64
#define SIGN_BIT INT64_MIN
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

INLINE vmask first_mask(ptrdiff_t n) { return (vmask)((1u << n) - 1); }

INLINE vreal v_load_first(const real *p, ptrdiff_t n) { return OP(maskz_loadu)(first_mask(n), p); }

INLINE void v_store_first(real *p, ptrdiff_t n, vreal a) { OP(mask_storeu)(p, first_mask(n), a); }

INLINE vreal v_abs(vreal a) { return AS_REAL(_mm512_andnot_si512(SET_INT(SIGN_BIT), AS_INT(a))); }

INLINE vreal v_copysign(vreal magnitude, vreal sign) {
    /* 0xca: where the first operand has a bit, the second's, else the third's. */
    return AS_REAL(INT_OP(ternarylogic)(SET_INT(SIGN_BIT), AS_INT(sign), AS_INT(magnitude), 0xca));
}

INLINE vreal v_if_positive(vreal x, vreal a, vreal b) {
    return OP(mask_blend)(COMPARE(x, v_set(0), _CMP_GT_OQ), b, a);
}

INLINE vreal v_power_of_two(vreal shifted) {
    return AS_REAL(INT_OP(slli)(INT_OP(add)(AS_INT(shifted), SET_INT(EXPONENT_BIAS)), MANTISSA_BITS));
}

#if SINGLE
INLINE __m256 add_halves(vreal a) {
    return _mm256_add_ps(_mm512_castps512_ps256(a),
                         _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)));
}
#else
INLINE __m256d add_halves(vreal a) {
    return _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
}
#endif

INLINE void v_totals(vreal a, vreal b, vreal c, vreal d, real *totals) {
    totals_of_256(add_halves(a), add_halves(b), add_halves(c), add_halves(d), totals);
}

#if SINGLE
INLINE vreal v_load_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }

INLINE vreal v_load_int8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}
#endif

#endif
