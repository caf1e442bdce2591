#include "platform.h"
#if IS_X86_64
#include "variants/target_avx2.h"
#define VARIANT_AVX2
#define SINGLE 0
#define KERNELS gw_avx2_double
#include "variants/kernels.h"
#ifdef TARGET_PUSHED
#pragma clang attribute pop
#endif
#endif
