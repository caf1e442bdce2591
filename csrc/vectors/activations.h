/* sigmoid and tanh on vectors.
 *
 * Both come from exp(x): x = n ln 2 + r, |r| <= ln 2 / 2, exp(r) - 1 = r + r^2 q(r).
 * q is the polynomial that bounds the relative error of r + r^2 q(r) best (found by Remez' exchange):
 * 1.7e-8 in single and 2.5e-17 in double precision.
 */
#ifndef GATEWISE_ACTIVATIONS_H
#define GATEWISE_ACTIVATIONS_H

#include "vectors/real.h"

#define LOG2_E REAL(1.44269504088896340736)

#if SINGLE
/* ln 2 in two parts; the first has so few digits that its product with n is exact. */
#define LN2_HIGH 0.693145751953125f
#define LN2_LOW 1.42860682030941723212e-6f
/* Below this exp(x) is no normal number. */
#define EXP_LOWEST -87.33654f
/* Here and above exp(x) is infinite, and 1 / exp(x) no normal number. */
#define EXP_HIGHEST 89.0f
#else
#define LN2_HIGH 0.693147180369123816490
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_LOWEST -708.396418532264
#define EXP_HIGHEST 710.0
#endif

INLINE vreal expm1_polynomial(vreal r) {
#if SINGLE
    static const real q[] = {0.0013945444624841515765f, 0.0083660432173457507649f, 0.041666300748758343936f,
                             0.1666654859313977161f, 0.50000000539553429216f};
#else
    static const real q[] = {2.5113350751494407002e-8,   2.7624653825837071652e-7,  2.755723172694995908e-6,
                             0.000024801509216904832559, 0.00019841269898519091959, 0.0013888888927739797386,
                             0.0083333333333168212268,   0.041666666666591041019,   0.16666666666666682284,
                             0.50000000000000036079};
#endif
    vreal sum = v_set(q[0]);
    UNROLL for (size_t k = 1; k < sizeof q / sizeof q[0]; k++)
        sum = v_fma(sum, r, v_set(q[k]));
    return v_fma(v_mul(r, r), sum, r);
}

/* exp(x) = scale + scale * tail, for EXP_LOWEST <= x <= EXP_HIGHEST or NaN. */
INLINE void exp_parts(vreal x, vreal *scale, vreal *tail) {
    const vreal shifted = v_fma(x, v_set(LOG2_E), v_set(MAGIC));
    const vreal n = v_sub(shifted, v_set(MAGIC));
    const vreal r = v_fnma(n, v_set(LN2_LOW), v_fnma(n, v_set(LN2_HIGH), x));
    *scale = v_power_of_two(shifted);
    *tail = expm1_polynomial(r);
}

INLINE vreal exp_in_range(vreal x) {
    vreal scale, tail;
    exp_parts(x, &scale, &tail);
    /* Not scale * tail + scale, whose product may be a denormal. */
    return v_mul(scale, v_add(v_set(1), tail));
}

/* exp(x) for x <= 0 or NaN; 0 where the result is no normal number. */
INLINE vreal v_exp(vreal x) {
    const vreal result = exp_in_range(v_max(v_set(EXP_LOWEST), x));
    return v_if_positive(v_sub(v_set(EXP_LOWEST), x), v_set(0), result);
}

/* 1 / (1 + exp(-z)). Where exp(-z) is infinite, the result would be no normal number: it is 0. */
INLINE vreal v_sigmoid(vreal z) {
    const vreal x = v_min(v_set(EXP_HIGHEST), v_max(v_set(EXP_LOWEST), v_sub(v_set(0), z)));
    return v_div(v_set(1), v_add(v_set(1), exp_in_range(x)));
}

/* -e / (2 + e) with e = exp(-2 |z|) - 1, and the sign of z. */
INLINE vreal v_tanh(vreal z) {
    vreal scale, tail;
    exp_parts(v_max(v_set(-40), v_mul(v_set(-2), v_abs(z))), &scale, &tail);
    const vreal e = v_fma(scale, tail, v_sub(scale, v_set(1)));
    return v_copysign(v_div(e, v_add(v_set(2), e)), z);
}

#endif
