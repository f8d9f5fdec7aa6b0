/*
 * Giving an operation up, on all ranks alike. Path: detour from exec.c, group.c, api.
 *
 * A rank that finds a reason (a mismatch, its deadline, the caller's wish, a lost rank) stops
 * touching the operation and floods a statement; so does every other rank when it hears of it,
 * exactly once. With the statements of all living members a rank knows that nobody touches the
 * operation's memory any more, and computes the verdict, which is the same everywhere. A rank that
 * has not called yet says so; when it calls, it gets the verdict at once. So the numbers of later
 * operations still agree and the communicator stays usable.
 *
 * Invariant: a request completes with an error only through a verdict.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "core/sys.h"
#include "engine/comm.h"
#include "engine/verdict.h"

#include <stdio.h>
#include <string.h>

#define STATEMENT_BYTES 64
#define STATED_DONE 2 /* in the place of `called` */
#define ORPHANS_MAX 4096
#define LEFT_CAUSE "it destroyed the communicator"

struct shl_incident {
    struct shl_list link; /* in comm->incidents */
    uint64_t seq;
    uint64_t deadline_ns;
    uint32_t missing; /* statements not present, of ranks not lost */
    bool concluded;
    enum shoal_status status;
    uint32_t reason_rank; /* lowest rank that raised so far */
    char reason[SHL_REASON_BYTES];
    bool has_loss;               /* of a rank that did not just leave */
    char loss[SHL_REASON_BYTES]; /* why the first of the lost ranks is lost */
    char text[SHL_ENGINE_TEXT];
    struct shl_statement statements[];
};

static struct shl_incident *find(struct shoal_comm *comm, uint64_t seq)
{
    for (struct shl_list *node = comm->incidents.next; node != &comm->incidents;
         node = node->next) {
        struct shl_incident *incident = SHL_CONTAINER_OF(node, struct shl_incident, link);
        if (incident->seq == seq)
            return incident;
    }
    return NULL;
}

/* cause: NULL where it only left the communicator. */
static void mark_lost(struct shl_incident *incident, uint32_t rank, const char *cause)
{
    struct shl_statement *statement = &incident->statements[rank];
    /* Who has made its statement and is gone since is out of this operation, like on the ranks that
     * concluded before it went. */
    if (statement->lost || statement->present)
        return;
    statement->lost = true;
    statement->left = cause == NULL;
    incident->missing--;
    if (cause && !incident->has_loss)
        snprintf(incident->loss, sizeof(incident->loss), "%s", cause);
    else if (!cause && incident->loss[0] == '\0')
        snprintf(incident->loss, sizeof(incident->loss), LEFT_CAUSE);
    incident->has_loss |= cause != NULL;
}

void shl_comm_break(struct shoal_comm *comm, uint64_t from, enum shoal_status status,
                    const char *text)
{
    if (comm->broken != SHOAL_OK && comm->broken_from <= from)
        return;
    comm->broken = status;
    comm->broken_from = from;
    snprintf(comm->broken_text, sizeof(comm->broken_text), "%s", text);
}

static struct shl_incident *create(struct shoal_comm *comm, uint64_t seq)
{
    struct shl_incident *incident =
        shl_mem->alloc(sizeof(*incident) + comm->size * sizeof(struct shl_statement));
    if (!incident)
        return NULL;
    /* Long enough for the control layer to notice a rank that died in between. */
    const uint64_t patience_ms = 2 * comm->engine->config->dead_after_ms + 1000;
    incident->seq = seq;
    incident->deadline_ns = shl_now_ns() + patience_ms * 1000000;
    incident->missing = comm->size;
    incident->reason_rank = UINT32_MAX;
    shl_list_append(&comm->incidents, &incident->link);
    for (uint32_t i = 0; i < comm->size; i++) {
        const struct shl_peer *peer = &comm->engine->peers[comm->members[i]];
        if (peer->lost || seq >= comm->left_seq[i])
            mark_lost(incident, i, peer->lost ? peer->cause : NULL);
    }
    return incident;
}

static void release(struct shl_incident *incident)
{
    shl_list_remove(&incident->link);
    shl_mem->free(incident);
}

void shl_incident_free_all(struct shoal_comm *comm)
{
    while (!shl_list_empty(&comm->incidents))
        release(SHL_CONTAINER_OF(comm->incidents.next, struct shl_incident, link));
}

/* Hand the verdict to the request if it is here; forget the incident when nobody will ask. */
static void deliver(struct shoal_comm *comm, struct shl_incident *incident)
{
    struct shoal_request *request = shl_comm_request(comm, incident->seq);
    if (!incident->concluded || incident->seq >= comm->next_seq)
        return;
    enum shoal_status status = incident->status;
    char text[SHL_ENGINE_TEXT];
    memcpy(text, incident->text, sizeof(text));
    release(incident);
    if (request)
        shl_request_complete(request, status, text);
}

