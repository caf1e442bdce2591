/* The whole core for one instruction set and one precision. A file in variants/ defines SINGLE and VARIANT_*,
 * switches its instruction set on and includes this; KERNELS names the table that it exports. */
#include "cells/columns.h"
#include "loops/backward.h"
#include "loops/elementwise.h"
#include "loops/large.h"
#include "loops/linear.h"
#include "loops/sequence.h"
#include "products/pack.h"

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
    .outer = outer,
    .add_by_token = add_by_token,
    .cell_forward = cell_forward,
    .cell_backward = cell_backward,
    .relu = relu,
    .tanh = hyperbolic_tangent,
    .sigmoid = sigmoid,
    .softmax = softmax,
};
