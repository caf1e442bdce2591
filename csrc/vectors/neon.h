/* NEON on 64-bit ARM: 32 registers of 128 bits. */
#ifndef GATEWISE_VECTOR_NEON_H
#define GATEWISE_VECTOR_NEON_H

#include <arm_neon.h>
#include <string.h>

#define MAX_ROWS(vectors) ((vectors) == 4 ? 5 : 6)

#if SINGLE
typedef float32x4_t vreal;
#define WIDTH 4
#define OP(name) v##name##q_f32
#define v_set vdupq_n_f32
#define AS_INT vreinterpretq_u32_f32
#define AS_REAL vreinterpretq_f32_u32
#define INT_OP(name) v##name##q_u32
#define SHIFT_LEFT vshlq_n_u32
#define SET_INT vdupq_n_u32
#define SIGN_BIT 0x80000000u
#else
typedef float64x2_t vreal;
#define WIDTH 2
#define OP(name) v##name##q_f64
#define v_set vdupq_n_f64
#define AS_INT vreinterpretq_u64_f64
#define AS_REAL vreinterpretq_f64_u64
#define INT_OP(name) v##name##q_u64
#define SHIFT_LEFT vshlq_n_u64
#define SET_INT vdupq_n_u64
#define SIGN_BIT 0x8000000000000000u
#endif

#if SINGLE
#define v_load vld1q_f32
#define v_store vst1q_f32
#define v_select vbslq_f32
#else
#define v_load vld1q_f64
#define v_store vst1q_f64
#define v_select vbslq_f64
#endif

#define v_add OP(add)
#define v_sub OP(sub)
#define v_mul OP(mul)
#define v_div OP(div)
#define v_abs OP(abs)

/* NEON's own take the larger of 0 and -0, and x86's the second. */
INLINE vreal v_max(vreal a, vreal b) { return v_select(OP(cgt)(a, b), a, b); }

INLINE vreal v_min(vreal a, vreal b) { return v_select(OP(clt)(a, b), a, b); }

INLINE vreal v_fma(vreal a, vreal b, vreal c) { return OP(fma)(c, a, b); }

INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return OP(fms)(c, a, b); }

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

INLINE vreal v_copysign(vreal magnitude, vreal sign) { return v_select(SET_INT(SIGN_BIT), sign, magnitude); }

INLINE vreal v_if_positive(vreal x, vreal a, vreal b) { return v_select(OP(cgt)(x, v_set(0)), a, b); }

INLINE vreal v_power_of_two(vreal shifted) {
    return AS_REAL(SHIFT_LEFT(INT_OP(add)(AS_INT(shifted), SET_INT(EXPONENT_BIAS)), MANTISSA_BITS));
}

INLINE void v_totals(vreal a, vreal b, vreal c, vreal d, real *totals) {
#if SINGLE
    const float32x4_t ab = vcombine_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a)),
                                        vadd_f32(vget_low_f32(b), vget_high_f32(b)));
    const float32x4_t cd = vcombine_f32(vadd_f32(vget_low_f32(c), vget_high_f32(c)),
                                        vadd_f32(vget_low_f32(d), vget_high_f32(d)));
    vst1q_f32(totals, vpaddq_f32(ab, cd));
#else
    vst1q_f64(totals, vpaddq_f64(a, b));
    vst1q_f64(totals + 2, vpaddq_f64(c, d));
#endif
}