static void conclude(struct shoal_comm *comm, struct shl_incident *incident)
{
    if (incident->concluded)
        return;
    incident->concluded = true;
    incident->status = shl_verdict(incident->seq, incident->statements, comm->size,
                                   incident->loss[0] ? incident->loss : incident->reason,
                                   incident->text, sizeof(incident->text));
    comm->uneven |= shl_verdict_is_uneven(incident->statements, comm->size);
    if (incident->status == SHOAL_ERR_PEER)
        shl_comm_break(comm, 0, SHOAL_ERR_PEER, incident->text);
    deliver(comm, incident);
}

static void flood_statement(struct shoal_comm *comm, uint64_t seq,
                            const struct shl_statement *statement, const char *reason)
{
    uint8_t data[STATEMENT_BYTES + SHL_REASON_BYTES];
    struct shl_bytes out = shl_bytes_writer(data, sizeof(data));
    shl_bytes_put_u32(&out, comm->id);
    shl_bytes_put_u32(&out, comm->rank);
    shl_bytes_put_u64(&out, seq);
    shl_bytes_put_u8(&out, statement->done ? STATED_DONE : statement->called);
    shl_bytes_put_u64(&out, statement->signature.count);
    shl_bytes_put_u64(&out, statement->signature.call);
    shl_bytes_put_u32(&out, (uint32_t)statement->raised);
    shl_bytes_put_string(&out, reason);
    SHL_ASSERT(!out.failed);
    /* If it cannot be sent, the incident's deadline ends the wait everywhere. */
    (void)comm->engine->bus.flood(comm->engine->bus.arg, SHL_MAIL_STATEMENT, data, out.at);
}

/*
 * Stop the operation here and say so; once an incident. `over`: this rank has finished it, so all
 * ranks had called it with this signature.
 */
static struct shl_incident *state(struct shoal_comm *comm, uint64_t seq, enum shoal_status raised,
                                  const char *reason, const struct shl_signature *over)
{
    struct shl_incident *incident = find(comm, seq);
    if (!incident)
        incident = create(comm, seq);
    if (!incident || incident->statements[comm->rank].present)
        return incident;
    struct shoal_request *request = shl_comm_request(comm, seq);
    struct shl_statement *own = &incident->statements[comm->rank];
    own->present = true;
    own->raised = raised;
    if (request) {
        own->called = true;
        own->signature = request->signature;
        shl_request_stop(request);
    } else if (over) {
        own->called = own->done = true;
        own->signature = *over;
    }
    if (!own->lost)
        incident->missing--;
    if (raised != SHOAL_OK && comm->rank < incident->reason_rank) {
        incident->reason_rank = comm->rank;
        snprintf(incident->reason, sizeof(incident->reason), "%s", reason);
    }
    char short_reason[SHL_REASON_BYTES];
    snprintf(short_reason, sizeof(short_reason), "%s", reason);
    flood_statement(comm, seq, own, short_reason);
    return incident;
}

void shl_incident_raise(struct shoal_comm *comm, uint64_t seq, enum shoal_status kind,
                        const char *reason)
{
    struct shl_incident *incident = state(comm, seq, kind, reason, NULL);
    if (!incident) {
        /* Without memory for an incident the request at least must not touch anything. */
        struct shoal_request *request = shl_comm_request(comm, seq);
        if (request) {
            shl_request_stop(request);
            shl_request_complete(request, SHOAL_ERR_NOMEM, "no memory to give the operation up");
        }
        return;
    }
    if (incident->missing == 0)
        conclude(comm, incident);
}

/* Raising may complete requests and so change the list: it is followed by numbers, not nodes. */
void shl_incident_raise_all(struct shoal_comm *comm, uint64_t from, enum shoal_status kind,
                            const char *reason)
{
    uint64_t seq = from > 0 ? from - 1 : 0; /* numbers begin at 1 */
    while (true) {
        struct shoal_request *found = NULL;
        for (struct shl_list *node = comm->ops.next; node != &comm->ops && !found;
             node = node->next) {
            struct shoal_request *request = SHL_CONTAINER_OF(node, struct shoal_request, link);
            if (request->seq > seq)
                found = request;
        }
        if (!found)
            return;
        seq = found->seq;
        shl_incident_raise(comm, seq, kind, reason);
    }
}

/* ---- mail --------------------------------------------------------------------------------- */

static bool is_gone(const struct shl_engine *engine, uint32_t id)
{
    for (uint32_t i = 0; i < engine->gone_count; i++)
        if (engine->gone[i] == id)
            return true;
    return false;
}

