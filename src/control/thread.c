/*
 * Starting a thread that no signal of the application is ever delivered to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/thread.h"

#include <errno.h>
#include <signal.h>

enum shoal_status shl_thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg),
                                   void *arg)
{
    sigset_t all, before;
    pthread_t started;
    sigfillset(&all);
    /* The new thread inherits the mask, so there is no moment at which it takes a signal. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&started, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        errno = error;
        return shl_fail_errno("cannot start thread %s; check `ulimit -u` and the cgroup's pids.max",
                              name);
    }
    pthread_setname_np(started, name);
    *thread = started;
    return SHOAL_OK;
}
