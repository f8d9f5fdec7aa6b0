/*
 * The members that this one has sessions with.
 *
 * Of two members of a view the one with the lower id dials; whoever is not in the view yet dials
 * all. When a connection breaks both do, since the answer tells whether the other still lives; if
 * their calls cross, that of the lower id stays.
 *
 * Invariant: peers are freed in shl_node_settle only, never while an event of theirs is served.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/node/internal.h"
#include "topology/topology.h"

#include <string.h>

#define RETRY_FIRST_MS 50
#define RETRY_LAST_MS 800
#define DIAL_MS 5000

struct shl_node_peer *shl_node_peer_find(struct shl_node *node, uint64_t id)
{
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next) {
        struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->id == id && !peer->doomed)
            return peer;
    }
    return NULL;
}

void shl_node_peer_suspect(struct shl_node_peer *peer, const char *why)
{
    if (!peer->in_view || peer->suspected)
        return;
    peer->suspected = true;
    shl_log(SHL_LOG_INFO, "member %016llx is suspected: %s", (unsigned long long)peer->id, why);
    shl_membership_suspect(peer->node->core, shl_now_ns(), peer->id);
    /* Afterwards: to read it may take a while where memory is short. */
    const char *remark = NULL;
    if (peer->pidfd >= 0 && shl_log_enabled(SHL_LOG_INFO))
        remark = shl_topology_oom_remark(&peer->node->oom_kills);
    if (remark)
        shl_log(SHL_LOG_INFO, "member %016llx: %s", (unsigned long long)peer->id, remark);
}

/* ---- dialling ------------------------------------------------------------------------------- */

/* Twice as long each time, and of that between half and all, so that members do not knock in step.
 */
static void dial_later(struct shl_node_peer *peer)
{
    uint32_t chance = 0;
    uint32_t next_ms = peer->backoff_ms ? 2 * peer->backoff_ms : RETRY_FIRST_MS;
    peer->backoff_ms = next_ms < RETRY_LAST_MS ? next_ms : RETRY_LAST_MS;
    uint64_t half_ns = peer->backoff_ms * SHL_NODE_MS / 2;
    if (shl_random->bytes(&chance, sizeof(chance)))
        chance = UINT32_MAX; /* without luck it is the longest */
    shl_loop_timer_set(&peer->node->loop, &peer->retry,
                       shl_now_ns() + half_ns + (half_ns * chance >> 32));
}

static void connected(struct shl_node_peer *peer, int fd)
{
    if (!shl_node_link_attach(peer, fd)) {
        dial_later(peer);
        return;
    }
    shl_loop_timer_stop(&peer->node->loop, &peer->retry);
    if (peer->suspected) {
        peer->suspected = false;
        shl_membership_reached(peer->node->core, shl_now_ns(), peer->id);
    }
}

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    struct shl_node_peer *peer = arg;
    if (result->outcome == SHL_DIAL_CONNECTED) {
        if (peer->watch.fd < 0 || peer->stalls)
            connected(peer, result->fd);
        else
            shl_fd->close(result->fd); /* the other's call came first */
        return;
    }
    peer->refuses = result->outcome == SHL_DIAL_REFUSED;
    bool given_up = result->outcome == SHL_DIAL_DENIED &&
                    (result->welcome == SHL_WELCOME_EVICTED || result->welcome == SHL_WELCOME_LEFT);
    if (result->outcome == SHL_DIAL_DENIED && result->status == SHOAL_ERR_VERSION &&
        !peer->backoff_ms)
        shl_log(SHL_LOG_WARN, "member %016llx cannot be spoken with: %s",
                (unsigned long long)peer->id, result->cause);
    dial_later(peer);
    if (peer->refuses || given_up)
        shl_node_peer_suspect(peer, result->cause);
}

void shl_node_peer_refresh(struct shl_node_peer *peer)
{
    if (!peer->stalls)
        shl_log(SHL_LOG_INFO, "session with member %016llx stalls", (unsigned long long)peer->id);
    peer->stalls = true;
    if (peer->node->self.id < peer->id)
        shl_node_peer_dial(peer);
}

