/*
 * Communicators inside the engine: members, hosts, the shared-memory group, what is allocated once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/comm.h"

#include "core/array.h"
#include "core/sys.h"
#include "engine/ways.h"
#include "engine/window.h"
#include "transport/hook/hook.h"

#include <string.h>

#define STREAM_BYTES (4ull << 20) /* measured, see docs/benchmarks.md */
#define BOUNCE_BYTES 65536        /* for each member: what a pull brings into the cache at a time */

struct shoal_comm *shl_comm_find(struct shl_engine *engine, uint32_t id)
{
    for (struct shl_list *node = engine->comms.next; node != &engine->comms; node = node->next) {
        struct shoal_comm *comm = SHL_CONTAINER_OF(node, struct shoal_comm, link);
        if (comm->id == id)
            return comm;
    }
    return NULL;
}

const struct shl_user_op *shl_comm_user_op(const struct shoal_comm *comm, uint32_t op)
{
    if (op < SHOAL_OP_USER_FIRST || op - SHOAL_OP_USER_FIRST >= comm->user_op_count)
        return NULL;
    return &comm->user_ops[op - SHOAL_OP_USER_FIRST];
}

static enum shoal_status fill_members(struct shoal_comm *comm,
                                      const struct shl_comm_options *options, uint32_t world_size)
{
    uint32_t size = options->size;
    comm->members = shl_mem->alloc(size * sizeof(uint32_t));
    comm->rank_of = shl_mem->alloc(world_size * sizeof(uint32_t));
    comm->host_of = shl_mem->alloc(size * sizeof(uint32_t));
    comm->told_seq = shl_mem->alloc(size * sizeof(uint64_t));
    comm->left_seq = shl_mem->alloc(size * sizeof(uint64_t));
    if (!comm->members || !comm->rank_of || !comm->host_of || !comm->told_seq || !comm->left_seq)
        return shl_fail_errno("cannot allocate a communicator of %u ranks", size);
    memset(comm->rank_of, 0xff, world_size * sizeof(uint32_t));
    memset(comm->left_seq, 0xff, size * sizeof(uint64_t));
    comm->hosts.rank_count = size;
    comm->hosts.host_of = comm->host_of;
    for (uint32_t i = 0; i < size; i++) {
        comm->members[i] = options->members[i];
        comm->rank_of[options->members[i]] = i;
        comm->host_of[i] = i; /* until shl_comm_set_hosts */
    }
    comm->hosts.host_count = size;
    return SHOAL_OK;
}

static enum shoal_status fill_requests(struct shoal_comm *comm)
{
    for (uint32_t i = 0; i < SHL_COMM_REQUESTS; i++) {
        struct shoal_request *request = shl_mem->alloc(sizeof(*request) + SHL_ENGINE_TEXT);
        if (!request)
            return shl_fail_errno("cannot allocate requests");
        request->comm = comm;
        request->text = (char *)(request + 1);
        shl_list_append(&comm->free_requests, &request->link);
    }
    return SHOAL_OK;
}

enum shoal_status shl_comm_create(struct shl_engine *engine, const struct shl_comm_options *options,
                                  struct shoal_comm **out)
{
    struct shoal_comm *comm = shl_mem->alloc(sizeof(*comm));
    if (!comm)
        return shl_fail_errno("cannot allocate a communicator");
    comm->engine = engine;
    comm->id = options->id;
    comm->rank = options->rank;
    comm->size = options->size;
    comm->op_timeout_ms = options->op_timeout_ms;
    comm->origin_id = options->origin_id;
    comm->origin_seq = options->origin_seq;
    comm->next_seq = 1;
    shl_list_init(&comm->link);
    shl_list_init(&comm->ops);
    shl_list_init(&comm->free_requests);
    shl_list_init(&comm->incidents);
    enum shoal_status status = fill_members(comm, options, engine->size);
    if (status == SHOAL_OK)
        status = fill_requests(comm);
    if (status != SHOAL_OK) {
        shl_comm_free(comm);
        return status;
    }
    shl_list_append(&engine->comms, &comm->link);
    /* A member may have been lost before this rank got here. */
    for (uint32_t i = 0; i < comm->size; i++)
        if (engine->peers[comm->members[i]].lost)
            shl_incident_lost(engine, comm->members[i]);
    shl_incident_adopt_orphans(engine);
    if (engine->is_cut)
        shl_comm_break(comm, 0, SHOAL_ERR_ABORTED, "the world was given up while it was formed");
    *out = comm;
    return SHOAL_OK;
}

bool shl_comm_can_group(const struct shoal_comm *comm)
{
    const struct shl_engine *engine = comm->engine;
    if (comm->size < 2)
        return false;
    for (uint32_t i = 0; i < comm->size; i++) {
        uint32_t peer = comm->members[i];
        if (peer != engine->rank && strcmp(shl_engine_ops(engine, peer)->name, "shm") != 0)
            return false;
    }
    return true;
}

enum shoal_status shl_comm_reserve_group(struct shoal_comm *comm, uint64_t *slots_offset,
                                         uint64_t *window_offset)
{
    uint32_t other = comm->members[comm->rank == 0 ? 1 : 0];
    comm->group_transport = shl_hook_inner(shl_engine_ops(comm->engine, other),
                                           shl_engine_transport(comm->engine, other));
    SHL_TRY(shl_group_reserve(comm->group_transport, &comm->slots_offset));
    comm->slots_reserved = true;
    SHL_TRY(shl_window_reserve(comm, window_offset));
    *slots_offset = comm->slots_offset;
    return SHOAL_OK;
}

