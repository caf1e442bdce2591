/* A team of threads that runs one task at a time.
 *
 * Workers are started when first needed. They spin for some microseconds after a task, since the next one
 * is often close, and then sleep; nothing spins while the process is idle. A child process after fork()
 * starts with no workers of its own.
 */
#ifndef GATEWISE_THREADS_H
#define GATEWISE_THREADS_H

#include <stdatomic.h>

enum { GW_MOST_THREADS = 64 };

/* Where the members of a team wait for each other. */
typedef struct gw_barrier {
    atomic_int waiting, round;
} gw_barrier;

/* One member's place in its team. */
typedef struct gw_member {
    int thread, threads;
    gw_barrier *barrier;
} gw_member;

typedef void gw_task(void *context, gw_member member);

/* Runs `task` once in each of up to `threads` threads, the calling one among them, and returns when all are
 * done. Where the workers are busy with another caller's task, or cannot be had, the team is the caller
 * alone: a task must ask its member how many there are. */
void gw_run(gw_task *task, void *context, int threads);

void gw_barrier_wait(gw_member member);

#endif
