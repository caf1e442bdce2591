/* Sigmoid and tanh as fractions, several of which take one division together: for cells whose products are of
 * bfloat16, beside which divisions would be a tenth to a quarter of the time.
 *
 * With x in units of ln 2, 2^x = 2^n (1 + r q(r)), |r| <= 1/2, where q bounds the relative error of r q(r) best: 5e-7,
 * a four-thousandth of what rounding to bfloat16 changes. Only operations that every processor rounds alike are in
 * here, for the same bits on all. Beyond HALVINGS nothing changes; three such denominators have a product that is
 * finite, and one that is no denormal under 1. */
#ifndef GATEWISE_FRACTIONS_H
#define GATEWISE_FRACTIONS_H

#include "vectors/activations.h"

#define HALVINGS REAL(40.0)

struct fraction {
    vreal over, under;
};

/* 2^x = scale (1 + tail), for x within HALVINGS or NaN. */
INLINE vreal two_to_the(vreal x, vreal *tail) {
    static const real q[] = {REAL(0.00133335385), REAL(0.00966624543), REAL(0.055505004), REAL(0.240223512),
                             REAL(0.693147144)};
    const vreal shifted = v_add(x, v_set(MAGIC)), r = v_sub(x, v_sub(shifted, v_set(MAGIC)));
    vreal sum = v_set(q[0]);
    UNROLL for (size_t k = 1; k < sizeof q / sizeof q[0]; k++)
        sum = v_fma(sum, r, v_set(q[k]));
    *tail = v_mul(r, sum);
    return v_power_of_two(shifted);
}

/* What sigmoid(z) is one over: 1 + exp(-z). */
INLINE vreal sigmoid_under(vreal z) {
    vreal tail;
    const vreal x = v_min(v_set(HALVINGS), v_max(v_set(-HALVINGS), v_mul(v_set(-LOG2_E), z)));
    const vreal scale = two_to_the(x, &tail);
    return v_fma(scale, tail, v_add(scale, v_set(1)));
}

/* -e over 2 + e with e = exp(-2 |z|) - 1, and the sign of z. */
INLINE struct fraction tanh_fraction(vreal z) {
    vreal tail;
    const vreal x = v_max(v_set(-HALVINGS), v_mul(v_set(-2 * LOG2_E), v_abs(z)));
    const vreal scale = two_to_the(x, &tail);
    const vreal e = v_fma(scale, tail, v_sub(scale, v_set(1)));
    return (struct fraction){v_copysign(e, z), v_add(v_set(2), e)};
}

INLINE vreal v_divided(struct fraction f) { return v_div(f.over, f.under); }

#endif