void shl_engine_keep_orphan(struct shl_engine *engine, uint32_t comm_id, uint16_t type,
                            const void *payload, size_t bytes)
{
    if (is_gone(engine, comm_id) || engine->orphan_count == ORPHANS_MAX)
        return;
    struct shl_mail *mail = shl_mem->alloc(sizeof(*mail) + bytes);
    if (!mail)
        return;
    mail->type = type;
    mail->bytes = bytes;
    memcpy(mail->payload, payload, bytes);
    shl_list_append(&engine->orphans, &mail->link);
    engine->orphan_count++;
}

/* An operation that this rank has finished: it says that it had called, once, and is done. */
static bool is_over(struct shoal_comm *comm, uint64_t seq)
{
    return seq < comm->next_seq && !shl_comm_request(comm, seq);
}

static void take_statement(struct shoal_comm *comm, uint64_t seq, uint32_t rank,
                           const struct shl_statement *theirs, const char *reason)
{
    bool over = is_over(comm, seq) && !find(comm, seq);
    if (over && rank == comm->rank)
        return; /* The echo of what this rank said after it was done. */
    struct shl_incident *incident =
        state(comm, seq, SHOAL_OK, "", over && theirs->called ? &theirs->signature : NULL);
    if (!incident)
        return;
    struct shl_statement *statement = &incident->statements[rank];
    if (!statement->present && !statement->lost)
        incident->missing--;
    if (rank != comm->rank || !statement->present) {
        bool lost = statement->lost, left = statement->left;
        *statement = *theirs;
        statement->lost = lost;
        statement->left = left;
    }
    if (theirs->raised != SHOAL_OK && rank < incident->reason_rank) {
        incident->reason_rank = rank;
        snprintf(incident->reason, sizeof(incident->reason), "%s", reason);
    }
    if (incident->missing == 0)
        conclude(comm, incident);
}

void shl_incident_mail(struct shl_engine *engine, const void *payload, size_t bytes)
{
    struct shl_bytes in = shl_bytes_reader(payload, bytes);
    struct shl_statement statement = {.present = true};
    char reason[SHL_REASON_BYTES];
    uint32_t id = shl_bytes_get_u32(&in);
    uint32_t rank = shl_bytes_get_u32(&in);
    uint64_t seq = shl_bytes_get_u64(&in);
    uint8_t called = shl_bytes_get_u8(&in);
    statement.called = called != 0;
    statement.done = called == STATED_DONE;
    statement.signature.count = shl_bytes_get_u64(&in);
    statement.signature.call = shl_bytes_get_u64(&in);
    statement.raised = (enum shoal_status)(int32_t)shl_bytes_get_u32(&in);
    shl_bytes_get_string(&in, reason, sizeof(reason));
    if (in.failed)
        return;
    struct shoal_comm *comm = shl_comm_find(engine, id);
    if (!comm)
        shl_engine_keep_orphan(engine, id, SHL_MAIL_STATEMENT, payload, bytes);
    else if (rank < comm->size)
        take_statement(comm, seq, rank, &statement, reason);
}

void shl_incident_adopt_orphans(struct shl_engine *engine)
{
    struct shl_list batch, *node;
    shl_list_init(&batch);
    while ((node = shl_list_pop(&engine->orphans)))
        shl_list_append(&batch, node);
    engine->orphan_count = 0;
    while ((node = shl_list_pop(&batch))) {
        struct shl_mail *mail = SHL_CONTAINER_OF(node, struct shl_mail, link);
        if (mail->type == SHL_MAIL_STATEMENT)
            shl_incident_mail(engine, mail->payload, mail->bytes);
        else
            shl_leave_mail(engine, mail->type, mail->payload, mail->bytes);
        shl_mem->free(mail);
    }
}

bool shl_incident_meets(struct shoal_request *request)
{
    struct shl_incident *incident = find(request->comm, request->seq);
    if (!incident)
        return false;
    shl_request_stop(request);
    deliver(request->comm, incident);
    return true;
}

/* ---- loss, deadlines ---------------------------------------------------------------------- */

/* A member takes no part in operations from `from` on; cause: NULL where it only left. */
static void lose_member(struct shoal_comm *comm, uint32_t rank, uint64_t from, const char *cause)
{
    struct shl_list *node, *next;
    char text[SHL_ENGINE_TEXT];
    snprintf(text, sizeof(text), "rank %u lost (%s); destroy the communicator", rank,
             cause ? cause : LEFT_CAUSE);
    shl_comm_break(comm, from, SHOAL_ERR_PEER, text);
    SHL_LIST_FOR_EACH(node, next, &comm->incidents)
    {
        struct shl_incident *incident = SHL_CONTAINER_OF(node, struct shl_incident, link);
        if (incident->seq >= from)
            mark_lost(incident, rank, cause);
    }
    shl_incident_raise_all(comm, from, SHOAL_ERR_PEER, cause ? cause : LEFT_CAUSE);
}

