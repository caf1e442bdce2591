#include "platform.h"
#if IS_X86_64
#define VARIANT avx512
#define VECTORS "vectors/avx512.h"
#include "variants/kernels.h"
#endif
