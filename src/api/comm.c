/*
 * Communicators. Path: here, elastic/world.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/check.h"
#include "api/context.h"
#include "core/log.h"
#include "elastic/launch_env.h"
#include "elastic/world.h"

static enum shoal_status join(struct shoal_context *context,
                              const struct shoal_comm_options *options, struct shoal_comm **comm)
{
    const struct shl_config *config = &context->config;
    struct shl_world_options world = {
        .config = config,
        .heap = context->heap,
        .memory = context->memory,
        .rank = options->rank,
        .size = options->size,
        .rendezvous = options->rendezvous ? options->rendezvous : config->rendezvous,
        .job = options->job ? options->job : config->job,
        .init_timeout_ms =
            options->init_timeout_ms ? options->init_timeout_ms : config->init_timeout_ms,
        .op_timeout_ms = options->op_timeout_ms ? options->op_timeout_ms : config->timeout_ms};
    if (world.size == 0 || world.rank >= world.size)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u is not below size %u; ranks count from 0",
                        world.rank, world.size);
    if (world.size > 1 && world.rendezvous[0] == '\0')
        return shl_fail(SHOAL_ERR_INVALID,
                        "no rendezvous address for %u ranks; give host:port in the options or in "
                        "SHOAL_RENDEZVOUS",
                        world.size);
    shl_log_set_rank(world.rank);
    SHL_TRY(shl_world_join(&world, comm));
    (*comm)->context = context;
    atomic_fetch_add(&context->comms, 1);
    return SHOAL_OK;
}

enum shoal_status shoal_comm_create(struct shoal_context *context,
                                    const struct shoal_comm_options *options,
                                    struct shoal_comm **comm)
{
    struct shoal_comm_options given = {0};
    SHL_TRY(shl_check_context(context));
    if (!options || !comm)
        return shl_fail(SHOAL_ERR_INVALID, "options or the place for the communicator is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), options));
    return join(context, &given, comm);
}

enum shoal_status shoal_comm_create_from_env(struct shoal_context *context,
                                             struct shoal_comm **comm)
{
    struct shl_launch_env env;
    SHL_TRY(shl_check_context(context));
    if (!comm)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the communicator is NULL");
    SHL_TRY(shl_launch_env_read(&context->config, &env));
    struct shoal_comm_options options = {.struct_size = sizeof(options),
                                         .rank = env.rank,
                                         .size = env.size,
                                         .rendezvous = env.rendezvous,
                                         .job = env.job};
    return join(context, &options, comm);
}

enum shoal_status shoal_comm_split(struct shoal_comm *comm, uint32_t color, int32_t key,
                                   struct shoal_comm **child)
{
    SHL_TRY(shl_check_comm(comm));
    if (!child)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the child communicator is NULL");
    SHL_TRY(shl_world_split(comm, color, key, child));
    if (*child) {
        (*child)->context = comm->context;
        atomic_fetch_add(&comm->context->comms, 1);
    }
    return SHOAL_OK;
}

enum shoal_status shoal_comm_destroy(struct shoal_comm *comm)
{
    if (!comm)
        return SHOAL_OK;
    SHL_TRY(shl_check_comm(comm));
    struct shoal_context *context = comm->context;
    shl_world_leave(comm);
    atomic_fetch_sub(&context->comms, 1); /* From here on the context may be destroyed. */
    return SHOAL_OK;
}

enum shoal_status shoal_comm_abort(struct shoal_comm *comm, const char *reason)
{
    SHL_TRY(shl_check_comm(comm));
    shl_token_take(comm->engine);
    shl_comm_abort(comm, reason ? reason : "no reason was given");
    shl_token_give(comm->engine);
    return SHOAL_OK;
}

uint32_t shoal_comm_rank(const struct shoal_comm *comm)
{
    return comm ? comm->rank : 0;
}

uint32_t shoal_comm_size(const struct shoal_comm *comm)
{
    return comm ? comm->size : 0;
}

enum shoal_status shoal_comm_why(struct shoal_comm *comm, char *text, size_t text_bytes)
{
    SHL_TRY(shl_check_comm(comm));
    if (!text || text_bytes == 0)
        return shl_fail(SHOAL_ERR_INVALID, "no room for the text: %zu bytes at %p", text_bytes,
                        (void *)text);
    shl_token_take(comm->engine);
    shl_why_text(comm, text, text_bytes);
    shl_token_give(comm->engine);
    return SHOAL_OK;
}

enum shoal_status shoal_op_create(struct shoal_comm *comm, const struct shoal_op_options *options,
                                  uint32_t *op)
{
    struct shl_user_op user_op;
    SHL_TRY(shl_check_comm(comm));
    SHL_TRY(shl_check_op(options, op, &user_op));
    shl_token_take(comm->engine);
    uint32_t index = comm->user_op_count;
    if (index < SHL_COMM_USER_OPS) {
        comm->user_ops[index] = user_op;
        comm->user_op_count++;
    }
    shl_token_give(comm->engine);
    if (index == SHL_COMM_USER_OPS)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "a communicator has at most %d user operations",
                        SHL_COMM_USER_OPS);
    *op = SHOAL_OP_USER_FIRST + index;
    return SHOAL_OK;
}
