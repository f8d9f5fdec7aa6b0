/*
 * The life of a request: numbered, queued, started, stopped or completed, freed.
 *
 * Invariant: every request that got a number completes exactly once, with the same status on every
 * rank unless a rank was lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "engine/comm.h"

#include <stdio.h>
#include <string.h>

/* The fields that mean something for a collective; the others are zero and never differ. */
#define FIELD_TYPE 0x000000000000ff00
#define FIELD_OP 0x00000000ffff0000
#define FIELD_ROOT 0xffffffff00000000

static struct shl_signature sign(const struct shoal_call *call)
{
    static const uint64_t fields[SHOAL_COLLECTIVE_COUNT] = {
        [SHOAL_ALLREDUCE] = FIELD_TYPE | FIELD_OP | 0xff,
        [SHOAL_BROADCAST] = FIELD_TYPE | FIELD_ROOT | 0xff,
        [SHOAL_REDUCE] = FIELD_TYPE | FIELD_OP | FIELD_ROOT | 0xff,
        [SHOAL_REDUCE_SCATTER] = FIELD_TYPE | FIELD_OP | 0xff,
        [SHOAL_ALLGATHER] = FIELD_TYPE | 0xff,
        [SHOAL_BARRIER] = 0xff};
    /* Of a reshard `root` is a hash of the layouts. */
    uint64_t mask = (uint32_t)call->collective == SHL_RESHARD ? FIELD_TYPE | FIELD_ROOT | 0xff
                                                              : fields[call->collective];
    uint64_t packed = (uint64_t)call->collective | (uint64_t)call->dtype << 8 |
                      (uint64_t)(call->op & 0xffff) << 16 | (uint64_t)call->root << 32;
    return (struct shl_signature){.count = call->count, .call = packed & mask};
}

void shl_signature_text(const struct shl_signature *signature, uint64_t seq, char *text,
                        size_t text_bytes)
{
    enum shoal_collective which = (enum shoal_collective)(signature->call & 0xff);
    uint32_t op = (uint32_t)(signature->call >> 16 & 0xffff);
    uint32_t root = (uint32_t)(signature->call >> 32);
    bool reshards = (uint32_t)which == SHL_RESHARD;
    int used =
        snprintf(text, text_bytes, "%s #%llu",
                 reshards ? "reshard" : shoal_collective_string(which), (unsigned long long)seq);
    if (which == SHOAL_BARRIER || used < 0 || (size_t)used >= text_bytes)
        return;
    text += used;
    text_bytes -= (size_t)used;
    used = snprintf(text, text_bytes, "(count %llu, %s", (unsigned long long)signature->count,
                    shoal_dtype_string((enum shoal_dtype)(signature->call >> 8 & 0xff)));
    if (used < 0 || (size_t)used >= text_bytes)
        return;
    text += used;
    text_bytes -= (size_t)used;
    if (reshards)
        snprintf(text, text_bytes, ", layouts %08x)", root);
    else if (which == SHOAL_BROADCAST)
        snprintf(text, text_bytes, ", root %u)", root);
    else if (which == SHOAL_REDUCE)
        snprintf(text, text_bytes, ", %s, root %u)", shoal_op_string(op), root);
    else if (which == SHOAL_ALLGATHER)
        snprintf(text, text_bytes, ")");
    else
        snprintf(text, text_bytes, ", %s)", shoal_op_string(op));
}

uint64_t shl_call_count_total(const struct shoal_call *call, uint32_t size)
{
    bool blocks = call->collective == SHOAL_REDUCE_SCATTER || call->collective == SHOAL_ALLGATHER;
    return blocks ? (uint64_t)call->count * size : call->count;
}

struct shoal_request *shl_comm_request(struct shoal_comm *comm, uint64_t seq)
{
    for (struct shl_list *node = comm->ops.next; node != &comm->ops; node = node->next) {
        struct shoal_request *request = SHL_CONTAINER_OF(node, struct shoal_request, link);
        if (request->seq == seq)
            return request;
    }
    return NULL;
}

static struct shoal_request *take_request(struct shoal_comm *comm)
{
    struct shl_list *node = shl_list_pop(&comm->free_requests);
    if (node)
        return SHL_CONTAINER_OF(node, struct shoal_request, link);
    struct shoal_request *request = shl_mem->alloc(sizeof(*request) + SHL_ENGINE_TEXT);
    if (!request)
        return NULL;
    request->comm = comm;
    request->text = (char *)(request + 1);
    return request;
}

void shl_request_free(struct shoal_request *request)
{
    request->state = SHL_REQUEST_DONE;
    shl_list_append(&request->comm->free_requests, &request->link);
}

/* A communicator of one: the only thing left to do is to copy. */
static void complete_alone(struct shoal_request *request)
{
    const struct shoal_call *call = &request->call;
    size_t bytes = call->count * shoal_dtype_bytes(call->dtype);
    if (call->collective != SHOAL_BARRIER && bytes > 0 && call->recv && call->send != call->recv)
        memcpy(call->recv, call->send, bytes);
    shl_request_complete(request, SHOAL_OK, NULL);
}

