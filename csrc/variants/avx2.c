#include "platform.h"
#if IS_X86_64
#define VARIANT avx2
#define VECTORS "vectors/avx2.h"
#include "variants/kernels.h"
#endif
