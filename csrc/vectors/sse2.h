/* SSE2, which every x86-64 has: 16 registers of 128 bits, no fused multiply-add. */
#ifndef GATEWISE_VECTOR_SSE2_H
#define GATEWISE_VECTOR_SSE2_H

#include <emmintrin.h>
#include <string.h>

#define MAX_ROWS(vectors) ((vectors) == 4 ? 2 : (vectors) == 3 ? 3 : 6)

#if SINGLE
typedef __m128 vreal;
#define WIDTH 4
#define OP(name) _mm_##name##_ps
#define INT_OP(name) _mm_##name##_epi32
#define AS_INT _mm_castps_si128
#define SET_INT _mm_set1_epi32
#define AS_REAL _mm_castsi128_ps
#else
typedef __m128d vreal;
#define WIDTH 2
#define OP(name) _mm_##name##_pd
#define INT_OP(name) _mm_##name##_epi64
#define AS_INT _mm_castpd_si128
#define SET_INT _mm_set1_epi64x
#define AS_REAL _mm_castsi128_pd
#endif

#define v_set OP(set1)
#define v_load OP(loadu)
#define v_store OP(storeu)
#define v_add OP(add)
#define v_sub OP(sub)
#define v_mul OP(mul)
#define v_div OP(div)
#define v_max OP(max)
#define v_min OP(min)

INLINE vreal v_fma(vreal a, vreal b, vreal c) { return v_add(v_mul(a, b), c); }

INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return v_sub(c, v_mul(a, b)); }

INLINE vreal v_load_first(const real *p, ptrdiff_t n) {
    real all[WIDTH] = {0};
    for (ptrdiff_t i = 0; i < n; i++)
        all[i] = p[i];
    return v_load(all);
}

INLINE void v_store_first(real *p, ptrdiff_t n, vreal a) {
    real all[WIDTH];
    v_store(all, a);
    for (ptrdiff_t i = 0; i < n; i++)
        p[i] = all[i];
}

INLINE vreal v_abs(vreal a) { return OP(andnot)(v_set(REAL(-0.0)), a); }

INLINE vreal v_copysign(vreal magnitude, vreal sign) {
    const vreal bit = v_set(REAL(-0.0));
    return OP(or)(OP(andnot)(bit, magnitude), OP (and)(bit, sign));
}

INLINE vreal v_if_positive(vreal x, vreal a, vreal b) {
    const vreal mask = OP(cmpgt)(x, v_set(0));
    return OP(or)(OP (and)(mask, a), OP(andnot)(mask, b));
}

INLINE vreal v_power_of_two(vreal shifted) {
    return AS_REAL(INT_OP(slli)(INT_OP(add)(AS_INT(shifted), SET_INT(EXPONENT_BIAS)), MANTISSA_BITS));
}

INLINE void v_totals(vreal a, vreal b, vreal c, vreal d, real *totals) {
#if SINGLE
    const __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    const __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_storeu_ps(totals, _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd)));
#else
    _mm_storeu_pd(totals, _mm_add_pd(_mm_unpacklo_pd(a, b), _mm_unpackhi_pd(a, b)));
    _mm_storeu_pd(totals + 2, _mm_add_pd(_mm_unpacklo_pd(c, d), _mm_unpackhi_pd(c, d)));
#endif
}

#if SINGLE
INLINE vreal v_load_half(const uint16_t *p) {
    const __m128i bits = _mm_unpacklo_epi16(_mm_loadl_epi64((const void *)p), _mm_setzero_si128());
    const __m128i magnitude = _mm_and_si128(bits, _mm_set1_epi32(0x7fff));
    const __m128i sign = _mm_slli_epi32(_mm_and_si128(bits, _mm_set1_epi32(0x8000)), 16);
    /* Half's exponent bias is 15, single's 127; a half without an exponent counts units of 2^-24. What is not
     * finite has the largest exponent in both. */
    const __m128i is_finite = _mm_cmplt_epi32(magnitude, _mm_set1_epi32(31 << 10));
    const __m128i excess = _mm_andnot_si128(is_finite, _mm_set1_epi32((127 - 15) << 10));
    const __m128i biased = _mm_add_epi32(_mm_add_epi32(magnitude, _mm_set1_epi32((127 - 15) << 10)), excess);
    const __m128i normal = _mm_slli_epi32(biased, 13);
    const __m128i small = AS_INT(v_mul(_mm_cvtepi32_ps(magnitude), v_set(1.0f / (1 << 24))));
    const __m128i is_small = _mm_cmplt_epi32(magnitude, _mm_set1_epi32(1 << 10));
    const __m128i chosen = _mm_or_si128(_mm_and_si128(is_small, small), _mm_andnot_si128(is_small, normal));
    return AS_REAL(_mm_or_si128(chosen, sign));
}

/* A NaN stays as it is. */
INLINE vreal v_bfloat16(vreal a) {
    const __m128i bits = AS_INT(a), odd = _mm_and_si128(_mm_srli_epi32(bits, 16), SET_INT(1));
    const __m128i above = _mm_add_epi32(bits, _mm_add_epi32(odd, SET_INT(0x7fff)));
    const vreal nearest = AS_REAL(_mm_and_si128(above, SET_INT(-65536)));
    const vreal is_number = OP(cmpord)(a, a);
    const vreal rounded = OP(or)(OP (and)(is_number, nearest), OP(andnot)(is_number, a));
    const vreal is_normal = OP(cmpnlt)(v_abs(a), v_set(0x1p-126f));
    return OP (and)(rounded, OP(or)(is_normal, v_set(-0.0f)));
}

typedef __m128i vint;
#define i_set _mm_set1_epi32
#define i_load(p) _mm_loadu_si128((const void *)(p))
#define i_add _mm_add_epi32
#define i_high(a) _mm_srai_epi32(a, 8)
#define i_low(a) _mm_and_si128(a, _mm_set1_epi32(255))
#define i_to_real _mm_cvtepi32_ps
#define i_round _mm_cvtps_epi32

INLINE vint i_larger_size(vint most, vreal x) {
    const __m128i size = _mm_castps_si128(v_abs(x)), is_larger = _mm_cmpgt_epi32(size, most);
    return _mm_or_si128(_mm_and_si128(is_larger, size), _mm_andnot_si128(is_larger, most));
}

INLINE int32_t i_largest(vint a) {
    int32_t all[4];
    _mm_storeu_si128((void *)all, a);
    for (int k = 1; k < 4; k++)
        all[0] = all[k] > all[0] ? all[k] : all[0];
    return all[0];
}

/* Of numbers that 16 bits hold. */
INLINE void i_store_16(int16_t *p, vint a) { _mm_storel_epi64((void *)p, _mm_packs_epi32(a, a)); }

typedef __m128i vpairs, vpair;
#define ROWS_OF_PAIRS(vectors) ((vectors) == 4 ? 2 : (vectors) == 3 ? 3 : (vectors) == 2 ? 4 : 6)

INLINE vpair pair_set(const char *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm_set1_epi32(pair);
}

INLINE vpairs pairs_load(const int8_t *p) {
    const __m128i bytes = _mm_loadl_epi64((const void *)p);
    return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}

#define i_add_pairs(sum, weights, x) i_add(sum, _mm_madd_epi16(weights, x))
#endif

#endif
