/* AVX-512F and BW: 32 registers of 512 bits, masks for the last vector of a row. */
#ifndef GATEWISE_VECTOR_AVX512_H
#define GATEWISE_VECTOR_AVX512_H

/* MSVC needs no switch for intrinsics. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx2,fma,f16c"))), apply_to = function)
#define TARGET_PUSHED
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512bw,avx2,fma,f16c")
#endif

#include <string.h>

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

/* A NaN stays as it is. */
INLINE vreal v_bfloat16(vreal a) {
    const __m512i bits = AS_INT(a), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), SET_INT(1));
    const __m512i above = _mm512_add_epi32(bits, _mm512_add_epi32(odd, SET_INT(0x7fff)));
    const vreal nearest = AS_REAL(_mm512_and_si512(above, SET_INT(-65536)));
    const vreal rounded = OP(mask_blend)(COMPARE(a, a, _CMP_UNORD_Q), nearest, a);
    const vreal zero = AS_REAL(_mm512_and_si512(bits, SET_INT(SIGN_BIT)));
    return OP(mask_blend)(COMPARE(v_abs(a), v_set(0x1p-126f), _CMP_LT_OQ), rounded, zero);
}

typedef __m512i vint;
#define i_set _mm512_set1_epi32
#define i_load(p) _mm512_loadu_si512((const void *)(p))
#define i_add _mm512_add_epi32
#define i_high(a) _mm512_srai_epi32(a, 8)
#define i_times_256(a) _mm512_slli_epi32(a, 8)
#define i_low(a) _mm512_and_si512(a, _mm512_set1_epi32(255))
#define i_to_real _mm512_cvtepi32_ps
#define i_round _mm512_cvtps_epi32
#define i_largest _mm512_reduce_max_epi32

INLINE vint i_larger_size(vint most, vreal x) { return _mm512_max_epi32(most, AS_INT(v_abs(x))); }

INLINE void i_store_8(uint8_t *p, vint a) { _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(a)); }

INLINE void i_store_16(int16_t *p, vint a) { _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(a)); }

typedef __m512i vpairs, vpair;
#define ROWS_OF_PAIRS(vectors) ((vectors) == 4 ? 5 : 6)

INLINE vpair pair_set(const char *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}

INLINE vpairs pairs_load(const int8_t *p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)p));
}

INLINE vint i_add_pairs(vint sum, vpairs weights, vpair x) {
    const __m512i products = _mm512_madd_epi16(weights, x);
#if defined(__GNUC__)
    /* Not the intrinsic: GCC copies its sums, which are of two types to it, from register to register. */
    __asm__("vpaddd %1, %0, %0" : "+v"(sum) : "v"(products));
    return sum;
#else
    return i_add(sum, products);
#endif
}

#define DOTS_CONDITION gw_has_dots
#define ROWS_OF_DOTS(vectors) 6

typedef __m512i vfour, vfours;
#define fours_load(p) _mm512_loadu_si512((const void *)(p))

#if defined(__GNUC__)
/* As for pairs. The weights are in a register, since GCC would read them from memory once for each plane. */
INLINE vint i_add_dots(vint sum, vfours weights, vfour x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(weights));
    return sum;
}
#else
#define i_add_dots(sum, weights, x) _mm512_dpbusd_epi32(sum, x, weights)
#endif

INLINE vfour four_set(const char *p) { return pair_set(p); }

#if defined(__GNUC__)
#define BFLOAT16_CONDITION gw_has_bfloat16
#define ROWS_OF_TWOS(vectors) ((vectors) == 4 ? 6 : 8)
#define FEW_ROWS_OF_TWOS 8

typedef __m512i vtwo, vtwos;
#define twos_load(p) _mm512_loadu_si512((const void *)(p))
#define two_set(p) pair_set(p)

/* As for pairs; nor do all functions of this file have to know the instruction. */
INLINE vreal v_add_twos(vreal sum, vtwos weights, vtwo x) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "vm"(weights));
    return sum;
}

INLINE void v_store_bfloat16(uint16_t *p, vreal a) {
    __m256i rounded;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(a));
    /* Each pair turned round. */
    const __m512i both = _mm512_castsi256_si512(rounded);
    _mm256_storeu_si256((void *)p, _mm512_castsi512_si256(_mm512_rol_epi32(both, 16)));
}

INLINE void v_store_pairs(uint16_t *p, vreal first, vreal second) {
    __m256i low, high;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(low) : "v"(first));
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(high) : "v"(second));
    const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
    _mm512_storeu_si512((void *)p, _mm512_or_si512(_mm512_cvtepu16_epi32(low), upper));
}
#endif
#endif

#endif