void shl_incident_left(struct shoal_comm *comm, uint32_t rank, uint64_t seq)
{
    comm->left_seq[rank] = seq;
    lose_member(comm, rank, seq, NULL);
}

void shl_incident_lost(struct shl_engine *engine, uint32_t world_rank)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &engine->comms)
    {
        struct shoal_comm *comm = SHL_CONTAINER_OF(node, struct shoal_comm, link);
        if (comm->rank_of[world_rank] != UINT32_MAX)
            lose_member(comm, comm->rank_of[world_rank], 0, engine->peers[world_rank].cause);
    }
}

bool shl_engine_has_incident(const struct shl_engine *engine)
{
    const struct shl_list *c, *i;
    for (c = engine->comms.next; c != &engine->comms; c = c->next) {
        const struct shoal_comm *comm = SHL_CONTAINER_OF(c, struct shoal_comm, link);
        for (i = comm->incidents.next; i != &comm->incidents; i = i->next)
            if (!SHL_CONTAINER_OF(i, struct shl_incident, link)->concluded)
                return true;
    }
    return false;
}

/* A member that lives but does not answer is treated as lost: waiting longer helps nobody. */
static void give_up_waiting(struct shoal_comm *comm, struct shl_incident *incident)
{
    for (uint32_t i = 0; i < comm->size; i++) {
        struct shl_statement *statement = &incident->statements[i];
        if (statement->present || statement->lost)
            continue;
        mark_lost(incident, i, "it did not answer when the operation was given up");
    }
    conclude(comm, incident);
}

void shl_incident_check_deadlines(struct shl_engine *engine, uint64_t now_ns)
{
    struct shl_list *c, *c_next;
    SHL_LIST_FOR_EACH(c, c_next, &engine->comms)
    {
        struct shoal_comm *comm = SHL_CONTAINER_OF(c, struct shoal_comm, link);
        for (struct shl_list *node = comm->incidents.next; node != &comm->incidents;
             node = node->next) {
            struct shl_incident *incident = SHL_CONTAINER_OF(node, struct shl_incident, link);
            if (!incident->concluded && now_ns >= incident->deadline_ns) {
                give_up_waiting(comm, incident);
                break; /* The list has changed; the rest is looked at next time. */
            }
        }
    }
}

/* ---- what transports ask ------------------------------------------------------------------ */

void shl_incident_seen(struct shl_engine *engine, uint32_t peer, const struct shl_tag *tag,
                       const struct shl_signature *signature)
{
    struct shoal_comm *comm = shl_comm_find(engine, tag->comm);
    if (!comm || comm->rank_of[peer] == UINT32_MAX)
        return;
    struct shoal_request *request = shl_comm_request(comm, tag->seq);
    if (!request || request->state == SHL_REQUEST_QUEUED || request->state == SHL_REQUEST_STOPPED)
        return;
    /* Called from inside a transport, which must not be asked to cancel now. */
    if (!shl_signature_equal(&request->signature, signature) && !request->disagrees) {
        request->disagrees = true;
        engine->disagreements++;
    }
}

void shl_incident_raise_seen(struct shl_engine *engine)
{
    struct shl_list *c, *r;
    for (c = engine->comms.next; c != &engine->comms; c = c->next) {
        struct shoal_comm *comm = SHL_CONTAINER_OF(c, struct shoal_comm, link);
        for (r = comm->ops.next; r != &comm->ops; r = r->next) {
            struct shoal_request *request = SHL_CONTAINER_OF(r, struct shoal_request, link);
            if (!request->disagrees)
                continue;
            request->disagrees = false;
            engine->disagreements--;
            shl_incident_raise(comm, request->seq, SHOAL_ERR_MISMATCH, "ranks disagree");
            return; /* The lists may have changed; any other is found by the next poll. */
        }
    }
    engine->disagreements = 0;
}

bool shl_incident_wanted(struct shl_engine *engine, const struct shl_tag *tag)
{
    struct shoal_comm *comm = shl_comm_find(engine, tag->comm);
    if (!comm)
        return !is_gone(engine, tag->comm);
    if (tag->seq >= comm->next_seq)
        return find(comm, tag->seq) == NULL;
    struct shoal_request *request = shl_comm_request(comm, tag->seq);
    return request && request->state != SHL_REQUEST_STOPPED;
}
