/*
 * A round of the rendezvous: gathering, and its three ends.
 *
 * It completes when all ranks are here: everyone gets everyone's blob. It fails, for all who are
 * here at once, when two of them contradict each other. And whoever runs out of patience goes
 * alone, with the list of those who are absent; the others may still be joined by its successor.
 *
 * Invariant: a member is in `members` exactly while it waits for this round.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/ranges.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/rendezvous_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void reset(struct shl_rendezvous_round *round)
{
    shl_mem->free(round->members);
    shl_mem->free(round->left);
    round->members = NULL;
    round->left = NULL;
    round->size = round->arrived = 0;
}

void shl_rendezvous_round_free(struct shl_rendezvous_round *round)
{
    reset(round);
    shl_rendezvous_reply_release(round->last);
    shl_mem->free(round->last_instances);
    round->last = NULL;
    round->last_instances = NULL;
}

static void refuse(struct shl_rendezvous_member *member, enum shoal_status status, const char *text)
{
    struct shl_rendezvous_reply *reply = shl_rendezvous_reply_error(status, text);
    shl_rendezvous_member_answer(member, reply);
    shl_rendezvous_reply_release(reply);
}

/* Two members contradict each other, so the job cannot come about: everyone hears why, now. */
__attribute__((format(printf, 3, 4))) static void
fail_round(struct shl_rendezvous_member *last, enum shoal_status status, const char *format, ...)
{
    struct shl_rendezvous_round *round = &last->server->round;
    va_list args;
    va_start(args, format);
    vsnprintf(round->trouble, sizeof(round->trouble), format, args);
    va_end(args);
    shl_log(SHL_LOG_WARN, "the rendezvous failed: %s", round->trouble);
    struct shl_rendezvous_reply *reply = shl_rendezvous_reply_error(status, round->trouble);
    for (uint32_t rank = 0; rank < round->size; rank++)
        if (round->members[rank])
            shl_rendezvous_member_answer(round->members[rank], reply);
    shl_rendezvous_member_answer(last, reply);
    shl_rendezvous_reply_release(reply);
    reset(round);
}

/* ---- completion -------------------------------------------------------------------------- */

static struct shl_rendezvous_reply *build_reply(const struct shl_rendezvous_round *round,
                                                uint64_t incarnation, uint64_t epoch)
{
    size_t body = 4 + 8 + 8 + 4;
    for (uint32_t rank = 0; rank < round->size; rank++)
        body += 4 + round->members[rank]->join.blob_bytes;
    struct shl_rendezvous_reply *reply =
        shl_mem->alloc(sizeof(*reply) + SHL_RENDEZVOUS_HEADER_BYTES + body);
    if (!reply)
        return NULL;
    reply->references = 1;
    reply->bytes = SHL_RENDEZVOUS_HEADER_BYTES + body;
    shl_rendezvous_put_header(reply->data, (uint32_t)body);
    struct shl_bytes out = shl_bytes_writer(reply->data + SHL_RENDEZVOUS_HEADER_BYTES, body);
    shl_bytes_put_u32(&out, SHOAL_OK);
    shl_bytes_put_u64(&out, incarnation);
    shl_bytes_put_u64(&out, epoch);
    shl_bytes_put_u32(&out, round->size);
    for (uint32_t rank = 0; rank < round->size; rank++) {
        const struct shl_rendezvous_join *join = &round->members[rank]->join;
        shl_bytes_put_u32(&out, join->blob_bytes);
        shl_bytes_put(&out, join->blob, join->blob_bytes);
    }
    SHL_ASSERT(!out.failed && !shl_bytes_left(&out));
    return reply;
}

/* Kept until the next round is complete, for clients whose connection broke before they had read
 * all of it. */
static void keep_last(struct shl_rendezvous_round *round, struct shl_rendezvous_reply *reply)
{
    shl_rendezvous_reply_release(round->last);
    shl_mem->free(round->last_instances);
    round->last = NULL;
    round->last_size = 0;
    round->last_instances = shl_mem->alloc(round->size * sizeof(*round->last_instances));
    if (!round->last_instances)
        return; /* such a client then waits in vain, until its deadline */
    for (uint32_t rank = 0; rank < round->size; rank++)
        memcpy(round->last_instances[rank], round->members[rank]->join.instance,
               SHL_RENDEZVOUS_INSTANCE_BYTES);
    round->last = reply;
    round->last_size = round->size;
    reply->references++;
}

static void complete(struct shl_rendezvous_member *member)
{
    struct shl_rendezvous_round *round = &member->server->round;
    uint64_t incarnation = 0;
    struct shl_rendezvous_reply *reply = NULL;
    if (shl_random->bytes(&incarnation, sizeof(incarnation)) == 0)
        reply = build_reply(round, incarnation | 1, round->epoch + 1); /* 0 means "not known" */
    if (!reply) {
        fail_round(member, SHOAL_ERR_NOMEM, "the rendezvous has no memory for %u ranks",
                   round->size);
        return;
    }
    round->epoch++;
    round->trouble[0] = '\0';
    keep_last(round, reply);
    shl_log(SHL_LOG_INFO, "all %u ranks have met, epoch %llu", round->size,
            (unsigned long long)round->epoch);
    for (uint32_t rank = 0; rank < round->size; rank++)
        shl_rendezvous_member_answer(round->members[rank], reply);
    shl_rendezvous_reply_release(reply);
    reset(round);
}

/* ---- arrival ----------------------------------------------------------------------------- */

static bool begin(struct shl_rendezvous_round *round, uint32_t size)
{
    round->members = shl_mem->alloc(size * sizeof(struct shl_rendezvous_member *));
    round->left = shl_mem->alloc(size);
    round->size = size;
    if (round->members && round->left)
        return true;
    reset(round);
    return false;
}

