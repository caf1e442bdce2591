/* The table of activations: what each computes on vectors, and its slope as a function of that value.
 *
 * Most come from exp(x): x = n ln 2 + r, |r| <= ln 2 / 2, exp(r) - 1 = r + r^2 q(r).
 * q is the polynomial that bounds the relative error of r + r^2 q(r) best (found by Remez' exchange):
 * 1.7e-8 in single and 2.5e-17 in double precision.
 */
#ifndef GATEWISE_ACTIVATIONS_H
#define GATEWISE_ACTIVATIONS_H

#include <string.h>

#include "gatewise.h"
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

/* exp(x) = 2^n (1 + tail), for EXP_LOWEST <= x <= EXP_HIGHEST or NaN; returns n + MAGIC. */
INLINE vreal exp_parts(vreal x, vreal *tail) {
    const vreal shifted = v_fma(x, v_set(LOG2_E), v_set(MAGIC));
    const vreal n = v_sub(shifted, v_set(MAGIC));
    const vreal r = v_fnma(n, v_set(LN2_LOW), v_fnma(n, v_set(LN2_HIGH), x));
    *tail = expm1_polynomial(r);
    return shifted;
}

INLINE vreal exp_in_range(vreal x) {
    vreal tail;
    const vreal scale = v_power_of_two(exp_parts(x, &tail));
    /* Not scale * tail + scale, whose product may be a denormal. */
    return v_mul(scale, v_add(v_set(1), tail));
}

/* exp(x) for x <= 0 or NaN; 0 where the result is no normal number. */
INLINE vreal v_exp(vreal x) {
    const vreal result = exp_in_range(v_max(v_set(EXP_LOWEST), x));
    return v_if_positive(v_sub(v_set(EXP_LOWEST), x), v_set(0), result);
}

/* exp(x) - 1 for -40 <= x <= 0, where -40 stands for all below, or NaN. */
INLINE vreal expm1_in_range(vreal x) {
    vreal tail;
    const vreal scale = v_power_of_two(exp_parts(x, &tail));
    return v_fma(scale, tail, v_sub(scale, v_set(1)));
}

/* An activation of a cell. Its code, its numbers, and in which order they come, are the table's below. */
struct activation {
    int code;
    real alpha, beta;
};

/* 1 / (1 + exp(-z)). Where exp(-z) is infinite, the result would be no normal number: it is 0. */
INLINE vreal v_sigmoid(vreal z) {
    const vreal x = v_min(v_set(EXP_HIGHEST), v_max(v_set(EXP_LOWEST), v_sub(v_set(0), z)));
    return v_div(v_set(1), v_add(v_set(1), exp_in_range(x)));
}

INLINE vreal sigmoid_slope(vreal y) { return v_mul(y, v_sub(v_set(1), y)); }

/* -e / (2 + e) with e = exp(-2 |z|) - 1, and the sign of z. */
INLINE vreal v_tanh(vreal z) {
    const vreal e = expm1_in_range(v_max(v_set(-40), v_mul(v_set(-2), v_abs(z))));
    return v_copysign(v_div(e, v_add(v_set(2), e)), z);
}

INLINE vreal tanh_slope(vreal y) { return v_fnma(y, y, v_set(1)); }

INLINE vreal v_relu(vreal z) { return v_max(v_set(0), z); }

/* The slope of what bends at 0, where it is that of the left side. */
INLINE vreal bent_slope(vreal y, vreal right, vreal left) { return v_if_positive(y, right, left); }

INLINE vreal relu_slope(vreal y) { return bent_slope(y, v_set(1), v_set(0)); }

INLINE vreal v_hard_sigmoid(vreal z, const struct activation *a) {
    const vreal line = v_fma(v_set(a->alpha), z, v_set(a->beta));
    return v_min(v_set(1), v_max(v_set(0), line));
}

INLINE vreal hard_sigmoid_slope(vreal y, const struct activation *a) {
    const vreal rising = v_if_positive(y, v_set(a->alpha), v_set(0));
    return v_if_positive(v_sub(v_set(1), y), rising, v_set(0));
}

/* z / (1 + |z|), for which an infinite z is as good as a large one. */
INLINE vreal v_softsign(vreal z) {
    const vreal size = v_min(v_set(REAL(1e30)), v_abs(z));
    return v_copysign(v_div(size, v_add(v_set(1), size)), z);
}

