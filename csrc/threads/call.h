/* One call of the core: what its threads share, and how a signal ends it.
 *
 * Python runs the handlers of signals between two steps of its own, and a call of the core may take minutes.
 * So the loops announce their work. After so much of it the calling thread looks at the clock, and some times
 * a second it asks a function that Python has set. When that says so, all threads leave their loops, and what
 * the call was to write is worth nothing.
 */
#ifndef GATEWISE_CALL_H
#define GATEWISE_CALL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "gatewise.h"
#include "vectors/float_state.h"

typedef struct gw_call {
    float_state before; /* the caller's */
    int may_end;
    atomic_int status;     /* anything but GW_OK ends it */
    int64_t next_question; /* in nanoseconds; 0 until the clock is first read */
} gw_call;

/* One thread's view of a call. */
struct gw_watch {
    gw_call *call;
    ptrdiff_t work_left; /* until this thread looks up; nothing once the call is to end */
    int asks;            /* the calling thread alone */
};

/* Multiply-adds between two looks: a millisecond or less, and thousands of times what a look takes. */
enum { GW_LOOK_WORK = 1 << 22 };

static inline gw_watch gw_watch_call(gw_call *call, int is_caller) {
    const gw_watch watch = {call, GW_LOOK_WORK, is_caller && call->may_end};
    return watch;
}

/* Begins a call in the thread that makes it, whose view it returns. Until gw_close denormals count as zero
 * there. With `may_end` of 0 no signal ends it: that is for a call that works in place, and whose work would
 * be half done. */
static inline gw_watch gw_open(gw_call *call, int may_end) {
    call->before = flush_denormals();
    call->may_end = may_end;
    atomic_init(&call->status, GW_OK);
    call->next_question = 0;
    return gw_watch_call(call, 1);
}

/* What the call returns, if all that it did gave `status`. */
static inline gw_status gw_close(gw_call *call, gw_status status) {
    restore_float_state(call->before);
    const gw_status ended = (gw_status)atomic_load_explicit(&call->status, memory_order_relaxed);
    return ended == GW_OK ? status : ended;
}

int gw_look_up(gw_watch *watch);

/* Announces work of so many multiply-adds, or what takes as long; 0 where it is not to be done, since the
 * call is to end. */
static inline int gw_goes_on(gw_watch *watch, ptrdiff_t work) {
    watch->work_left -= work;
    return watch->work_left > 0 || gw_look_up(watch);
}

/* Sets the function that calls ask; it says whether the call is to end. It runs in the thread that calls and
 * with its floating-point state, and may itself call the core. */
void gw_set_question(int (*ask)(void));

/* Asks some times a second whether a loop over calls is to end, which may be too short to ask themselves. The
 * time of `next_question` is 0 at first. */
int gw_is_to_end(int64_t *next_question);

/* In nanoseconds, from any beginning. */
int64_t gw_now(void);

#endif
