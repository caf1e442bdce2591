/* Which of the variants this CPU runs, and which one is in use. */
#include <stdint.h>
#include <string.h>

#include "gatewise.h"
#include "platform.h"

#if IS_X86_64
/* Asked here and not of the compiler, whose own answer some of them leave empty on some systems. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>

static void ask_cpu(int leaf, unsigned int *registers) { __cpuidex((int *)registers, leaf, 0); }

static uint64_t kept_by_system(void) { return _xgetbv(0); }
#else
#include <cpuid.h>

static void ask_cpu(int leaf, unsigned int *registers) {
    __cpuid_count(leaf, 0, registers[0], registers[1], registers[2], registers[3]);
}

static uint64_t kept_by_system(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}
#endif

/* Whether the system keeps these registers for each thread, as bits that xgetbv has. */
static int keeps(uint64_t states) {
    unsigned int r[4];
    ask_cpu(1, r);
    const int osxsave = r[2] >> 27 & 1;
    return osxsave && (kept_by_system() & states) == states;
}

static int has_avx2(void) {
    unsigned int r[4];
    ask_cpu(0, r);
    if (r[0] < 7)
        return 0;
    ask_cpu(1, r);
    const int fma = r[2] >> 12 & 1, avx = r[2] >> 28 & 1, f16c = r[2] >> 29 & 1;
    ask_cpu(7, r);
    return fma && avx && f16c && (r[1] >> 5 & 1) && keeps(0x6);
}

static int has_avx512(void) {
    unsigned int r[4];
    if (!has_avx2())
        return 0;
    ask_cpu(7, r);
#if defined(__APPLE__)
    /* Which keeps them from their first use on, and says so only then. */
    return r[1] >> 16 & 1;
#else
    return (r[1] >> 16 & 1) && keeps(0xe6);
#endif
}
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
