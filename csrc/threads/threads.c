#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif

#include "threads/threads.h"

#if defined(GATEWISE_NO_THREADS)

void gw_run_shares(gw_member *member, gw_share *share, const void *context) {
    share(context, 0, 1, member->watch);
}

void gw_run(gw_watch *watch, gw_task *task, void *context, int threads) {
    (void)threads;
    gw_member alone = gw_alone(watch);
    task(context, &alone);
}

#else

#if defined(_WIN32)
#include <windows.h>
typedef SRWLOCK lock;
typedef CONDITION_VARIABLE condition;
#define LOCK_READY SRWLOCK_INIT
#define CONDITION_READY CONDITION_VARIABLE_INIT
static void acquire(lock *l) { AcquireSRWLockExclusive(l); }
static void release(lock *l) { ReleaseSRWLockExclusive(l); }
static void wait_for(condition *c, lock *l) { SleepConditionVariableSRW(c, l, INFINITE, 0); }
static void wake_all(condition *c) { WakeAllConditionVariable(c); }
static void give_way(void) { SwitchToThread(); }
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
typedef pthread_mutex_t lock;
typedef pthread_cond_t condition;
#define LOCK_READY PTHREAD_MUTEX_INITIALIZER
#define CONDITION_READY PTHREAD_COND_INITIALIZER
static void acquire(lock *l) { pthread_mutex_lock(l); }
static void release(lock *l) { pthread_mutex_unlock(l); }
static void wait_for(condition *c, lock *l) { pthread_cond_wait(c, l); }
static void wake_all(condition *c) { pthread_cond_broadcast(c); }
static void give_way(void) { sched_yield(); }
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#elif defined(__aarch64__) && !defined(_MSC_VER)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

enum {
    /* A waiting thread pauses so often, some tens of microseconds in all, and then gives its core to whoever
     * wants it. */
    PAUSES = 1000,
    /* How long others have, in pauses, to begin their own share of the work. */
    PATIENCE = 100,
    /* How long a worker waits awake for the next task, in nanoseconds: longer than the gap between two calls
     * of a busy loop. Two wait longer, so that a loop with some work of its own finds them awake as well. */
    SHORT_WAIT = 50000,
    LONG_WAIT = 200000,
    MOST_LONG_WAITS = 2
};

/* Counts the pauses. */
static void wait_a_little(int *waited) {
    if (*waited < PAUSES) {
        PAUSE();
        ++*waited;
    } else {
        give_way();
    }
}

/* The same in the midst of a call. */
static void wait_for_others(int *waited, gw_watch *watch) {
    wait_a_little(waited);
    if (*waited == PAUSES)
        gw_goes_on(watch, GW_LOOK_WORK);
}

/* Whether this is the child of a fork in the midst of the call, where there are no others any more. */
static int has_forked(const gw_watch *watch) {
    return atomic_load_explicit(&watch->call->status, memory_order_relaxed) == GW_FORKED;
}

/* Each in a cache line of its own. */
struct seat {
    atomic_size_t phase; /* the last phase whose share of this seat somebody has taken */
    char padding[64 - sizeof(atomic_size_t)];
};

struct gw_team {
    struct seat seats[GW_MOST_THREADS];
    atomic_size_t shares_done; /* in all phases */
};

static int take_share(struct gw_team *team, int seat, size_t phase) {
    size_t last = atomic_load_explicit(&team->seats[seat].phase, memory_order_relaxed);
    return last < phase &&
           atomic_compare_exchange_strong_explicit(&team->seats[seat].phase, &last, phase,
                                                   memory_order_acquire, memory_order_relaxed);
}

static int run_share(gw_member *member, int seat, gw_share *share, const void *context) {
    if (!take_share(member->team, seat, member->phase))
        return 0;
    share(context, seat, member->threads, member->watch);
    atomic_fetch_add_explicit(&member->team->shares_done, 1, memory_order_release);
    return 1;
}

void gw_run_shares(gw_member *member, gw_share *share, const void *context) {
    if (member->threads == 1) {
        share(context, 0, 1, member->watch);
        return;
    }
    member->phase++;
    const size_t goal = member->phase * (size_t)member->threads;
    run_share(member, member->thread, share, context);
    int helped = 0;
    for (int waited = 0; atomic_load_explicit(&member->team->shares_done, memory_order_acquire) < goal;) {
        if (waited >= member->patience)
            for (int seat = 0; seat < member->threads; seat++)
                helped |= run_share(member, seat, share, context);
        wait_for_others(&waited, member->watch);
        if (has_forked(member->watch))
            return;
    }
    /* Who did not come in this phase is not expected in the next. */
    member->patience = helped ? 0 : PATIENCE;
}

