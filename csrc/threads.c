#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif

#include "threads.h"

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
    /* Some tens of microseconds: longer than the gap between two calls of a busy loop. */
    SPINS = 2000,
    /* Between the steps of one task the others come soon, unless they have lost their core. */
    BARRIER_SPINS = 1000
};

static struct {
    atomic_flag taken; /* one task at a time */
    lock lock;
    condition work, done;
    int workers; /* started so far */
    /* The task at hand; `round` changes when there is a new one. */
    atomic_int round, left;
    gw_task *task;
    void *context;
    int threads;
    gw_barrier barrier;
} pool = {.taken = ATOMIC_FLAG_INIT, .lock = LOCK_READY, .work = CONDITION_READY, .done = CONDITION_READY};

void gw_barrier_wait(gw_member member) {
    if (member.threads == 1)
        return;
    gw_barrier *barrier = member.barrier;
    const int round = atomic_load_explicit(&barrier->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->waiting, 1, memory_order_acq_rel) == member.threads - 1) {
        atomic_store_explicit(&barrier->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->round, round + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&barrier->round, memory_order_acquire) == round; spins++) {
        if (spins < BARRIER_SPINS)
            PAUSE();
        else
            give_way();
    }
}

/* A worker's number, and the last round that came before it. */
static struct worker {
    int thread, seen;
} workers[GW_MOST_THREADS];

static void work(const struct worker *self) {
    int seen = self->seen;
    for (;;) {
        for (int spins = 0; spins < SPINS && atomic_load(&pool.round) == seen; spins++)
            PAUSE();
        acquire(&pool.lock);
        while (atomic_load(&pool.round) == seen)
            wait_for(&pool.work, &pool.lock);
        seen = atomic_load(&pool.round);
        gw_task *task = pool.task;
        void *context = pool.context;
        const int threads = pool.threads;
        release(&pool.lock);
        if (self->thread >= threads)
            continue;
        task(context, (gw_member){self->thread, threads, &pool.barrier});
        if (atomic_fetch_sub(&pool.left, 1) == 1) {
            acquire(&pool.lock);
            wake_all(&pool.done);
            release(&pool.lock);
        }
    }
}

#if defined(_WIN32)
static DWORD WINAPI begin(void *argument) {
    work(argument);
    return 0;
}

static int start(struct worker *worker) {
    const HANDLE thread = CreateThread(NULL, 0, begin, worker, 0, NULL);
    if (thread)
        CloseHandle(thread);
    return thread != NULL;
}
#else
static void *begin(void *argument) {
    work(argument);
    return NULL;
}

/* The child has only the thread that called fork(). */
static void forget_workers(void) {
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.workers = 0;
    atomic_store(&pool.left, 0);
    atomic_flag_clear(&pool.taken);
}

static int start(struct worker *worker) {
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
    const int failed = pthread_create(&thread, &attributes, begin, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}
#endif

/* Starts workers until there are `wanted`, with the pool's lock held; the number there are. */
static int start_workers(int wanted) {
    while (pool.workers < wanted) {
        struct worker *worker = &workers[pool.workers];
        worker->thread = pool.workers + 1;
        worker->seen = atomic_load(&pool.round);
        if (!start(worker))
            break;
        pool.workers++;
    }
    return pool.workers < wanted ? pool.workers : wanted;
}

void gw_run(gw_task *task, void *context, int threads) {
    const gw_member alone = {0, 1, NULL};
    if (threads > GW_MOST_THREADS)
        threads = GW_MOST_THREADS;
    if (threads < 2 || atomic_flag_test_and_set(&pool.taken)) {
        task(context, alone);
        return;
    }
    acquire(&pool.lock);
    threads = start_workers(threads - 1) + 1;
    pool.task = task;
    pool.context = context;
    pool.threads = threads;
    atomic_store(&pool.barrier.waiting, 0);
    atomic_store(&pool.left, threads - 1);
    atomic_fetch_add(&pool.round, 1);
    wake_all(&pool.work);
    release(&pool.lock);
    task(context, (gw_member){0, threads, &pool.barrier});
    for (int spins = 0; spins < BARRIER_SPINS && atomic_load(&pool.left); spins++)
        PAUSE();
    acquire(&pool.lock);
    while (atomic_load(&pool.left))
        wait_for(&pool.done, &pool.lock);
    release(&pool.lock);
    atomic_flag_clear(&pool.taken);
}