enum shoal_status shl_comm_join_group(struct shoal_comm *comm, const uint64_t *slots_offsets,
                                      const uint64_t *window_offsets)
{
    comm->bounce_bytes = BOUNCE_BYTES;
    comm->bounce = shl_mem->alloc_aligned(4096, comm->size * comm->bounce_bytes);
    comm->inputs = shl_mem->alloc(comm->size * sizeof(*comm->inputs));
    comm->outputs = shl_mem->alloc(comm->size * sizeof(*comm->outputs));
    comm->in_address = shl_mem->alloc(comm->size * sizeof(*comm->in_address));
    comm->out_address = shl_mem->alloc(comm->size * sizeof(*comm->out_address));
    comm->piece_inputs = shl_mem->alloc(comm->size * sizeof(*comm->piece_inputs));
    comm->piece_outputs = shl_mem->alloc(comm->size * sizeof(*comm->piece_outputs));
    comm->windows = shl_mem->alloc(comm->size * sizeof(*comm->windows));
    uint64_t nt_bytes = comm->engine->config->nt_bytes;
    comm->stream_bytes = nt_bytes ? nt_bytes : STREAM_BYTES;
    if (!comm->bounce || !comm->inputs || !comm->outputs || !comm->in_address ||
        !comm->out_address || !comm->piece_inputs || !comm->piece_outputs || !comm->windows)
        return shl_fail_errno("cannot allocate the group of %u ranks", comm->size);
    SHL_TRY(shl_ways_create(&comm->ways));
    SHL_TRY(shl_group_create(comm->group_transport, comm->members, comm->size, comm->rank,
                             slots_offsets, &comm->joined));
    return shl_window_map(comm, window_offsets);
}

static void leave_group(struct shoal_comm *comm)
{
    if (comm->group)
        shl_group_destroy(comm->group);
    if (comm->joined)
        shl_group_destroy(comm->joined);
    if (comm->slots_reserved)
        shl_group_unreserve(comm->group_transport, comm->slots_offset);
    shl_window_release(comm);
    comm->group = comm->joined = NULL;
    comm->slots_reserved = false;
}

void shl_comm_enable_group(struct shoal_comm *comm, bool enable)
{
    if (!enable) {
        leave_group(comm);
        return;
    }
    comm->group = comm->joined;
    comm->joined = NULL;
    /* Operations before this one did not use the slots. */
    shl_group_finish(comm->group, comm->next_seq - 1);
}

void shl_comm_set_hosts(struct shoal_comm *comm, const uint32_t *host_of)
{
    comm->hosts.host_count = 0;
    for (uint32_t i = 0; i < comm->size; i++) {
        comm->host_of[i] = host_of[i];
        if (host_of[i] >= comm->hosts.host_count)
            comm->hosts.host_count = host_of[i] + 1;
    }
}

static enum shoal_status remember_gone(struct shl_engine *engine, uint32_t id)
{
    SHL_TRY(shl_array_reserve(&engine->gone, &engine->gone_capacity, engine->gone_count,
                              sizeof(*engine->gone), "destroyed communicators"));
    engine->gone[engine->gone_count++] = id;
    return SHOAL_OK;
}

static void free_requests(struct shoal_comm *comm)
{
    struct shl_list *node;
    while (!shl_list_empty(&comm->ops)) {
        struct shoal_request *request =
            SHL_CONTAINER_OF(comm->ops.next, struct shoal_request, link);
        shl_request_stop(request);
        request->detached = true;
        shl_request_complete(request, SHOAL_ERR_ABORTED, "the communicator was destroyed");
    }
    while ((node = shl_list_pop(&comm->free_requests)))
        shl_mem->free(SHL_CONTAINER_OF(node, struct shoal_request, link));
}

void shl_comm_free(struct shoal_comm *comm)
{
    comm->window_cut |= !shl_list_empty(&comm->ops);
    free_requests(comm);
    if (!shl_list_empty(&comm->link)) {
        shl_list_remove(&comm->link);
        /* Only costs memory at peers' late messages if it fails. */
        (void)remember_gone(comm->engine, comm->id);
    }
    shl_incident_free_all(comm);
    for (size_t i = 0; i < SHL_COMM_PLANS; i++)
        if (comm->plans[i])
            shl_plan_free(comm->plans[i]);
    leave_group(comm);
    shl_ways_destroy(comm->ways);
    shl_mem->free(comm->windows);
    shl_mem->free(comm->piece_outputs);
    shl_mem->free(comm->piece_inputs);
    shl_mem->free(comm->out_address);
    shl_mem->free(comm->in_address);
    shl_mem->free(comm->outputs);
    shl_mem->free(comm->inputs);
    shl_mem->free(comm->bounce);
    shl_mem->free(comm->left_seq);
    shl_mem->free(comm->told_seq);
    shl_mem->free(comm->host_of);
    shl_mem->free(comm->rank_of);
    shl_mem->free(comm->members);
    shl_mem->free(comm);
}