static void activate(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    struct shl_engine *engine = comm->engine;
    request->state = comm->group && comm->size > 1 ? SHL_REQUEST_GATHER : SHL_REQUEST_SCHEDULE;
    if (comm->size == 1 && !request->plan) {
        shl_request_tell_posted(request);
        complete_alone(request);
        return;
    }
    if (SHL_UNLIKELY(!shl_list_empty(&comm->incidents)) && shl_incident_meets(request))
        return;
    for (uint32_t i = 0; i < engine->transport_count; i++)
        engine->transports[i].ops->review(engine->transports[i].t, comm->id, request->seq);
    if (SHL_UNLIKELY(engine->disagreements > 0))
        shl_incident_raise_seen(engine);
    if (request->state == SHL_REQUEST_GATHER) {
        shl_group_advance(request);
        return;
    }
    shl_request_tell_posted(request);
    if (request->state == SHL_REQUEST_SCHEDULE && shl_exec_start(request) != SHOAL_OK)
        shl_incident_raise(comm, request->seq, SHOAL_ERR_ABORTED, shl_error_text());
}

/* Starting may complete a request, which would start the next: `starting` makes that a loop. */
static void start_queued(struct shoal_comm *comm)
{
    if (comm->starting)
        return;
    comm->starting = true;
    while (comm->active < SHL_COMM_WINDOW && comm->queued > 0) {
        struct shl_list *node = comm->ops.next;
        while (SHL_CONTAINER_OF(node, struct shoal_request, link)->state != SHL_REQUEST_QUEUED)
            node = node->next;
        comm->queued--;
        comm->active++;
        activate(SHL_CONTAINER_OF(node, struct shoal_request, link));
    }
    comm->starting = false;
}

static enum shoal_status start(struct shoal_comm *comm, const struct shoal_call *call,
                               struct shl_plan *plan, const struct shl_beside *beside,
                               struct shoal_request **out)
{
    if (SHL_UNLIKELY(comm->broken != SHOAL_OK && comm->next_seq >= comm->broken_from))
        return shl_fail(comm->broken, "%s", comm->broken_text);
    struct shoal_request *request = take_request(comm);
    if (!request)
        return shl_fail_errno("cannot allocate a request");
    request->call = *call;
    request->signature = sign(call);
    request->seq = comm->next_seq++;
    request->start_ns = request->why_ns = request->deadline_ns = 0;
    request->timeout_ns = UINT64_MAX;
    request->why_count = 0;
    request->state = SHL_REQUEST_QUEUED;
    request->status = SHOAL_IN_PROGRESS;
    request->detached = request->waited = request->disagrees = false;
    request->exec = NULL;
    request->plan = plan;
    request->beside = beside;
    request->text[0] = '\0';
    memset(&request->group, 0, sizeof(request->group));
    shl_list_append(&comm->ops, &request->link);
    comm->queued++;
    comm->engine->outstanding++;
    *out = request;
    start_queued(comm);
    return SHOAL_OK;
}

enum shoal_status shl_request_start(struct shoal_comm *comm, const struct shoal_call *call,
                                    struct shoal_request **out)
{
    return start(comm, call, NULL, NULL, out);
}

enum shoal_status shl_request_start_planned(struct shoal_comm *comm, const struct shoal_call *call,
                                            struct shl_plan *plan, struct shoal_request **out)
{
    return start(comm, call, plan, NULL, out);
}

enum shoal_status shl_request_start_beside(struct shoal_comm *comm, const struct shoal_call *call,
                                           const struct shl_beside *beside,
                                           struct shoal_request **out)
{
    return start(comm, call, NULL, beside, out);
}

/* The oldest number that this rank still works on; all below are finished here. */
static uint64_t oldest_seq(const struct shoal_comm *comm)
{
    if (shl_list_empty(&comm->ops))
        return comm->next_seq;
    return SHL_CONTAINER_OF(comm->ops.next, struct shoal_request, link)->seq;
}

void shl_request_complete(struct shoal_request *request, enum shoal_status status, const char *text)
{
    struct shoal_comm *comm = request->comm;
    struct shl_engine *engine = comm->engine;
    SHL_ASSERT(request->status == SHOAL_IN_PROGRESS);
    if (request->exec) {
        shl_exec_release(request->exec);
        request->exec = NULL;
    }
    if (request->plan) {
        shl_plan_free(request->plan);
        request->plan = NULL;
    }
    if (request->state == SHL_REQUEST_QUEUED)
        comm->queued--;
    else
        comm->active--;
    if (request->disagrees) {
        request->disagrees = false;
        engine->disagreements--;
    }
    shl_list_remove(&request->link);
    request->state = SHL_REQUEST_DONE;
    request->status = status;
    if (text)
        snprintf(request->text, SHL_ENGINE_TEXT, "%s", text);
    engine->outstanding--;
    if (request->waited) {
        request->waited = false;
        engine->waited--;
    }
    if (comm->group)
        shl_group_finish(comm->group, oldest_seq(comm) - 1);
    if (request->detached)
        shl_request_free(request);
    /* Its owner may be asleep while another thread drives. */
    shl_engine_wake_all(engine);
    if (comm->queued > 0)
        start_queued(comm);
}

void shl_request_stop(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    struct shl_engine *engine = comm->engine;
    if (request->state == SHL_REQUEST_STOPPED || request->state == SHL_REQUEST_DONE)
        return;
    if (request->state == SHL_REQUEST_QUEUED) {
        comm->queued--;
        comm->active++;
    }
    request->state = SHL_REQUEST_STOPPED;
    for (uint32_t i = 0; i < engine->transport_count; i++)
        engine->transports[i].ops->cancel(engine->transports[i].t, comm->id, request->seq);
    if (request->exec) {
        shl_exec_release(request->exec);
        request->exec = NULL;
    }
}