static struct {
    atomic_flag busy; /* one task at a time */
    lock lock;
    condition work;
    atomic_int sleeping, long_waits;
    int workers; /* started so far */
    /* The task at hand, if `call` is not NULL. Seats are taken from the last to the first. */
    atomic_int free_seats, working;
    gw_call *call;
    gw_task *task;
    void *context;
    int threads;
    struct gw_team team;
} pool = {.busy = ATOMIC_FLAG_INIT, .lock = LOCK_READY, .work = CONDITION_READY};

/* Takes part in the task as the next member, if there still is one to be. */
static int join(gw_watch *watch) {
    int free_seats = atomic_load(&pool.free_seats);
    do {
        if (free_seats == 0)
            return 0;
    } while (!atomic_compare_exchange_weak(&pool.free_seats, &free_seats, free_seats - 1));
    gw_watch own;
    if (!watch) {
        own = gw_watch_call(pool.call, 0);
        watch = &own;
    }
    gw_member member = {free_seats, pool.threads, watch, &pool.team, 0, PATIENCE};
    pool.task(pool.context, &member);
    atomic_fetch_sub(&pool.working, 1);
    return 1;
}

static void sleep_until_called(void) {
    acquire(&pool.lock);
    atomic_fetch_add(&pool.sleeping, 1);
    while (atomic_load(&pool.free_seats) == 0)
        wait_for(&pool.work, &pool.lock);
    atomic_fetch_sub(&pool.sleeping, 1);
    release(&pool.lock);
}

/* Waits awake for the next task; 0 where none has come by `end`. */
static int wait_until(int64_t end, int *waited) {
    while (atomic_load(&pool.free_seats) == 0) {
        if (gw_now() >= end)
            return 0;
        wait_a_little(waited);
    }
    return 1;
}

static int wait_awake(void) {
    const int64_t start = gw_now();
    int waited = 0;
    if (wait_until(start + SHORT_WAIT, &waited))
        return 1;
    const int may_go_on = atomic_fetch_add(&pool.long_waits, 1) < MOST_LONG_WAITS;
    const int called = may_go_on && wait_until(start + LONG_WAIT, &waited);
    atomic_fetch_sub(&pool.long_waits, 1);
    return called;
}

static void work(void) {
    flush_denormals();
    for (;;) {
        while (join(NULL))
            ;
        if (!wait_awake())
            sleep_until_called();
    }
}

#if defined(_WIN32)
static DWORD WINAPI begin(void *argument) {
    (void)argument;
    work();
    return 0;
}

static int start_worker(void) {
    const HANDLE thread = CreateThread(NULL, 0, begin, NULL, 0, NULL);
    if (thread)
        CloseHandle(thread);
    return thread != NULL;
}
#else
static void *begin(void *argument) {
    work();
    return argument;
}

/* The child has only the thread that called fork(). If that was the handler of a signal, in the midst of a
 * call, nobody does what the workers have begun. */
static void forget_workers(void) {
    if (pool.call)
        atomic_store(&pool.call->status, GW_FORKED);
    pool.call = NULL;
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pool.workers = 0;
    atomic_store(&pool.sleeping, 0);
    atomic_store(&pool.long_waits, 0);
    atomic_store(&pool.free_seats, 0);
    atomic_store(&pool.working, 0);
    atomic_flag_clear(&pool.busy);
}

static int start_worker(void) {
    static int registered;
    if (!registered && pthread_atfork(NULL, NULL, forget_workers))
        return 0;
    registered = 1;
    /* Signals are for the threads of the program. */
    sigset_t all, before;
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes))
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&thread, &attributes, begin, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}
#endif

void gw_run(gw_watch *watch, gw_task *task, void *context, int threads) {
    if (threads > GW_MOST_THREADS)
        threads = GW_MOST_THREADS;
    if (threads < 2 || atomic_flag_test_and_set(&pool.busy)) {
        gw_member alone = gw_alone(watch);
        task(context, &alone);
        return;
    }
    while (pool.workers < threads - 1 && start_worker())
        pool.workers++;
    pool.call = watch->call;
    pool.task = task;
    pool.context = context;
    pool.threads = threads;
    for (int seat = 0; seat < threads; seat++)
        atomic_store_explicit(&pool.team.seats[seat].phase, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.team.shares_done, 0, memory_order_relaxed);
    atomic_store(&pool.working, threads - 1);
    atomic_store(&pool.free_seats, threads - 1);
    if (atomic_load(&pool.sleeping)) {
        acquire(&pool.lock);
        wake_all(&pool.work);
        release(&pool.lock);
    }
    gw_member first = {0, threads, watch, &pool.team, 0, PATIENCE};
    task(context, &first);
    /* What nobody has come for is done here. */
    while (!has_forked(watch) && join(watch))
        ;
    for (int waited = 0; !has_forked(watch) && atomic_load(&pool.working);)
        wait_for_others(&waited, watch);
    if (has_forked(watch))
        return;
    pool.call = NULL;
    atomic_flag_clear(&pool.busy);
}

#endif
