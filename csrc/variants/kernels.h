/* The whole core for one instruction set and one precision. A file in variants/ names itself and its vectors, by
 * VARIANT and VECTORS, and includes this; it is compiled twice, with SINGLE of 1 and of 0. */

/* First, since it switches the instruction set on. */
#include "vectors/real.h"

#include "cells/table.h"
#include "loops/backward.h"
#include "loops/columns.h"
#include "loops/convolution.h"
#include "loops/elementwise.h"
#include "loops/linear.h"
#include "loops/outer.h"
#ifdef BFLOAT16_CONDITION
#include "loops/outer_dotted.h"
#endif
#include "loops/sequence.h"
#include "products/pack.h"

/* In products of bfloat16 if that is wanted and faster. */
static gw_status outer(gw_block a, const gw_outer_side *sides, int count, int in_bfloat16, int threads) {
#ifdef BFLOAT16_CONDITION
    if (in_bfloat16 && BFLOAT16_CONDITION())
        return outer_dotted(a, sides, count, threads);
#endif
    (void)in_bfloat16;
    gw_status status = GW_OK;
    for (int side = 0; side < count && status == GW_OK; side++)
        status = outer_full(a, sides[side].b, sides[side].out, threads);
    return status;
}

#define JOINED(variant, precision) gw_##variant##_##precision
#define NAME_OF(variant, precision) JOINED(variant, precision)
#if SINGLE
#define KERNELS NAME_OF(VARIANT, single)
#else
#define KERNELS NAME_OF(VARIANT, double)
#endif

extern const gw_kernels KERNELS;
const gw_kernels KERNELS = {
    .pack = pack,
    .release = release,
    .prepare_backward = prepare_backward,
    .infer = infer,
    .infer_shares = infer_shares,
    .forward = forward,
    .backward = backward,
    .project_back = project_back,
    .pack_linear = pack_linear,
    .release_linear = release_linear,
    .prepare_linear_back = prepare_linear_back,
    .linear = linear,
    .linear_back = linear_back,
    .convolve = convolve,
    .outer = outer,
    .add_rows = add_all_rows,
    .add_by_token = add_by_token,
    .columns_forward = columns_forward,
    .columns_step_back = columns_step_back,
    .columns_back = columns_back,
    .relu = relu,
    .tanh = hyperbolic_tangent,
    .sigmoid = sigmoid,
    .activate = activate_all,
    .softmax = softmax,
};

#ifdef TARGET_PUSHED
#pragma clang attribute pop
#endif
