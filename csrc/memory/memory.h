/* Memory aligned to a cache line. */
#ifndef GATEWISE_MEMORY_H
#define GATEWISE_MEMORY_H

#include <stdatomic.h>
#include <stdlib.h>

#if defined(_MSC_VER)
#define ALIGNED __declspec(align(64))
#else
#define ALIGNED _Alignas(64)
#endif

/* A trial, which only tests begin, counts the allocations of the whole core and lets one of them fail: number
 * `number` from now on, the first being 1, or none with 0. */
void gw_try_allocations(int number);
void gw_end_trial(void);
/* How many were asked for since the last call of gw_try_allocations, and how many more were made than freed
 * since the trial began. */
int gw_allocations_asked(void);
int gw_allocations_held(void);

/* For the two functions below alone. */
extern atomic_int gw_is_trial;
int gw_may_allocate(void);
void gw_count_free(void);

#if defined(_WIN32)
#include <malloc.h>
#endif

/* NULL where there is no memory. */
static inline void *gw_allocate(size_t size) {
    if (atomic_load_explicit(&gw_is_trial, memory_order_relaxed) && !gw_may_allocate())
        return NULL;
    size = size ? (size + 63) / 64 * 64 : 64;
#if defined(_WIN32)
    return _aligned_malloc(size, 64);
#else
    return aligned_alloc(64, size);
#endif
}

static inline void gw_free(void *memory) {
    if (memory && atomic_load_explicit(&gw_is_trial, memory_order_relaxed))
        gw_count_free();
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

/* Memory for one call, on the stack where little is enough: the system's would take a tenth of a small step's
 * time. */
enum { MOST_LARGE = 6 };

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