static bool is_retry_of_last(const struct shl_rendezvous_round *round,
                             const struct shl_rendezvous_join *join)
{
    return round->last && join->rank < round->last_size &&
           memcmp(round->last_instances[join->rank], join->instance,
                  SHL_RENDEZVOUS_INSTANCE_BYTES) == 0;
}

static const struct shl_rendezvous_member *anyone(const struct shl_rendezvous_round *round)
{
    for (uint32_t rank = 0; rank < round->size; rank++)
        if (round->members[rank])
            return round->members[rank];
    return NULL;
}

/* False: the round has failed. */
static bool agrees(struct shl_rendezvous_member *member)
{
    const struct shl_rendezvous_round *round = &member->server->round;
    const struct shl_rendezvous_join *join = &member->join;
    const struct shl_rendezvous_member *other = anyone(round);
    if (!other)
        return true;
    if (join->size != round->size) {
        fail_round(member, SHOAL_ERR_INVALID,
                   "ranks %u and %u disagree on the size of the job: %u and %u", other->join.rank,
                   join->rank, round->size, join->size);
        return false;
    }
    if (round->members[join->rank]) {
        fail_round(member, SHOAL_ERR_INVALID,
                   "two processes came to the rendezvous as rank %u of %u", join->rank, join->size);
        return false;
    }
    if (join->digest != other->join.digest) {
        fail_round(member, SHOAL_ERR_CONFIG,
                   "rank %u has other settings than rank %u among those that must agree; compare "
                   "the output of `shoal info` on both",
                   join->rank, other->join.rank);
        return false;
    }
    return true;
}

void shl_rendezvous_round_arrive(struct shl_rendezvous_member *member)
{
    struct shl_rendezvous_round *round = &member->server->round;
    const struct shl_rendezvous_join *join = &member->join;
    if (!join->size || join->size > SHL_RENDEZVOUS_SIZE_MAX || join->rank >= join->size) {
        char text[128];
        snprintf(text, sizeof(text), "rank %u of %u is not below the size, or that is above %d",
                 join->rank, join->size, SHL_RENDEZVOUS_SIZE_MAX);
        refuse(member, SHOAL_ERR_INVALID, text);
        return;
    }
    if (is_retry_of_last(round, join)) {
        shl_rendezvous_member_answer(member, round->last);
        return;
    }
    /* The same process again, after its connection broke: the older one is a corpse. */
    if (round->size && join->rank < round->size && round->members[join->rank] &&
        memcmp(round->members[join->rank]->join.instance, join->instance,
               SHL_RENDEZVOUS_INSTANCE_BYTES) == 0)
        shl_rendezvous_member_close(round->members[join->rank]);
    if (!agrees(member))
        return;
    if (round->size != join->size) { /* the first, or the first since all others left */
        reset(round);
        if (!begin(round, join->size)) {
            refuse(member, SHOAL_ERR_NOMEM, "the rendezvous has no memory for so many ranks");
            return;
        }
    }
    round->members[join->rank] = member;
    round->arrived++;
    if (round->arrived == round->size)
        complete(member);
}

void shl_rendezvous_round_depart(struct shl_rendezvous_member *member)
{
    struct shl_rendezvous_round *round = &member->server->round;
    uint32_t rank = member->join.rank;
    if (rank >= round->size || round->members[rank] != member)
        return;
    round->members[rank] = NULL;
    round->left[rank] = 1;
    round->arrived--;
}

/* ---- patience ---------------------------------------------------------------------------- */

static bool is_absent(const void *arg, uint32_t rank)
{
    const struct shl_rendezvous_round *round = arg;
    return !round->members[rank];
}

static bool has_left(const void *arg, uint32_t rank)
{
    const struct shl_rendezvous_round *round = arg;
    return !round->members[rank] && round->left[rank];
}

static void tell_absent(struct shl_rendezvous_member *member)
{
    struct shl_rendezvous_server *server = member->server;
    struct shl_rendezvous_round *round = &server->round;
    char absent[300], left[200], left_text[260] = "", trouble[260] = "",
                                 text[SHL_RENDEZVOUS_TEXT_MAX];
    uint32_t count = shl_ranges_format(is_absent, round, round->size, absent, sizeof(absent));
    if (shl_ranges_format(has_left, round, round->size, left, sizeof(left)))
        snprintf(left_text, sizeof(left_text), "; of these came and left again: %s", left);
    if (round->trouble[0])
        snprintf(trouble, sizeof(trouble), "; an earlier attempt failed: %.200s", round->trouble);
    double waited_s = (double)(shl_now_ns() - member->joined_ns) / 1e9;
    snprintf(text, sizeof(text), "%s %s of %u did not arrive within %.3g s at %s%s%s",
             count == 1 ? "rank" : "ranks", absent, round->size, waited_s, server->base.address,
             left_text, trouble);
    refuse(member, SHOAL_ERR_ABSENT, text);
}

void shl_rendezvous_round_expire(struct shl_rendezvous_member *member)
{
    tell_absent(member);
    shl_rendezvous_round_depart(member);
}

void shl_rendezvous_round_dismiss(struct shl_rendezvous_server *server)
{
    struct shl_list *node, *next;
    /* Who is here after a round was complete wants the next communicator and came before this one's
     * server had gone: it tries again, and finds the next server. */
    if (server->round.epoch > 0)
        return;
    SHL_LIST_FOR_EACH(node, next, &server->members)
    {
        struct shl_rendezvous_member *member =
            SHL_CONTAINER_OF(node, struct shl_rendezvous_member, link);
        if (!member->joined || member->reply)
            continue;
        tell_absent(member);
        if (member->reply)
            (void)shl_rendezvous_member_write(member);
    }
}
