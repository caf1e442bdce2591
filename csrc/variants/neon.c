#include "platform.h"
#if IS_ARM64
#define VARIANT neon
#define VECTORS "vectors/neon.h"
#include "variants/kernels.h"
#endif
