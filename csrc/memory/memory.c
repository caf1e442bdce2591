#include "memory/memory.h"

atomic_int gw_is_trial;

static atomic_int failing, asked, held;

void gw_try_allocations(int number) {
    atomic_store(&failing, number);
    atomic_store(&asked, 0);
    if (!atomic_exchange(&gw_is_trial, 1))
        atomic_store(&held, 0);
}

void gw_end_trial(void) { atomic_store(&gw_is_trial, 0); }

int gw_allocations_asked(void) { return atomic_load(&asked); }

int gw_allocations_held(void) { return atomic_load(&held); }

int gw_may_allocate(void) {
    if (atomic_fetch_add(&asked, 1) + 1 == atomic_load(&failing))
        return 0;
    atomic_fetch_add(&held, 1);
    return 1;
}

void gw_count_free(void) { atomic_fetch_sub(&held, 1); }
