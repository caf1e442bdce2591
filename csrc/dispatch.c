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

static void ask_cpu(int leaf, int subleaf, unsigned int *registers) {
    __cpuidex((int *)registers, leaf, subleaf);
}

static uint64_t kept_by_system(void) { return _xgetbv(0); }
#else
#include <cpuid.h>

static void ask_cpu(int leaf, int subleaf, unsigned int *registers) {
    __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
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
    ask_cpu(1, 0, r);
    const int osxsave = r[2] >> 27 & 1;
    return osxsave && (kept_by_system() & states) == states;
}

static int has_avx2(void) {
    unsigned int r[4];
    ask_cpu(0, 0, r);
    if (r[0] < 7)
        return 0;
    ask_cpu(1, 0, r);
    const int fma = r[2] >> 12 & 1, avx = r[2] >> 28 & 1, f16c = r[2] >> 29 & 1;
    ask_cpu(7, 0, r);
    return fma && avx && f16c && (r[1] >> 5 & 1) && keeps(0x6);
}

static int has_avx512(void) {
    unsigned int r[4];
    if (!has_avx2())
        return 0;
    ask_cpu(7, 0, r);
    const int f = r[1] >> 16 & 1, bw = r[1] >> 30 & 1;
#if defined(__APPLE__)
    /* Which keeps the registers from their first use on, and says so only then. */
    return f && bw;
#else
    return f && bw && keeps(0xe6);
#endif
}

/* What a later page of leaf 7 says in eax, which is nothing where there is none. */
static unsigned int later_features(void) {
    unsigned int r[4];
    ask_cpu(7, 0, r);
    if (r[0] < 1)
        return 0;
    ask_cpu(7, 1, r);
    return r[0];
}

static int has_avx512_vnni(void) {
    unsigned int r[4];
    ask_cpu(7, 0, r);
    return has_avx512() && (r[2] >> 11 & 1);
}

/* Whoever has bfloat16 has products of four bytes, too. */
static int has_avx512_bf16(void) { return has_avx512_vnni() && (later_features() >> 5 & 1); }

static int has_avx2_vnni(void) { return has_avx2() && (later_features() >> 4 & 1); }
#elif IS_ARM64
#if defined(__APPLE__)
#include <sys/sysctl.h>

/* All of Apple's that run macOS. */
static int has_dot_products(void) { return 1; }

static int has_neon_bf16(void) {
    int found = 0;
    size_t size = sizeof found;
    return !sysctlbyname("hw.optional.arm.FEAT_BF16", &found, &size, NULL, 0) && found;
}
#elif defined(_WIN32)
#include <windows.h>

/* PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE, which older headers do not name. */
static int has_dot_products(void) { return IsProcessorFeaturePresent(43) != 0; }

static int has_neon_bf16(void) { return 0; }
#elif defined(__linux__)
#include <sys/auxv.h>

/* HWCAP_ASIMDDP, and below HWCAP2_BF16, which older headers do not name. */
static int has_dot_products(void) { return getauxval(AT_HWCAP) >> 20 & 1; }

static int has_neon_bf16(void) { return has_dot_products() && (getauxval(AT_HWCAP2) >> 14 & 1); }
#else
static int has_dot_products(void) { return 0; }

static int has_neon_bf16(void) { return 0; }
#endif
#endif

/* The variants of this kind of CPU, best first: what they are called, a file in variants/, whether it may use
 * products of four bytes and those of bfloat16, and what says whether a CPU runs it; NULL where all do. */
#if IS_X86_64
#define VARIANTS(one)                                                                                        \
    one("avx512_bf16", avx512, 1, 1, has_avx512_bf16) one("avx512_vnni", avx512, 1, 0, has_avx512_vnni)      \
        one("avx512", avx512, 0, 0, has_avx512) one("avx2_vnni", avx2, 1, 0, has_avx2_vnni)                  \
            one("avx2", avx2, 0, 0, has_avx2) one("sse2", sse2, 0, 0, NULL)                                  \
                one("scalar", scalar, 0, 0, NULL)
#define FILES(one) one(avx512) one(avx2) one(sse2) one(scalar)
#elif IS_ARM64
#define VARIANTS(one)                                                                                        \
    one("neon_bf16", neon, 1, 1, has_neon_bf16) one("neon_dotprod", neon, 1, 0, has_dot_products)            \
        one("neon", neon, 0, 0, NULL) one("scalar", scalar, 0, 0, NULL)
#define FILES(one) one(neon) one(scalar)
#else
#define VARIANTS(one) one("scalar", scalar, 0, 0, NULL)
#define FILES(one) one(scalar)
#endif

#define DECLARE(file) extern const gw_kernels gw_##file##_single, gw_##file##_double;
FILES(DECLARE)

#define ROW(name, file, has_dots, has_bfloat16, is_supported)                                                \
    {name, &gw_##file##_single, &gw_##file##_double, has_dots, has_bfloat16, is_supported},
static const struct variant {
    const char *name;
    const gw_kernels *single_precision, *double_precision;
    int has_dots, has_bfloat16;
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

int gw_has_dots(void) { return chosen->has_dots; }

int gw_has_bfloat16(void) { return chosen->has_bfloat16; }

const gw_kernels *gw_get_kernels(int single) {
    return single ? chosen->single_precision : chosen->double_precision;
}
