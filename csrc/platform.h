/* The kind of processor that a build is for. */
#ifndef GATEWISE_PLATFORM_H
#define GATEWISE_PLATFORM_H

/* A variant for another kind of processor would be an empty file otherwise, which ISO C forbids. */
#include <stddef.h>

#if defined(__x86_64__) || defined(_M_X64)
#define IS_X86_64 1
#else
#define IS_X86_64 0
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#define IS_ARM64 1
#else
#define IS_ARM64 0
#endif

#endif
