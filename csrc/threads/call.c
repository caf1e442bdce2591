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

int gw_is_to_end(int64_t *next_question) {
    const int64_t begin = gw_now();
    if (!*next_question)
        *next_question = begin + PERIOD * MILLISECOND;
    if (!ask || begin < *next_question)
        return 0;
    const int answer = ask();
    const int64_t end = gw_now(), wait = (end - begin) * PATIENCE, most = MOST_PATIENCE * MILLISECOND;
    *next_question = end + PERIOD * MILLISECOND + (wait < most ? wait : most);
    return answer;
}

/* Asks in the caller's floating-point state, which a handler may change. */
static void ask_if_it_is_time(gw_call *call) {
    const float_state ours = flush_denormals();
    restore_float_state(call->before);
    int status = GW_OK;
    if (gw_is_to_end(&call->next_question))
        atomic_compare_exchange_strong(&call->status, &status, GW_INTERRUPTED);
    call->before = flush_denormals();
    restore_float_state(ours);
}

int gw_look_up(gw_watch *watch) {
    gw_call *call = watch->call;
    if (watch->asks && atomic_load_explicit(&call->status, memory_order_relaxed) == GW_OK)
        ask_if_it_is_time(call);
    watch->work_left = atomic_load_explicit(&call->status, memory_order_relaxed) == GW_OK ? GW_LOOK_WORK : 0;
    return watch->work_left > 0;
}
