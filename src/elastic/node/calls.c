/*
 * What other threads want of a node: each call is carried out in its thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "core/sys.h"
#include "elastic/node/internal.h"

#include <string.h>

struct fenced {
    uint64_t epoch;
    const struct shl_report *report;
};

static void do_fenced(struct shl_node *node, void *arg)
{
    const struct fenced *fenced = arg;
    if (!node->ended)
        shl_membership_fenced(node->core, shl_now_ns(), fenced->epoch, fenced->report);
}

void shl_node_fenced(struct shl_node *node, uint64_t epoch, const struct shl_report *report)
{
    struct fenced fenced = {epoch, report};
    shl_node_call(node, do_fenced, &fenced);
}

static void do_suspect(struct shl_node *node, void *arg)
{
    struct shl_node_peer *peer = shl_node_peer_find(node, *(const uint64_t *)arg);
    if (!peer || node->ended)
        return;
    /* While its session lives the member does: it may follow a proposal that is still on its way
     * here, and have taken the view down for that. The end of a process shows in the session, too.
     */
    if (peer->watch.fd < 0 || peer->broke)
        shl_node_peer_suspect(peer, "operations lost it");
}

void shl_node_suspect(struct shl_node *node, uint64_t id)
{
    shl_node_call(node, do_suspect, &id);
}

static void do_decide(struct shl_node *node, void *arg)
{
    (void)arg;
    if (!node->ended)
        shl_membership_decide(node->core, shl_now_ns());
}

void shl_node_decide(struct shl_node *node)
{
    shl_node_call(node, do_decide, NULL);
}

static void do_caught_up(struct shl_node *node, void *arg)
{
    (void)arg;
    if (!node->ended)
        shl_membership_caught_up(node->core, shl_now_ns());
}

void shl_node_caught_up(struct shl_node *node)
{
    shl_node_call(node, do_caught_up, NULL);
}

static void do_leave(struct shl_node *node, void *arg)
{
    (void)arg;
    if (!node->ended)
        shl_membership_leave(node->core, shl_now_ns());
}

void shl_node_leave(struct shl_node *node)
{
    shl_node_call(node, do_leave, NULL);
}

static void do_resign(struct shl_node *node, void *arg)
{
    (void)arg;
    node->ended = true;
    shl_loop_timer_stop(&node->loop, &node->tick_timer); /* the core writes no record any more */
    shl_listener_fini(&node->listener);
}

void shl_node_resign(struct shl_node *node)
{
    shl_node_call(node, do_resign, NULL);
}

struct boundary {
    uint64_t wanted;
    bool stopped;
};

static void do_boundary(struct shl_node *node, void *arg)
{
    struct boundary *boundary = arg;
    if (!node->ended)
        shl_membership_boundary(node->core, shl_now_ns(), boundary->wanted);
    boundary->stopped = node->ended || shl_membership_at_boundary(node->core);
}

bool shl_node_boundary(struct shl_node *node, uint64_t wanted)
{
    struct boundary boundary = {.wanted = wanted};
    shl_node_call(node, do_boundary, &boundary);
    return boundary.stopped;
}

/* ---- blobs ---------------------------------------------------------------------------------- */

struct telling {
    uint64_t epoch;
    uint8_t *blob;
    size_t bytes;
};

static void do_tell(struct shl_node *node, void *arg)
{
    struct telling *telling = arg;
    shl_mem->free(node->blob);
    node->blob = telling->blob;
    telling->blob = NULL;
    node->blob_bytes = telling->bytes;
    node->blob_epoch = telling->epoch;
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next) {
        struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->in_record)
            shl_node_link_tell(peer);
    }
}

enum shoal_status shl_node_tell(struct shl_node *node, uint64_t epoch, const void *blob,
                                size_t bytes)
{
    struct telling telling = {epoch, shl_mem->alloc(bytes + 1), bytes};
    if (!telling.blob)
        return shl_fail(SHOAL_ERR_NOMEM,
                        "no memory for the %zu bytes to tell the members of epoch %llu", bytes,
                        (unsigned long long)epoch);
    memcpy(telling.blob, blob, bytes);
    shl_node_call(node, do_tell, &telling);
    shl_mem->free(telling.blob);
    return SHOAL_OK;
}