void shl_node_peer_dial(struct shl_node_peer *peer)
{
    bool is_up = peer->watch.fd >= 0 && !peer->stalls;
    if (!peer->has_address || peer->dialler.running || is_up || peer->doomed || peer->retry.armed)
        return;
    peer->dialler.brisk = peer->in_view;
    peer->dialler.deadline_ns = shl_now_ns() + DIAL_MS * SHL_NODE_MS;
    shl_dialler_start(&peer->dialler);
}

static void on_retry(void *arg)
{
    struct shl_node_peer *peer = arg;
    if (peer->in_record)
        shl_node_peer_dial(peer);
}

static void init_dialler(struct shl_node_peer *peer)
{
    struct shl_node *node = peer->node;
    struct shl_dialler *dialler = &peer->dialler;
    shl_dialler_init(dialler, &node->loop);
    dialler->key = &node->key;
    dialler->hello = (struct shl_hello){.kind = SHL_CHANNEL_MEMBER,
                                        .rank = (uint32_t)node->self.id,
                                        .target_rank = (uint32_t)peer->id,
                                        .incarnation = node->self.id,
                                        .epoch = peer->id};
    memcpy(dialler->hello.job, node->job_hash, sizeof(dialler->hello.job));
    dialler->target = &peer->target;
    dialler->give_up_when_refused = true;
    dialler->arg = peer;
    dialler->done = on_dialled;
}

static struct shl_node_peer *create(struct shl_node *node, uint64_t id)
{
    struct shl_node_peer *peer = shl_mem->alloc(sizeof(*peer));
    if (!peer)
        return NULL;
    peer->node = node;
    peer->id = id;
    peer->heard_ns = shl_now_ns();
    init_dialler(peer);
    shl_timer_init(&peer->retry, on_retry, peer);
    shl_node_link_init(peer);
    shl_list_append(&node->peers, &peer->link);
    node->peer_count++;
    return peer;
}

static void destroy(struct shl_node_peer *peer)
{
    struct shl_node *node = peer->node;
    shl_dialler_stop(&peer->dialler);
    shl_loop_timer_stop(&node->loop, &peer->retry);
    shl_node_link_free(peer);
    shl_list_remove(&peer->link);
    node->peer_count--;
    shl_mem->free(peer);
}

void shl_node_peers_free(struct shl_node *node)
{
    while (!shl_list_empty(&node->peers))
        destroy(SHL_CONTAINER_OF(node->peers.next, struct shl_node_peer, link));
}

/* ---- being dialled -------------------------------------------------------------------------- */

static bool was_evicted(const struct shl_node *node, uint64_t id)
{
    for (uint32_t i = 0; i < SHL_NODE_EVICTED; i++)
        if (node->evicted[i] == id)
            return true;
    return false;
}

enum shl_welcome shl_node_peer_admit(void *arg, const struct shl_hello *hello, bool local)
{
    struct shl_node *node = arg;
    uint64_t id = hello->incarnation;
    (void)local;
    if (hello->kind != SHL_CHANNEL_MEMBER || id == node->self.id || !id)
        return SHL_WELCOME_WRONG;
    if (node->ended)
        return SHL_WELCOME_LEFT;
    if (was_evicted(node, id))
        return SHL_WELCOME_EVICTED;
    const struct shl_node_peer *peer = shl_node_peer_find(node, id);
    if (!peer)
        return node->peer_count < SHL_MEMBERS_MAX + SHL_NODE_STRANGERS ? SHL_WELCOME_OK
                                                                       : SHL_WELCOME_WRONG;
    bool mine_first = node->self.id < id && !peer->broke &&
                      (peer->watch.fd >= 0 || (peer->dialler.running && !peer->dialler.cause[0]));
    return mine_first ? SHL_WELCOME_WRONG : SHL_WELCOME_OK;
}

