/* What every CPU of this build's kind has: SSE2 or NEON. */
#include "platform.h"
#ifdef BASELINE
#define SINGLE 0
#define KERNELS gw_baseline_double
#include "variants/kernels.h"
#endif
