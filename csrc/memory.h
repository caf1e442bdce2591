/* Memory aligned to a cache line. */
#ifndef GATEWISE_MEMORY_H
#define GATEWISE_MEMORY_H

#include <stdlib.h>

#if defined(_MSC_VER)
#define ALIGNED __declspec(align(64))
#else
#define ALIGNED _Alignas(64)
#endif

#if defined(_WIN32)
#include <malloc.h>
static inline void *gw_allocate(size_t size) { return _aligned_malloc(size ? size : 64, 64); }
static inline void gw_free(void *memory) { _aligned_free(memory); }
#else
static inline void *gw_allocate(size_t size) { return aligned_alloc(64, size ? (size + 63) / 64 * 64 : 64); }
static inline void gw_free(void *memory) { free(memory); }
#endif

#endif
