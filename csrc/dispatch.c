/* Which of the variants this CPU runs, and which one is in use. */
#include <string.h>

#include "gatewise.h"
#include "platform.h"

#if IS_X86_64
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>

static int has_avx2(void) {
    int id[4];
    __cpuid(id, 1);
    const int fma = id[2] >> 12 & 1, f16c = id[2] >> 29 & 1, osxsave = id[2] >> 27 & 1;
    __cpuidex(id, 7, 0);
    return fma && f16c && osxsave && (id[1] >> 5 & 1) && (_xgetbv(0) & 0x6) == 0x6;
}

static int has_avx512(void) {
    int id[4];
    __cpuidex(id, 7, 0);
    return has_avx2() && (id[1] >> 16 & 1) && (_xgetbv(0) & 0xe6) == 0xe6;
}
#else
#include <cpuid.h>

static int has_avx2(void) {
    unsigned int a, b, c, d;
    /* Not every compiler knows F16C by name. */
    const int has_f16c = __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
    return has_f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void) { return has_avx2() && __builtin_cpu_supports("avx512f"); }
#endif
#endif

/* The variants of this kind of CPU, best first: a file in variants/ each, and what says whether a CPU runs it;
 * NULL where all do. */
#if IS_X86_64
#define VARIANTS(one) one(avx512, has_avx512) one(avx2, has_avx2) one(sse2, NULL) one(scalar, NULL)
#elif IS_ARM64
#define VARIANTS(one) one(neon, NULL) one(scalar, NULL)
#else
#define VARIANTS(one) one(scalar, NULL)
#endif

#define DECLARE(name, is_supported) extern const gw_kernels gw_##name##_single, gw_##name##_double;
VARIANTS(DECLARE)

#define ROW(name, is_supported) {#name, &gw_##name##_single, &gw_##name##_double, is_supported},
static const struct variant {
    const char *name;
    const gw_kernels *single_precision, *double_precision;
    int (*is_supported)(void);
} variants[] = {VARIANTS(ROW)};

enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* Until there is a choice, the one that runs everywhere. */
static const struct variant *chosen = &variants[VARIANTS - 1];

static int is_supported(const struct variant *variant) {
    return !variant->is_supported || variant->is_supported();
}

const char *gw_instruction_set_at(int index) {
    for (int v = 0; v < VARIANTS; v++)
        if (is_supported(&variants[v]) && index-- == 0)
            return variants[v].name;
    return NULL;
}

int gw_choose_instruction_set(const char *name) {
    for (int v = 0; v < VARIANTS; v++) {
        if (!strcmp(variants[v].name, name) && is_supported(&variants[v])) {
            chosen = &variants[v];
            return 1;
        }
    }
    return 0;
}

const char *gw_instruction_set(void) { return chosen->name; }

const gw_kernels *gw_get_kernels(int single) {
    return single ? chosen->single_precision : chosen->double_precision;
}