#if SINGLE
INLINE vreal v_load_half(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

/* A NaN stays as it is. */
INLINE vreal v_bfloat16(vreal a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t above = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t nearest = vandq_u32(above, vdupq_n_u32(0xffff0000));
    const uint32x4_t rounded = vbslq_u32(vceqq_f32(a, a), nearest, bits);
    const uint32x4_t is_tiny = vcltq_u32(vandq_u32(bits, vdupq_n_u32(0x7fffffff)), vdupq_n_u32(0x00800000));
    return vreinterpretq_f32_u32(vbslq_u32(is_tiny, vandq_u32(bits, vdupq_n_u32(0x80000000)), rounded));
}

typedef int32x4_t vint;
#define i_set vdupq_n_s32
#define i_load vld1q_s32
#define i_add vaddq_s32
#define i_high(a) vshrq_n_s32(a, 8)
#define i_low(a) vandq_s32(a, vdupq_n_s32(255))
#define i_to_real vcvtq_f32_s32
#define i_round vcvtnq_s32_f32
#define i_largest vmaxvq_s32

INLINE vint i_larger_size(vint most, vreal x) { return vmaxq_s32(most, vreinterpretq_s32_f32(vabsq_f32(x))); }

INLINE void i_store_16(int16_t *p, vint a) { vst1_s16(p, vmovn_s32(a)); }

typedef int16x8_t vpairs, vpair;
#define ROWS_OF_PAIRS(vectors) ((vectors) == 4 ? 3 : (vectors) == 3 ? 4 : 6)

INLINE vpair pair_set(const char *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return vreinterpretq_s16_s32(vdupq_n_s32(pair));
}

INLINE vpairs pairs_load(const int8_t *p) { return vmovl_s8(vld1_s8(p)); }

INLINE vint i_add_pairs(vint sum, vpairs weights, vpair x) {
    const int32x4_t low = vmull_s16(vget_low_s16(weights), vget_low_s16(x));
    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(weights, x)));
}

#define i_times_256(a) vshlq_n_s32(a, 8)

INLINE void i_store_8(uint8_t *p, vint a) {
    const int16x4_t halves = vmovn_s32(a);
    const int32x2_t bytes = vreinterpret_s32_s8(vmovn_s16(vcombine_s16(halves, halves)));
    const int32_t four = vget_lane_s32(bytes, 0);
    memcpy(p, &four, sizeof four);
}

/* The dot products of ARMv8.2, of bytes with a sign. */
#define DOTS_CONDITION gw_has_dots
#define DOTS_HAVE_SIGN
#define ROWS_OF_DOTS(vectors) ((vectors) == 4 ? 5 : 6)

typedef int8x16_t vfour, vfours;
#define fours_load vld1q_s8

INLINE vfour four_set(const char *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

#if defined(__GNUC__)
/* Not the intrinsic, which needs a switch for all of the file, and compilers then use such products elsewhere. */
INLINE vint i_add_dots(vint sum, vfours weights, vfour x) {
    __asm__(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(weights), "w"(x));
    return sum;
}
#else
#define i_add_dots vdotq_s32
#endif

#if defined(__GNUC__)
#define BFLOAT16_CONDITION gw_has_bfloat16
#define ROWS_OF_TWOS(vectors) (MAX_ROWS(vectors))
#define FEW_ROWS_OF_TWOS 6

typedef int32x4_t vtwo, vtwos;
#define twos_load(p) vld1q_s32((const int32_t *)(const void *)(p))

INLINE vtwo two_set(const char *p) {
    int32_t two;
    memcpy(&two, p, sizeof two);
    return vdupq_n_s32(two);
}

/* In assembler, since no function here may use the instruction but where the processor has it. */
INLINE vreal v_add_twos(vreal sum, vtwos weights, vtwo x) {
    __asm__(".arch_extension bf16\n\tbfdot %0.4s, %1.8h, %2.8h" : "+w"(sum) : "w"(weights), "w"(x));
    return sum;
}

INLINE void v_store_bfloat16(uint16_t *p, vreal a) {
    uint16x4_t rounded;
    __asm__(".arch_extension bf16\n\tbfcvtn %0.4h, %1.4s" : "=w"(rounded) : "w"(a));
    vst1_u16(p, vrev32_u16(rounded));
}

INLINE void v_store_pairs(uint16_t *p, vreal first, vreal second) {
    uint16x4x2_t pairs;
    __asm__(".arch_extension bf16\n\tbfcvtn %0.4h, %1.4s" : "=w"(pairs.val[0]) : "w"(first));
    __asm__(".arch_extension bf16\n\tbfcvtn %0.4h, %1.4s" : "=w"(pairs.val[1]) : "w"(second));
    vst2_u16(p, pairs);
}
#endif
#endif

#endif
