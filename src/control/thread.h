/*
 * Threads of the library: all signals blocked, named for debuggers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_THREAD_H
#define SHL_CONTROL_THREAD_H

#include "core/status.h"

#include <pthread.h>

/* shl_thread_start - `name` has at most 15 characters. Join it, unless it detaches itself. */
enum shoal_status shl_thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg),
                                   void *arg);

#endif
