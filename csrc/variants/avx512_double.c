#include "platform.h"
#if IS_X86_64
#include "variants/target_avx512.h"
#define VARIANT_AVX512
#define SINGLE 0
#define KERNELS gw_avx512_double
#include "variants/kernels.h"
#ifdef TARGET_PUSHED
#pragma clang attribute pop
#endif
#endif
