/* What every CPU of this build's kind has: SSE2, NEON, or no vectors at all. */
#define SINGLE 1
#define KERNELS gw_baseline_single
#include "../kernels.h"