INLINE vreal softsign_slope(vreal y) {
    const vreal rest = v_sub(v_set(1), v_abs(y));
    return v_mul(rest, rest);
}

/* log(1 + e) for 0 <= e <= 1 or NaN: 2 artanh(s), s = e / (2 + e) <= 1/3, by its series. What is left out is
 * below 2e-10 of the result in single, and 2e-18 in double precision. */
INLINE vreal log1p_in_range(vreal e) {
    enum { TERMS = SINGLE ? 9 : 17 };
    const vreal s = v_div(e, v_add(v_set(2), e)), square = v_mul(s, s);
    vreal sum = v_set(REAL(1.0) / (2 * TERMS - 1));
    UNROLL for (int k = TERMS - 2; k >= 0; k--)
        sum = v_fma(sum, square, v_set(REAL(1.0) / (real)(2 * k + 1)));
    return v_mul(v_mul(v_set(2), s), sum);
}

/* log(1 + exp(z)). */
INLINE vreal v_softplus(vreal z) {
    return v_add(v_max(v_set(0), z), log1p_in_range(v_exp(v_sub(v_set(0), v_abs(z)))));
}

/* 1 - exp(-y), and y itself where it is small. */
INLINE vreal softplus_slope(vreal y) {
    return v_sub(v_set(0), expm1_in_range(v_max(v_set(-40), v_sub(v_set(0), y))));
}

/* exp(z); 0 where that is no normal number. The largest are twice what half of 2^n gives, which itself may be
 * infinite. */
INLINE vreal v_exponential(vreal z) {
    vreal tail;
    const vreal x = v_min(v_set(EXP_HIGHEST), v_max(v_set(EXP_LOWEST), z));
    const vreal one = v_if_positive(x, v_set(1), v_set(0));
    const vreal scale = v_power_of_two(v_sub(exp_parts(x, &tail), one));
    const vreal result = v_mul(v_mul(scale, v_add(v_set(1), tail)), v_add(v_set(1), one));
    return v_if_positive(v_sub(v_set(EXP_LOWEST), z), v_set(0), result);
}

/* right * z where z > 0, else left * (exp(z) - 1). */
INLINE vreal v_elu(vreal z, real right, real left) {
    const vreal e = expm1_in_range(v_max(v_set(-40), v_min(v_set(0), z)));
    return v_if_positive(z, v_mul(v_set(right), z), v_mul(v_set(left), e));
}

INLINE vreal elu_slope(vreal y, real right, real left) {
    return bent_slope(y, v_set(right), v_add(y, v_set(left)));
}

/* A scale, and that times alpha. */
#define SELU_RIGHT REAL(1.0507009873554805)
#define SELU_LEFT (SELU_RIGHT * REAL(1.6732632423543772))

INLINE vreal v_leaky_relu(vreal z, const struct activation *a) {
    return v_if_positive(z, z, v_mul(v_set(a->alpha), z));
}

/* z where it is more than alpha, else 0, or NaN. */
INLINE vreal v_thresholded_relu(vreal z, const struct activation *a) {
    return v_if_positive(v_sub(z, v_set(a->alpha)), z, v_min(v_set(0), v_max(v_set(0), z)));
}

INLINE vreal v_scaled_tanh(vreal z, const struct activation *a) {
    return v_mul(v_set(a->alpha), v_tanh(v_mul(v_set(a->beta), z)));
}

INLINE vreal scaled_tanh_slope(vreal y, const struct activation *a) {
    return v_mul(v_set(a->beta), v_fnma(y, v_div(y, v_set(a->alpha)), v_set(a->alpha)));
}

/* The table: a code, a name, the value at z, the slope where the value is y. `a` has the numbers, in the order
 * of the names in kernels/activations.py. */
