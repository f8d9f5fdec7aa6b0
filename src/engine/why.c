/*
 * Why does it not finish? Names the ranks that have not called the oldest operation.
 *
 * In a shared-memory group that is seen directly. Elsewhere the waiting rank floods a question and
 * every rank floods how far it is; a question that somebody else just asked is not repeated.
 *
 * Questions and answers carry the signature of the oldest operation, so that ranks which disagree
 * but wait for each other without a message (two roots of a large broadcast) find out, too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/ranges.h"
#include "core/bytes.h"
#include "core/log.h"
#include "core/sys.h"
#include "engine/comm.h"

#include <stdio.h>

#define ANSWER_NS 100000000 /* time for answers to come in before the line is logged */
#define REPEAT_NS 300000000 /* answers younger than this are not asked for again */

static void flood(struct shoal_comm *comm, uint16_t type)
{
    uint8_t data[64];
    struct shl_bytes out = shl_bytes_writer(data, sizeof(data));
    shl_bytes_put_u32(&out, comm->id);
    shl_bytes_put_u32(&out, comm->rank);
    shl_bytes_put_u64(&out, comm->next_seq);
    bool waits = !shl_list_empty(&comm->ops);
    shl_bytes_put_u8(&out, waits);
    if (waits) {
        const struct shoal_request *oldest =
            SHL_CONTAINER_OF(comm->ops.next, struct shoal_request, link);
        shl_bytes_put_u64(&out, oldest->seq);
        shl_bytes_put_u64(&out, oldest->signature.count);
        shl_bytes_put_u64(&out, oldest->signature.call);
    }
    SHL_ASSERT(!out.failed);
    (void)comm->engine->bus.flood(comm->engine->bus.arg, type, data, out.at);
}

void shl_why_mail(struct shl_engine *engine, uint16_t type, const void *payload, size_t bytes)
{
    struct shl_bytes in = shl_bytes_reader(payload, bytes);
    uint32_t id = shl_bytes_get_u32(&in);
    uint32_t rank = shl_bytes_get_u32(&in);
    uint64_t next_seq = shl_bytes_get_u64(&in);
    struct shoal_comm *comm = shl_comm_find(engine, id);
    bool waits = shl_bytes_get_u8(&in) != 0;
    struct shl_tag tag = {.comm = id};
    struct shl_signature signature = {0};
    if (waits) {
        tag.seq = shl_bytes_get_u64(&in);
        signature.count = shl_bytes_get_u64(&in);
        signature.call = shl_bytes_get_u64(&in);
    }
    if (in.failed || !comm || rank >= comm->size)
        return;
    if (waits)
        shl_incident_seen(engine, comm->members[rank], &tag, &signature);
    uint64_t now_ns = shl_now_ns();
    if (type == SHL_MAIL_WHY_TELL) {
        comm->told_seq[rank] = next_seq;
        return;
    }
    comm->asked_ns = now_ns;
    if (now_ns - comm->told_ns < REPEAT_NS)
        return;
    comm->told_ns = now_ns;
    flood(comm, SHL_MAIL_WHY_TELL);
}

/* Has this member, as far as is known here, not called the operation? */
static bool is_absent(const void *arg, uint32_t rank)
{
    const struct shoal_request *request = arg;
    struct shoal_comm *comm = request->comm;
    struct shl_group_peek peek;
    if (rank == comm->rank)
        return false;
    if (comm->group)
        return request->group.phase == 0 && request->state == SHL_REQUEST_GATHER &&
               !shl_group_peek(comm->group, rank, request->seq, 0, &peek);
    return comm->told_seq[rank] <= request->seq;
}

static void describe(const struct shoal_request *request, uint64_t now_ns, char *text,
                     size_t text_bytes)
{
    const struct shoal_comm *comm = request->comm;
    char call[128], absent[192];
    double seconds = request->start_ns ? (double)(now_ns - request->start_ns) * 1e-9 : 0;
    shl_signature_text(&request->signature, request->seq, call, sizeof(call));
    bool known = comm->group || comm->told_seq[comm->rank] != 0;
    uint32_t count = 0;
    if (known)
        count = shl_ranges_format(is_absent, request, comm->size, absent, sizeof(absent));
    if (count > 0)
        snprintf(text, text_bytes, "%s waits for %s %s, which %s not called it, for %.1f s", call,
                 count == 1 ? "rank" : "ranks", absent, count == 1 ? "has" : "have", seconds);
    else
        snprintf(text, text_bytes, "%s is under way for %.1f s%s", call, seconds,
                 known ? "; every rank has called it" : "");
}

void shl_why_ask(struct shoal_request *request, uint64_t now_ns)
{
    struct shoal_comm *comm = request->comm;
    const uint64_t why_ns = comm->engine->config->why_after_ms * 1000000;
    if (request->why_count++ % 2 == 0) {
        if (!comm->group && now_ns - comm->asked_ns >= REPEAT_NS)
            flood(comm, SHL_MAIL_WHY_ASK);
        request->why_ns = now_ns + ANSWER_NS; /* look again when answers are here */
        return;
    }
    char text[SHL_ENGINE_TEXT];
    describe(request, now_ns, text, sizeof(text));
    shl_log(SHL_LOG_WARN, "%s", text);
    /* Again, but ever more rarely. */
    request->why_ns = now_ns + (uint64_t)request->why_count * why_ns;
}

void shl_why_text(struct shoal_comm *comm, char *text, size_t text_bytes)
{
    if (shl_list_empty(&comm->ops)) {
        snprintf(text, text_bytes, "no operation is outstanding; %llu are done",
                 (unsigned long long)comm->next_seq - 1);
        return;
    }
    describe(SHL_CONTAINER_OF(comm->ops.next, struct shoal_request, link), shl_now_ns(), text,
             text_bytes);
}
