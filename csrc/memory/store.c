#if defined(__linux__)
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "memory/store.h"

#include <stdatomic.h>
#include <string.h>

#include "memory/memory.h"
#include "threads/call.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

enum { MOST_BLOCKS = 16 };
#define MOST_BYTES ((size_t)128 << 20)
/* How long gw_release waits for the store, in nanoseconds. */
#define MOST_WAIT INT64_C(100000000)
#define PAGE_BYTES ((size_t)4096)
/* The system may back blocks from this size on with pages of 2 MB. */
#define HUGE_BYTES ((size_t)4 << 20)

struct block {
    void *memory;
    size_t size;
};

static struct {
    atomic_flag taken;
    int count;
    size_t bytes;
    struct block blocks[MOST_BLOCKS]; /* the one that has waited longest first */
    /* Of blocks that have not been given back; and the most that this ever was. */
    atomic_size_t lent, most_lent;
} store = {.taken = ATOMIC_FLAG_INIT};

/* Nobody waits long for the store: whoever finds it taken does without it. So a child of fork() that was born
 * while it was taken is no worse off than without a store. */
static int enter(void) { return !atomic_flag_test_and_set_explicit(&store.taken, memory_order_acquire); }

static void leave(void) { atomic_flag_clear_explicit(&store.taken, memory_order_release); }

static struct block remove_block(int index) {
    const struct block block = store.blocks[index];
    store.count--;
    store.bytes -= block.size;
    memmove(store.blocks + index, store.blocks + index + 1, (size_t)(store.count - index) * sizeof block);
    return block;
}

/* The block last given back of those that are large enough and not much larger. */
static int find(size_t size) {
    int index = store.count - 1;
    while (index >= 0 && (store.blocks[index].size < size || store.blocks[index].size > size / 4 * 5))
        index--;
    return index;
}

/* How many bytes may wait. Where the system can be told that it may take them at any time, these are more than
 * MOST_BYTES: a quarter of the machine's memory, but never more than were once lent at the same time. */
static size_t most_bytes(void) {
#if defined(MADV_FREE)
    const size_t lent = atomic_load(&store.lent), most_lent = atomic_load(&store.most_lent);
    const size_t idle = most_lent > lent ? most_lent - lent : 0;
    const long pages = sysconf(_SC_PHYS_PAGES);
    const size_t quarter = pages > 0 ? (size_t)pages / 4 * PAGE_BYTES : 0,
                 most = idle < quarter ? idle : quarter;
    return most > MOST_BYTES ? most : MOST_BYTES;
#else
    return MOST_BYTES;
#endif
}

/* Memory of blocks is lent, or given back. */
static void count_lent(size_t lent, size_t given_back) {
    const size_t now = atomic_fetch_add(&store.lent, lent - given_back) + lent - given_back;
    size_t most = atomic_load(&store.most_lent);
    while (now > most && !atomic_compare_exchange_weak(&store.most_lent, &most, now))
        ;
}

#if defined(MADV_HUGEPAGE) || defined(MADV_FREE)
/* Of the whole pages of a block. */
static void advise(struct block block, int advice) {
    char *const start = block.memory;
    const size_t skipped = (PAGE_BYTES - (size_t)start % PAGE_BYTES) % PAGE_BYTES;
    madvise(start + skipped, (block.size - skipped) / PAGE_BYTES * PAGE_BYTES, advice);
}
#endif

void gw_make_huge(void *memory, size_t size) {
#if defined(MADV_HUGEPAGE)
    if (memory && size >= HUGE_BYTES)
        advise((struct block){memory, size}, MADV_HUGEPAGE);
#else
    (void)memory, (void)size;
#endif
}

void *gw_take(size_t *size) {
    struct block block = {NULL, (*size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES};
    if (enter()) {
        const int index = find(block.size);
        if (index >= 0)
            block = remove_block(index);
        leave();
    }
    if (!block.memory) {
        block.memory = gw_allocate(block.size);
#if defined(MADV_HUGEPAGE)
        if (block.memory && block.size >= HUGE_BYTES)
            advise(block, MADV_HUGEPAGE);
#endif
    }
    if (block.memory)
        count_lent(block.size, 0);
    *size = block.size;
    return block.memory;
}

void gw_give_back(void *memory, size_t size) {
    count_lent(0, size);
    const size_t most = size < HUGE_BYTES ? MOST_BYTES : most_bytes();
    if (size > most || !enter()) {
        gw_free(memory);
        return;
    }
    while (store.count == MOST_BLOCKS || store.bytes + size > most)
        gw_free(remove_block(0).memory);
    store.blocks[store.count++] = (struct block){memory, size};
    store.bytes += size;
#if defined(MADV_FREE)
    if (store.bytes > MOST_BYTES)
        advise((struct block){memory, size}, MADV_FREE);
#endif
    leave();
}

size_t gw_release(void) {
    const int64_t end = gw_now() + MOST_WAIT;
    while (!enter())
        if (gw_now() >= end)
            return 0;
    struct block blocks[MOST_BLOCKS];
    const int count = store.count;
    const size_t bytes = store.bytes;
    memcpy(blocks, store.blocks, sizeof blocks);
    store.count = 0;
    store.bytes = 0;
    atomic_store(&store.most_lent, atomic_load(&store.lent));
    leave();
    for (int index = 0; index < count; index++)
        gw_free(blocks[index].memory);
#if defined(__GLIBC__)
    /* Which may keep what it is given. */
    malloc_trim(0);
#endif
    return bytes;
}