/* clang-format off */
#define ACTIVATIONS(one) \
    one(SIGMOID, "sigmoid", v_sigmoid(z), sigmoid_slope(y)) \
    one(TANH, "tanh", v_tanh(z), tanh_slope(y)) \
    one(RELU, "relu", v_relu(z), relu_slope(y)) \
    one(LINEAR, "linear", z, v_set(1)) \
    one(HARD_SIGMOID, "hard_sigmoid", v_hard_sigmoid(z, a), hard_sigmoid_slope(y, a)) \
    one(SOFTSIGN, "softsign", v_softsign(z), softsign_slope(y)) \
    one(SOFTPLUS, "softplus", v_softplus(z), softplus_slope(y)) \
    one(EXPONENTIAL, "exponential", v_exponential(z), y) \
    one(ELU, "elu", v_elu(z, 1, a->alpha), elu_slope(y, 1, a->alpha)) \
    one(SELU, "selu", v_elu(z, SELU_RIGHT, SELU_LEFT), elu_slope(y, SELU_RIGHT, SELU_LEFT)) \
    one(LEAKY_RELU, "leaky_relu", v_leaky_relu(z, a), bent_slope(y, v_set(1), v_set(a->alpha))) \
    one(THRESHOLDED_RELU, "thresholded_relu", v_thresholded_relu(z, a), relu_slope(y)) \
    one(SCALED_TANH, "scaled_tanh", v_scaled_tanh(z, a), scaled_tanh_slope(y, a)) \
    one(AFFINE, "affine", v_fma(v_set(a->alpha), z, v_set(a->beta)), v_set(a->alpha))
/* clang-format on */

#define ACTIVATION_CODE(code, name, value, slope) code,
enum { ACTIVATIONS(ACTIVATION_CODE) ACTIVATION_COUNT };
#undef ACTIVATION_CODE

#define ACTIVATION_NAME(code, name, value, slope) name,
static const char *const activation_names[] = {ACTIVATIONS(ACTIVATION_NAME)};
#undef ACTIVATION_NAME

/* 0 where the table has none of that name. */
static int find_activation(const gw_activation *named, struct activation *found) {
    found->code = 0;
    while (found->code < ACTIVATION_COUNT && strcmp(activation_names[found->code], named->name))
        found->code++;
    found->alpha = (real)named->alpha;
    found->beta = (real)named->beta;
    return found->code < ACTIVATION_COUNT;
}

/* Those that are rare enough for a call. */
NOINLINE vreal activate_by_table(const struct activation *a, vreal z) {
    switch (a->code) {
#define ACTIVATION_VALUE(code, name, value, slope)                                                           \
    case code:                                                                                               \
        return value;
        ACTIVATIONS(ACTIVATION_VALUE)
#undef ACTIVATION_VALUE
    }
    return z;
}

NOINLINE vreal slope_by_table(const struct activation *a, vreal y) {
    switch (a->code) {
#define ACTIVATION_SLOPE(code, name, value, slope)                                                           \
    case code:                                                                                               \
        return slope;
        ACTIVATIONS(ACTIVATION_SLOPE)
#undef ACTIVATION_SLOPE
    }
    return y;
}

/* The value at z. Where the compiler knows the code, nothing else is left of this. */
INLINE vreal activate(const struct activation *a, vreal z) {
    if (a->code == SIGMOID)
        return v_sigmoid(z);
    if (a->code == TANH)
        return v_tanh(z);
    if (a->code == RELU)
        return v_relu(z);
    if (a->code == HARD_SIGMOID)
        return v_hard_sigmoid(z, a);
    return activate_by_table(a, z);
}

/* The slope where the value is y. */
INLINE vreal slope_at(const struct activation *a, vreal y) {
    if (a->code == SIGMOID)
        return sigmoid_slope(y);
    if (a->code == TANH)
        return tanh_slope(y);
    if (a->code == RELU)
        return relu_slope(y);
    if (a->code == HARD_SIGMOID)
        return hard_sigmoid_slope(y, a);
    return slope_by_table(a, y);
}

/* Whether no value is beyond 1. */
INLINE int stays_within_one(const struct activation *a) {
    return a->code == SIGMOID || a->code == TANH || a->code == HARD_SIGMOID || a->code == SOFTSIGN;
}

/* The activations of a cell: of its gates, its candidate, and of c on its way to h. Where these are SIGMOID, TANH and
 * TANH, they may be fractions that share divisions. */
struct activations {
    struct activation gate, candidate, output;
    int are_fractions;
};

/* Float64 has no narrow formats, and so no fractions. */
INLINE int has_fractions(const struct activations *by) { return SINGLE && by->are_fractions; }

static const struct activations STANDARD = {{SIGMOID, 0, 0}, {TANH, 0, 0}, {TANH, 0, 0}, 0};
static const struct activations FRACTIONS = {{SIGMOID, 0, 0}, {TANH, 0, 0}, {TANH, 0, 0}, 1};

#endif
