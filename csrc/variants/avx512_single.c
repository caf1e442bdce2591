#include "platform.h"
#if IS_X86_64
#include "variants/target_avx512.h"
#define VARIANT_AVX512
#define SINGLE 1
#define KERNELS gw_avx512_single
#include "variants/kernels.h"
#ifdef TARGET_PUSHED
#pragma clang attribute pop
#endif
#endif
