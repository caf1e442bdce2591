# What a long call of the core asks now and then, a part of compiled.pyx: call.h says when.

import threading

cdef extern from "Python.h":
    # Without `except`: the exception stays set until _check finds that the call has ended.
    int PyErr_CheckSignals()
    unsigned long PyThread_get_thread_ident() nogil

# Handlers run in this thread alone.
cdef unsigned long main_thread = threading.main_thread().ident


cdef int _has_handler_raised() noexcept nogil:
    if PyThread_get_thread_ident() != main_thread:
        return False
    with gil:
        return PyErr_CheckSignals() != 0


def _follow_fork():
    """Remember that the thread which forked is its child's main thread."""
    global main_thread
    main_thread = PyThread_get_thread_ident()


gw_set_question(_has_handler_raised)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_follow_fork)
