#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif

#include "threads/call.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <time.h>
#endif

#define MILLISECOND INT64_C(1000000)

enum {
    /* From one question to the next, in milliseconds. */
    PERIOD = 50,
    /* A question may have to wait for other threads of Python's. So that it takes little of the time, the
     * next one waits so many times as long as this one took, but not for more than so many milliseconds. */
    PATIENCE = 20,
    MOST_PATIENCE = 100
};

static int (*ask)(void);

void gw_set_question(int (*question)(void)) { ask = question; }

int64_t gw_now(void) {
#if defined(_WIN32)
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (int64_t)((double)count.QuadPart * 1e9 / (double)frequency.QuadPart);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * MILLISECOND + now.tv_nsec;
#endif
}

static int is_time_to_ask(gw_call *call, int64_t now) {
    if (!call->next_question)
        call->next_question = now + PERIOD * MILLISECOND;
    return now >= call->next_question;
}

static void ask_question(gw_call *call, int64_t now) {
    const float_state ours = flush_denormals();
    restore_float_state(call->before);
    int status = GW_OK;
    if (ask())
        atomic_compare_exchange_strong(&call->status, &status, GW_INTERRUPTED);
    call->before = flush_denormals();
    restore_float_state(ours);
    const int64_t end = gw_now(), wait = (end - now) * PATIENCE, most = MOST_PATIENCE * MILLISECOND;
    call->next_question = end + PERIOD * MILLISECOND + (wait < most ? wait : most);
}

int gw_look_up(gw_watch *watch) {
    gw_call *call = watch->call;
    if (watch->asks && ask && atomic_load_explicit(&call->status, memory_order_relaxed) == GW_OK) {
        const int64_t now = gw_now();
        if (is_time_to_ask(call, now))
            ask_question(call, now);
    }
    watch->work_left = atomic_load_explicit(&call->status, memory_order_relaxed) == GW_OK ? GW_LOOK_WORK : 0;
    return watch->work_left > 0;
}
