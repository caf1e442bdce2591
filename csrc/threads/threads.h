/* A team of threads that runs one task at a time.
 *
 * Nobody waits for a thread that has not come: what its place in the team would have done, another member
 * does. So a call takes hardly longer than alone where the other cores are busy with something else.
 *
 * Workers are started when first needed. They wait awake for some time after a task, since the next one is
 * often close, and then sleep, all but two of them after 50 microseconds; nothing runs while the process is
 * idle. A child process after fork() starts with no workers of its own.
 *
 * Built with GATEWISE_NO_THREADS, for systems that have none, each team is its caller alone.
 */
#ifndef GATEWISE_THREADS_H
#define GATEWISE_THREADS_H

#include "threads/call.h"

enum { GW_MOST_THREADS = 64 };

struct gw_team;

/* One member's place in its team. What follows `watch` is private to gw_run_shares. */
typedef struct gw_member {
    int thread, threads;
    gw_watch *watch;
    struct gw_team *team;
    size_t phase;
    int patience;
} gw_member;

static inline gw_member gw_alone(gw_watch *watch) {
    const gw_member member = {0, 1, watch, NULL, 0, 0};
    return member;
}

typedef void gw_task(void *context, gw_member *member);

/* Runs `task` once for each of `threads` members, the calling thread being the first, and returns when all
 * are done. One thread may run several members, one after the other. Where the workers are busy with another
 * caller's task, the team is the caller alone: a task must ask its member how many there are. */
void gw_run(gw_watch *watch, gw_task *task, void *context, int threads);

/* Share number `index` of `count`. */
typedef void gw_share(const void *context, int index, int count, gw_watch *watch);

/* Runs every share once, in any of the members that are here, and returns when all are done. All members must
 * call this the same number of times, in the same order, and change nothing outside the shares that another
 * member reads. When the call is to end, a member may leave the order between two such calls: the others do
 * its shares. */
void gw_run_shares(gw_member *member, gw_share *share, const void *context);

#endif
