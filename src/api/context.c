/*
 * Contexts and memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/context.h"

#include "collectives/select.h"
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

enum shoal_status shl_check_struct(const void *to)
{
    size_t given = 0;
    if (to)
        memcpy(&given, to, sizeof(given));
    if (given < sizeof(given) || given > SHL_OPTIONS_BYTES_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the result is NULL, or its struct_size "
                                           "is not set to its sizeof");
    return SHOAL_OK;
}

enum shoal_status shl_give_struct(void *to, const void *from, size_t bytes)
{
    size_t given;
    SHL_TRY(shl_check_struct(to));
    memcpy(&given, to, sizeof(given));
    size_t rest = (given < bytes ? given : bytes) - sizeof(given);
    memcpy((uint8_t *)to + sizeof(given), (const uint8_t *)from + sizeof(given), rest);
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
    status = shl_forced_check(context->config.algorithm);
    if (status != SHOAL_OK)
        goto free_config;
    shl_log_configure((enum shl_log_level)context->config.log_level, context->config.log_file);
    status = shl_memory_create(&context->memory);
    if (status != SHOAL_OK)
        goto free_config;
    status = shl_heap_create(&context->heap);
    if (status != SHOAL_OK)
        goto free_memory;
    context->fork_generation = atomic_load(&shl_fork_generation);
    *out = context;
    return SHOAL_OK;

free_memory:
    shl_memory_destroy(context->memory);
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
    shl_memory_destroy(context->memory);
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
    void *allocated;
    SHL_TRY(shl_heap_alloc(context->heap, bytes, &allocated));
    enum shoal_status status = shl_memory_add(context->memory, allocated, bytes);
    if (status < 0)
        shl_heap_free(context->heap, allocated);
    else
        *pointer = allocated;
    return status;
}

enum shoal_status shoal_mem_free(struct shoal_context *context, void *pointer)
{
    SHL_TRY(shl_check_context(context));
    /* Devices let go of it before its pages do. */
    if (pointer && shl_heap_offset(context->heap, pointer, 1) != UINT64_MAX)
        SHL_TRY(shl_memory_remove(context->memory, pointer));
    return pointer ? shl_heap_free(context->heap, pointer) : SHOAL_OK;
}

/* Memory of shoal_mem_alloc is kept as it is, from its allocation to its end. */
static bool is_allocated(const struct shoal_context *context, const void *pointer, size_t bytes)
{
    return shl_heap_offset(context->heap, pointer, bytes) != UINT64_MAX;
}

enum shoal_status shoal_mem_register(struct shoal_context *context, void *pointer, size_t bytes)
{
    SHL_TRY(shl_check_context(context));
    if (pointer && bytes && is_allocated(context, pointer, bytes))
        return SHOAL_OK;
    return shl_memory_add(context->memory, pointer, bytes);
}

enum shoal_status shoal_mem_register_dmabuf(struct shoal_context *context, void *pointer,
                                            size_t bytes, int fd, uint64_t offset)
{
    SHL_TRY(shl_check_context(context));
    return shl_memory_add_dmabuf(context->memory, pointer, bytes, fd, offset);
}

enum shoal_status shoal_mem_deregister(struct shoal_context *context, void *pointer)
{
    SHL_TRY(shl_check_context(context));
    if (pointer && is_allocated(context, pointer, 1))
        return SHOAL_OK;
    return shl_memory_remove(context->memory, pointer);
}
