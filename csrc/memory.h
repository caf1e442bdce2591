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

/* Memory for one call, on the stack where little is enough: the system's would take a tenth of a small step's
 * time. */
enum { MOST_LARGE = 4 };

struct workspace {
    ALIGNED char small[4096];
    size_t used;
    int count;
    void *large[MOST_LARGE];
};

static inline void open_space(struct workspace *space) { space->used = 0, space->count = 0; }

/* NULL where there is no memory. */
static inline void *take_space(struct workspace *space, size_t size) {
    size = (size + 63) / 64 * 64;
    if (size <= sizeof space->small - space->used) {
        void *memory = space->small + space->used;
        space->used += size;
        return memory;
    }
    if (space->count == MOST_LARGE)
        return NULL;
    space->large[space->count] = gw_allocate(size);
    return space->large[space->count++];
}

static inline void release_space(struct workspace *space) {
    while (space->count > 0)
        gw_free(space->large[--space->count]);
}

#endif
