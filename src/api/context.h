/*
 * The context behind the C ABI, and the checks that every call begins with.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_API_CONTEXT_H
#define SHL_API_CONTEXT_H

#include "core/config.h"
#include "core/heap.h"
#include "core/memory.h"
#include "core/status.h"

#include <pthread.h>
#include <shoal/comm.h>
#include <stdatomic.h>

struct shoal_context {
    struct shl_config config;
    struct shl_heap *heap;
    struct shl_memory *memory; /* allocated and registered */
    atomic_uint comms;
    unsigned fork_generation;
};

/* Counts fork() in this process's ancestry since the library was loaded. */
extern atomic_uint shl_fork_generation;

#define SHL_OPTIONS_BYTES_MAX 4096

/* Copy a caller's options struct, whose size may be of an older or newer header, over defaults.
 * `from` may be NULL. */
enum shoal_status shl_copy_options(void *to, size_t bytes, const void *from);

/* SHOAL_ERR_INVALID when a result cannot go to `to`: it is NULL, or its struct_size is not set. */
enum shoal_status shl_check_struct(const void *to);

/* The way back: fill a caller's struct, as much of it as it has. Checks it, too. */
enum shoal_status shl_give_struct(void *to, const void *from, size_t bytes);

static inline enum shoal_status shl_check_context(const struct shoal_context *context)
{
    if (SHL_UNLIKELY(!context))
        return shl_fail(SHOAL_ERR_INVALID, "context is NULL; create one with "
                                           "shoal_context_create");
    if (SHL_UNLIKELY(context->fork_generation !=
                     atomic_load_explicit(&shl_fork_generation, memory_order_relaxed)))
        return shl_fail(SHOAL_ERR_FORKED, "this context was made before fork(); make a new one in "
                                          "the child");
    return SHOAL_OK;
}

#endif