void shl_node_peer_accepted(void *arg, int fd, const struct shl_hello *hello, bool local)
{
    struct shl_node *node = arg;
    struct shl_node_peer *peer = shl_node_peer_find(node, hello->incarnation);
    (void)local;
    if (!peer)
        peer = create(node, hello->incarnation);
    if (!peer || node->ended) {
        shl_fd->close(fd);
        return;
    }
    shl_dialler_stop(&peer->dialler);
    connected(peer, fd);
}

/* ---- following the record ------------------------------------------------------------------- */

/* Said once, when the peer is new. */
static void tell_unreachable(const struct shl_node_peer *peer)
{
    shl_log(SHL_LOG_WARN,
            "member %016llx of another host listens on loopback only and cannot be reached; set "
            "SHOAL_SECRET_FILE for all members, or SHOAL_INSECURE=1 on a trusted network",
            (unsigned long long)peer->id);
}

static void note_member(struct shl_node *node, const struct shl_member *member, bool in_view)
{
    struct shl_node_address address;
    if (member->id == node->self.id)
        return;
    struct shl_node_peer *peer = shl_node_peer_find(node, member->id);
    bool is_new = !peer;
    if (!peer)
        peer = create(node, member->id);
    if (!peer)
        return; /* without memory for it, it is not reached */
    if (in_view && !peer->in_view)
        peer->heard_ns = shl_now_ns();
    peer->in_record = true;
    peer->in_view |= in_view;
    if (!peer->has_address && shl_node_address_get(member, &address)) {
        shl_node_address_target(&address, member->id, node->host, &peer->target);
        peer->has_address = peer->target.count > 0;
        if (is_new && !peer->has_address)
            tell_unreachable(peer);
    }
}

/* Who was in the view and is not any more is let go; a learner (not `member`) has not been in one.
 */
static void mark(struct shl_node *node, const struct shl_record *record, bool member)
{
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next) {
        struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        peer->in_record = false;
        if (!member)
            continue;
        bool stays = shl_members_find(&record->view, peer->id) != SHL_MEMBER_NONE;
        if (peer->in_view && !stays) {
            node->evicted[node->evicted_next++ % SHL_NODE_EVICTED] = peer->id;
            peer->doomed = true;
        }
    }
}

static void follow_record(struct shl_node *node)
{
    const struct shl_record *record = shl_membership_record(node->core);
    node->members_changed = false;
    if (!record || record->phase == SHL_PHASE_FORMING)
        return;
    bool member = shl_members_find(&record->view, node->self.id) != SHL_MEMBER_NONE;
    mark(node, record, member);
    for (uint32_t i = 0; i < record->view.count; i++)
        note_member(node, &record->view.at[i], member);
    for (uint32_t i = 0; member && i < record->next.count; i++)
        note_member(node, &record->next.at[i], false);
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next) {
        struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->in_record && (!member || node->self.id < peer->id))
            shl_node_peer_dial(peer);
    }
}

/* A learner that went away, or a member that the record does not have any more: it dials, if it
 * wants something. */
static bool is_idle(const struct shl_node_peer *peer)
{
    return !peer->in_view && !peer->in_record && peer->watch.fd < 0 && !peer->dialler.running;
}

static void let_go(struct shl_node *node)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &node->peers)
    {
        struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->broke) {
            shl_log(SHL_LOG_INFO, "session with member %016llx: %s", (unsigned long long)peer->id,
                    peer->why);
            shl_node_link_detach(peer);
            if (!peer->in_view) /* one that is being let in is not waited for in vain */
                shl_membership_suspect(node->core, shl_now_ns(), peer->id);
            if (peer->in_record && !peer->spoke)
                dial_later(peer); /* a session that brings nothing is no success */
            else if (peer->in_record)
                shl_node_peer_dial(peer);
        }
        if (peer->doomed || node->ended || is_idle(peer))
            destroy(peer);
    }
}

void shl_node_settle(struct shl_node *node)
{
    if (node->members_changed && !node->ended)
        follow_record(node);
    let_go(node);
}
