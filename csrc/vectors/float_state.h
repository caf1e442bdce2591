/* Denormals count as zero inside a kernel; the caller's floating-point state comes back at its end.
 * Arithmetic on denormals takes up to a hundred times as long on many CPUs. */
#ifndef GATEWISE_FLOAT_STATE_H
#define GATEWISE_FLOAT_STATE_H

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
typedef unsigned int float_state;
static inline float_state flush_denormals(void) {
    const float_state before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
    return before;
}
static inline void restore_float_state(float_state before) { _mm_setcsr(before); }
#elif defined(__aarch64__) && !defined(_MSC_VER)
#include <stdint.h>
typedef uint64_t float_state;
static inline float_state flush_denormals(void) {
    float_state before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | (UINT64_C(1) << 24)));
    return before;
}
static inline void restore_float_state(float_state before) { __asm__ volatile("msr fpcr, %0" ::"r"(before)); }
#else
typedef int float_state;
static inline float_state flush_denormals(void) { return 0; }
static inline void restore_float_state(float_state before) { (void)before; }
#endif

#endif
