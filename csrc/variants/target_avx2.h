/* Compiles the rest of a file for AVX2, FMA and F16C. MSVC needs no switch for intrinsics. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define TARGET_PUSHED
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma,f16c")
#endif
