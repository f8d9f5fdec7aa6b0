/*
 * Contexts and memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/context.h"

#include "core/log.h"
#include "core/sys.h"

#include <string.h>

atomic_uint shl_fork_generation;

static void count_fork(void)
{
    atomic_fetch_add(&shl_fork_generation, 1);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

enum shoal_status shl_copy_options(void *to, size_t bytes, const void *from)
{
    if (!from)
        return SHOAL_OK;
    size_t given;
    memcpy(&given, from, sizeof(given));
    if (given < sizeof(given) || given > SHL_OPTIONS_BYTES_MAX)
        return shl_fail(SHOAL_ERR_INVALID,
                        "struct_size is %zu; set it to the sizeof of the options struct", given);
    memcpy(to, from, given < bytes ? given : bytes);
    return SHOAL_OK;
}

enum shoal_status shoal_context_create(const struct shoal_context_options *options,
                                       struct shoal_context **out)
{
    struct shoal_context_options given = {0};
    if (!out)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the context is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), options));
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    struct shl_config_options sources = {.file = given.config_file,
                                         .settings = given.settings,
                                         .setting_count = given.setting_count};
    struct shoal_context *context = shl_mem->alloc(sizeof(*context));
    if (!context)
        return shl_fail_errno("cannot allocate a context");
    enum shoal_status status = shl_config_load(&sources, &context->config);
    if (status != SHOAL_OK)
        goto free_context;
    shl_log_configure((enum shl_log_level)context->config.log_level, context->config.log_file);
    status = shl_heap_create(&context->heap);
    if (status != SHOAL_OK)
        goto free_config;
    pthread_mutex_init(&context->lock, NULL);
    context->fork_generation = atomic_load(&shl_fork_generation);
    *out = context;
    return SHOAL_OK;

free_config:
    shl_config_free(&context->config);
free_context:
    shl_mem->free(context);
    return status;
}

enum shoal_status shoal_context_destroy(struct shoal_context *context)
{
    if (!context)
        return SHOAL_OK;
    SHL_TRY(shl_check_context(context));
    unsigned comms = atomic_load(&context->comms);
    size_t ranges = shl_heap_in_use(context->heap);
    if (comms > 0 || ranges > 0)
        return shl_fail(SHOAL_ERR_BUSY,
                        "%u communicators and %zu allocations of this context are left; destroy "
                        "and free them first",
                        comms, ranges);
    shl_heap_destroy(context->heap);
    pthread_mutex_destroy(&context->lock);
    shl_mem->free(context->registered);
    shl_config_free(&context->config);
    shl_mem->free(context);
    return SHOAL_OK;
}

enum shoal_status shoal_mem_alloc(struct shoal_context *context, size_t bytes, void **pointer)
{
    SHL_TRY(shl_check_context(context));
    if (!pointer || bytes == 0)
        return shl_fail(SHOAL_ERR_INVALID,
                        "cannot allocate %zu bytes at %p; give a size above 0 "
                        "and a place for the pointer",
                        bytes, (void *)pointer);
    return shl_heap_alloc(context->heap, bytes, pointer);
}

enum shoal_status shoal_mem_free(struct shoal_context *context, void *pointer)
{
    SHL_TRY(shl_check_context(context));
    return pointer ? shl_heap_free(context->heap, pointer) : SHOAL_OK;
}

static bool overlaps(const struct shoal_context *context, uintptr_t start, uintptr_t end)
{
    for (uint32_t i = 0; i < context->registered_count; i++)
        if (start < context->registered[i].end && context->registered[i].start < end)
            return true;
    return false;
}

static enum shoal_status add_range(struct shoal_context *context, uintptr_t start, uintptr_t end)
{
    if (overlaps(context, start, end))
        return shl_fail(SHOAL_ERR_INVALID,
                        "[%#zx, %#zx) overlaps memory that is registered "
                        "already; deregister that first",
                        (size_t)start, (size_t)end);
    if (context->registered_count == context->registered_capacity) {
        uint32_t capacity = context->registered_capacity ? context->registered_capacity * 2 : 16;
        struct shl_range *grown =
            shl_mem->resize(context->registered, capacity * sizeof(*context->registered));
        if (!grown)
            return shl_fail_errno("cannot remember another registration");
        context->registered = grown;
        context->registered_capacity = capacity;
    }
    context->registered[context->registered_count++] = (struct shl_range){start, end};
    return SHOAL_OK;
}

enum shoal_status shoal_mem_register(struct shoal_context *context, void *pointer, size_t bytes)
{
    SHL_TRY(shl_check_context(context));
    uintptr_t start = (uintptr_t)pointer;
    if (!pointer || bytes == 0 || start + bytes < start)
        return shl_fail(SHOAL_ERR_INVALID, "cannot register %zu bytes at %p", bytes, pointer);
    pthread_mutex_lock(&context->lock);
    enum shoal_status status = add_range(context, start, start + bytes);
    pthread_mutex_unlock(&context->lock);
    return status;
}

enum shoal_status shoal_mem_deregister(struct shoal_context *context, void *pointer)
{
    SHL_TRY(shl_check_context(context));
    enum shoal_status status = SHOAL_ERR_INVALID;
    pthread_mutex_lock(&context->lock);
    for (uint32_t i = 0; i < context->registered_count && status != SHOAL_OK; i++) {
        if (context->registered[i].start != (uintptr_t)pointer)
            continue;
        context->registered[i] = context->registered[--context->registered_count];
        status = SHOAL_OK;
    }
    pthread_mutex_unlock(&context->lock);
    if (status != SHOAL_OK)
        return shl_fail(status, "%p is not the start of registered memory", pointer);
    return SHOAL_OK;
}
