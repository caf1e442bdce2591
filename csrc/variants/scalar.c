/* No vectors at all: for CPUs of other kinds, and to compare with on all. */
#define VARIANT scalar
#define VECTORS "vectors/scalar.h"
#include "variants/kernels.h"
