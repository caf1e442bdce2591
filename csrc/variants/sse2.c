#include "platform.h"
#if IS_X86_64
#define VARIANT sse2
#define VECTORS "vectors/sse2.h"
#include "variants/kernels.h"
#endif
