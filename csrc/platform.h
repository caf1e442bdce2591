/* The kind of processor that a build is for. */
#ifndef GATEWISE_PLATFORM_H
#define GATEWISE_PLATFORM_H

/* BASELINE names the vectors that every processor of the kind has; not all kinds have some. */
#if defined(__x86_64__) || defined(_M_X64)
#define IS_X86_64 1
#define BASELINE "sse2"
#elif defined(__aarch64__) || defined(_M_ARM64)
#define IS_X86_64 0
#define BASELINE "neon"
#else
#define IS_X86_64 0
#endif

#endif