struct collecting {
    uint64_t epoch;
    const struct shl_members *members;
    struct shl_rendezvous_result *result;
    enum shoal_status *status;
    bool all;
};

static const struct shl_node_peer *told(struct shl_node *node, uint64_t id, uint64_t epoch)
{
    const struct shl_node_peer *peer = shl_node_peer_find(node, id);
    return peer && peer->blob_epoch == epoch ? peer : NULL;
}

/* All blobs share one allocation, as those of a rendezvous do. */
static bool copy_all(struct shl_node *node, const struct collecting *collecting)
{
    const struct shl_members *members = collecting->members;
    struct shl_rendezvous_result result = {.size = members->count};
    size_t total = 1, at = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct shl_node_peer *peer = told(node, members->at[i].id, collecting->epoch);
        total += peer ? peer->blob_bytes : node->blob_bytes;
    }
    uint8_t *all = shl_mem->alloc(total);
    result.blobs = shl_mem->alloc(members->count * sizeof(*result.blobs));
    result.blob_bytes = shl_mem->alloc(members->count * sizeof(*result.blob_bytes));
    if (!all || !result.blobs || !result.blob_bytes) {
        shl_mem->free(result.blob_bytes);
        shl_mem->free(result.blobs);
        shl_mem->free(all);
        return false;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        const struct shl_node_peer *peer = told(node, members->at[i].id, collecting->epoch);
        result.blobs[i] = all + at;
        result.blob_bytes[i] = peer ? peer->blob_bytes : node->blob_bytes;
        memcpy(result.blobs[i], peer ? peer->blob : node->blob, result.blob_bytes[i]);
        at += result.blob_bytes[i];
    }
    *collecting->result = result;
    return true;
}

static void do_blobs(struct shl_node *node, void *arg)
{
    struct collecting *collecting = arg;
    const struct shl_members *members = collecting->members;
    if (node->blob_epoch != collecting->epoch) /* its own would be of another view */
        return;
    for (uint32_t i = 0; i < members->count; i++)
        if (members->at[i].id != node->self.id && !told(node, members->at[i].id, collecting->epoch))
            return;
    collecting->all = copy_all(node, collecting);
    if (!collecting->all)
        *collecting->status = SHOAL_ERR_NOMEM;
}

bool shl_node_blobs(struct shl_node *node, uint64_t epoch, const struct shl_members *members,
                    struct shl_rendezvous_result *result, enum shoal_status *status)
{
    struct collecting collecting = {epoch, members, result, status, false};
    shl_node_call(node, do_blobs, &collecting);
    if (*status < 0)
        shl_fail(*status, "no memory for the descriptions of %u members", members->count);
    return collecting.all;
}

/* ---- ending together --------------------------------------------------------------------------
 */

struct ending {
    uint64_t epoch;
    bool all;
};

static void do_done(struct shl_node *node, void *arg)
{
    const struct ending *ending = arg;
    node->done_epoch = ending->epoch;
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next)
        shl_node_link_tell_done(SHL_CONTAINER_OF(at, struct shl_node_peer, link));
}

void shl_node_done(struct shl_node *node, uint64_t epoch)
{
    struct ending ending = {.epoch = epoch};
    shl_node_call(node, do_done, &ending);
}

static void do_all_done(struct shl_node *node, void *arg)
{
    struct ending *ending = arg;
    ending->all = true;
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next) {
        const struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->in_view && !peer->suspected && peer->done_epoch != ending->epoch)
            ending->all = false;
    }
}

bool shl_node_all_done(struct shl_node *node, uint64_t epoch)
{
    struct ending ending = {.epoch = epoch, .all = true};
    shl_node_call(node, do_all_done, &ending);
    return ending.all;
}
