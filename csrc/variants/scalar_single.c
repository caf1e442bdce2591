/* No vectors at all: for CPUs of other kinds, and to compare with on all. */
#define VARIANT_SCALAR
#define SINGLE 1
#define KERNELS gw_scalar_single
#include "variants/kernels.h"
