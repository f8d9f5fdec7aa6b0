/*
 * What ranks tell each other before they connect, and connecting.
 *
 * Pairs that an earlier transport carries are left alone. A pair of neighbours (verbs_wake.c) uses
 * verbs when a frame has crossed each way and both have said so over the control channel; whatever
 * else happens, both use the next transport, and each logs why. Of other pairs nothing but
 * greetings is awaited: they connect when they are used.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "control/sock.h"
#include "core/bytes.h"
#include "core/config.h"
#include "core/log.h"
#include "core/sys.h"
#include "transport/verbs/verbs_host.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>

#define PAUSE_NS 200000
#define CONNECT_NS UINT64_C(10000000000) /* for all pairs; above what a dead path takes to tell */

size_t shl_verbs_describe(struct shl_transport *t, void *blob, size_t capacity)
{
    struct shl_bytes out = shl_bytes_writer(blob, capacity);
    shl_bytes_put_u8(&out, SHL_VERBS_BLOB_VERSION);
    shl_bytes_put_u8(&out, t->usable);
    shl_bytes_put_u8(&out, (uint8_t)t->port.kind);
    shl_bytes_put_u8(&out, (uint8_t)t->rail_count);
    shl_bytes_put_u8(&out, (uint8_t)t->nearest);
    shl_bytes_put_u8(&out, t->port.by_cm);
    shl_bytes_put_u64(&out, shl_verbs_host(t->env));
    shl_bytes_put_string(&out, t->usable ? t->port.device : t->why_not);
    return out.failed ? 0 : out.at;
}

/* The rail that frames begin by: the one that is nearest to the lower rank, if both have it. */
static uint32_t first_rail(const struct shl_transport *t, uint32_t peer, uint32_t peer_rails,
                           uint32_t peer_nearest)
{
    uint32_t rail = peer < t->env->rank ? peer_nearest : t->nearest;
    return rail < t->rail_count && rail < peer_rails ? rail : 0;
}

/* NULL, or why there is no use in trying. `rail`: that frames begin by. */
static const char *judge(const struct shl_transport *t, uint32_t peer, const void *blob,
                         size_t blob_bytes, uint32_t *rail, char text[SHL_VERBS_CAUSE_BYTES])
{
    struct shl_bytes in = shl_bytes_reader(blob, blob ? blob_bytes : 0);
    uint8_t version = shl_bytes_get_u8(&in);
    uint8_t usable = shl_bytes_get_u8(&in);
    uint8_t kind = shl_bytes_get_u8(&in);
    uint8_t rails = shl_bytes_get_u8(&in);
    uint8_t nearest = shl_bytes_get_u8(&in);
    uint8_t by_cm = shl_bytes_get_u8(&in);
    (void)shl_bytes_get_u64(&in);
    char told[SHL_VERBS_CAUSE_BYTES];
    shl_bytes_get_string(&in, told, sizeof(told));
    if (in.failed || version != SHL_VERBS_BLOB_VERSION)
        return "its description is not legal";
    if (!usable) {
        snprintf(text, SHL_VERBS_CAUSE_BYTES, "it says: %.200s", told);
        return text;
    }
    *rail = first_rail(t, peer, rails, nearest);
    if (kind != t->port.kind) {
        snprintf(text, SHL_VERBS_CAUSE_BYTES, "it has %s, and this rank %s",
                 shl_verbs_kind_string(kind), shl_verbs_kind_string(t->port.kind));
        return text;
    }
    return by_cm == t->port.by_cm ? NULL
                                  : "one connects by rdma_cm and the other does not: set "
                                    "SHOAL_IB_CONNECT alike";
}

/* ---- one pair ------------------------------------------------------------------------------ */

static bool say(struct shl_verbs_link *link, const void *bytes, size_t count)
{
    ssize_t sent = shl_sock->send(link->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == (ssize_t)count; /* the channel is empty, so it takes this little */
}

static void say_word(struct shl_verbs_link *link, enum shl_verbs_word word)
{
    uint8_t byte = (uint8_t)word;
    if (!say(link, &byte, 1))
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "its channel broke");
}

static enum shoal_status greet(struct shl_verbs_link *link)
{
    const struct shl_verbs_port *port = &link->t->port;
    const struct shl_transport_env *env = link->t->env;
    link->direct.rail_count = link->t->rail_count;
    link->direct.qps = (uint32_t)env->config->ib_qps;
    if (!link->asleep)
        SHL_TRY(shl_verbs_pair_create_all(link));
    if (shl_random->bytes(link->nonce, sizeof(link->nonce)) != 0)
        return shl_fail_errno("no random number to connect by");
    struct shl_verbs_greeting greeting = {.magic = SHL_VERBS_MAGIC,
                                          .version = SHL_VERBS_VERSION,
                                          .epoch = env->epoch,
                                          .incarnation = env->incarnation,
                                          .rail_count = link->t->rail_count,
                                          .qps = link->direct.qps,
                                          .direct_psn = link->direct.first_psn,
                                          .mtu_bytes = port->mtu_bytes,
                                          .lid = port->lid,
                                          .kind = port->kind};
    if (link->qp) {
        greeting.queue_pair = link->qp->qp_num;
        greeting.first_psn = link->first_psn;
        greeting.window_key = link->t->rails[link->rail].pool_mr->rkey;
    }
    memcpy(greeting.gid, port->gid, sizeof(greeting.gid));
    memcpy(greeting.nonce, link->nonce, sizeof(greeting.nonce));
    for (uint32_t rail = 0; rail < link->t->rail_count; rail++) {
        const struct shl_verbs_port *on = &link->t->rails[rail].port;
        greeting.rails[rail] = (struct shl_verbs_end){
            .mtu_bytes = on->mtu_bytes, .lid = on->lid, .port = shl_verbs_cm_port(link->t, rail)};
        memcpy(greeting.rails[rail].gid, on->by_cm ? on->address : on->gid, sizeof(on->gid));
    }
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++)
        if (link->direct.lanes[index].qp)
            greeting.pairs[index] = link->direct.lanes[index].qp->qp_num;
    if (!say(link, &greeting, sizeof(greeting)))
        return shl_fail(SHOAL_ERR_PEER, "its channel broke");
    link->state = SHL_VERBS_GREETING;
    return SHOAL_OK;
}

static void agree(struct shl_verbs_link *link)
{
    link->state = SHL_VERBS_AGREEING;
    say_word(link, SHL_VERBS_PROVED);
}

static void on_greeting(struct shl_verbs_link *link)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_verbs_greeting greeting;
    memcpy(&greeting, link->greeting, sizeof(greeting));
    if (greeting.magic != SHL_VERBS_MAGIC || greeting.version != SHL_VERBS_VERSION)
        shl_verbs_link_fail(link, SHOAL_ERR_VERSION, "it greets in another version");
    else if (greeting.epoch != env->epoch || greeting.incarnation != env->incarnation)
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "it greets from another epoch");
    else if ((link->asleep ? shl_verbs_pair_agree(link, &greeting)
                           : shl_verbs_pair_connect_all(link, &greeting)) < 0)
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s", shl_error_text());
    else if (link->asleep)
        agree(link);
    else
        link->state = SHL_VERBS_JOINING;
}

/* What the peer says next may wait, but not that it says nothing any more. */
static bool has_left(const struct shl_verbs_link *link)
{
    uint8_t word;
    ssize_t got = shl_sock->recv(link->fd, &word, 1, MSG_DONTWAIT | MSG_PEEK);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

/* Are all pairs connected? Without rdma_cm they are from the start. */
static void join(struct shl_verbs_link *link)
{
    const char *cause;
    int outcome = shl_verbs_pair_joined_all(link, &cause);
    if (outcome == 0 && has_left(link)) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "it could not connect; its log says why");
        return;
    }
    if (outcome < 0) {
        char text[SHL_VERBS_CAUSE_BYTES]; /* `cause` ends with the pairs */
        snprintf(text, sizeof(text), "%s", cause);
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s", text);
    }
    if (outcome <= 0)
        return;
    link->direct.joining = false;
    link->direct.up = true;
    link->state = SHL_VERBS_CONNECTING;
    say_word(link, SHL_VERBS_CONNECTED);
}

/* A word of the peer's; 0: none. */
static uint8_t hear(struct shl_verbs_link *link)
{
    uint8_t word = 0;
    ssize_t got = shl_sock->recv(link->fd, &word, 1, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        word = SHL_VERBS_REFUSED;
    if (word == SHL_VERBS_REFUSED)
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "it could not connect; its log says why");
    return got == 1 && link->state != SHL_VERBS_LOST ? word : 0;
}

static void hear_greeting(struct shl_verbs_link *link)
{
    size_t left = sizeof(link->greeting) - link->greeting_bytes;
    ssize_t got =
        shl_sock->recv(link->fd, link->greeting + link->greeting_bytes, left, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "it ended its channel");
        return;
    }
    link->greeting_bytes += got > 0 ? (uint32_t)got : 0;
    if (link->greeting_bytes == sizeof(link->greeting))
        on_greeting(link);
}

static void advance(struct shl_verbs_link *link)
{
    if (link->state == SHL_VERBS_GREETING)
        hear_greeting(link);
    if (link->state == SHL_VERBS_JOINING)
        join(link);
    if (link->state == SHL_VERBS_CONNECTING && hear(link) == SHL_VERBS_CONNECTED) {
        link->state = SHL_VERBS_PROVING;
        if (!shl_verbs_say_last(link))
            shl_verbs_link_fail(link, SHOAL_ERR_PEER, "its queue pair takes nothing");
    }
    if (link->state == SHL_VERBS_PROVING && link->proof_sent && link->proof_received)
        agree(link);
    if (link->state == SHL_VERBS_AGREEING && hear(link) == SHL_VERBS_PROVED)
        link->state = SHL_VERBS_UP;
}

/* ---- all pairs ----------------------------------------------------------------------------- */

static void take_channels(struct shl_transport *t)
{
    uint32_t peer;
    int fd;
    char cause[160];
    while (shl_verbs_calls_take(t->calls, &peer, &fd, cause, sizeof(cause))) {
        struct shl_verbs_link *link = t->links[peer];
        link->fd = fd;
        if (fd >= 0)
            shl_sock_keep_pace(fd); /* moves are quick when the network is back after a cut */
        if (fd < 0)
            shl_verbs_link_fail(link, SHOAL_ERR_PEER, "no control channel: %s", cause);
        else if (greet(link) < 0)
            shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s", shl_error_text());
    }
}

/* Proofs are handled; what peers that are ahead already send waits for the first poll. */
static void take_proofs_of(struct shl_transport *t, struct ibv_cq *cq)
{
    struct ibv_wc completion;
    while (shl_verbs->poll_cq(cq, 1, &completion) == 1) {
        const struct shl_verbs_link *link = t->links[shl_verbs_peer_of(&completion)];
        bool early = link && (link->proof_received || link->state > SHL_VERBS_PROVING) &&
                     !(completion.wr_id & UINT64_C(1) << 31) && completion.status == IBV_WC_SUCCESS;
        if (early && t->deferred_count < t->deferred_capacity)
            t->deferred[t->deferred_count++] = completion;
        else
            shl_verbs_arrive(t, &completion);
    }
}

static void take_proofs(struct shl_transport *t)
{
    for (uint32_t rail = 0; rail < t->rail_count; rail++)
        take_proofs_of(t, t->rails[rail].cq);
}

static bool unsettled(const struct shl_transport *t)
{
    for (uint32_t peer = 0; peer < t->env->size; peer++)
        if (t->links[peer] && t->links[peer]->state < SHL_VERBS_UP)
            return true;
    return false;
}

static void connect_all(struct shl_transport *t, uint64_t deadline_ns)
{
    static const char *const steps[] = {"its control channel",
                                        "its greeting",
                                        "rdma_cm to connect its queue pairs",
                                        "its queue pair to connect",
                                        "a frame to cross each way",
                                        "its agreement"};
    while (unsettled(t) && shl_now_ns() < deadline_ns) {
        take_channels(t);
        (void)shl_verbs_cm_read(t);
        take_proofs(t);
        for (uint32_t peer = 0; peer < t->env->size; peer++)
            if (t->links[peer] && t->links[peer]->state < SHL_VERBS_UP)
                advance(t->links[peer]);
        if (unsettled(t))
            shl_time->sleep_ns(PAUSE_NS);
    }
    for (uint32_t peer = 0; peer < t->env->size; peer++) {
        struct shl_verbs_link *link = t->links[peer];
        if (link && link->state < SHL_VERBS_UP)
            shl_verbs_link_fail(link, SHOAL_ERR_TIMEOUT, "waited in vain for %s",
                                steps[link->state]);
    }
}

/* The host of a rank; 0: its description is not legal. */
static uint64_t host_of(const void *blob, size_t blob_bytes)
{
    struct shl_bytes in = shl_bytes_reader(blob, blob ? blob_bytes : 0);
    uint8_t version = shl_bytes_get_u8(&in);
    for (int skipped = 0; skipped < 5; skipped++)
        (void)shl_bytes_get_u8(&in);
    uint64_t host = shl_bytes_get_u64(&in);
    return in.failed || version != SHL_VERBS_BLOB_VERSION ? 0 : host;
}

static bool is_carried(const struct shl_transport_env *env, uint32_t peer)
{
    return env->carried && env->carried(env->arg, peer);
}

static enum shoal_status dial_all(struct shl_transport *t, const void *const *blobs,
                                  const size_t *blob_bytes, uint64_t deadline_ns)
{
    if (!t->usable) {
        shl_log(SHL_LOG_WARN, "verbs reaches nobody: %s", t->why_not);
        return SHOAL_OK;
    }
    for (uint32_t peer = 0; peer < t->env->size; peer++)
        t->hosts[peer] = host_of(blobs[peer], blob_bytes[peer]);
    t->hosts[t->env->rank] = shl_verbs_host(t->env);
    for (uint32_t peer = 0; peer < t->env->size; peer++) {
        char text[SHL_VERBS_CAUSE_BYTES];
        uint32_t rail = 0;
        if (peer == t->env->rank || is_carried(t->env, peer))
            continue;
        const char *why = judge(t, peer, blobs[peer], blob_bytes[peer], &rail, text);
        if (why) {
            shl_log(SHL_LOG_WARN, "verbs does not reach rank %u: %s", peer, why);
            continue;
        }
        SHL_TRY(shl_verbs_link_create(t, peer));
        t->links[peer]->rail = t->links[peer]->first_rail = rail;
        if (shl_verbs_sleeps_first(t, peer))
            shl_verbs_lie_down(t->links[peer]);
    }
    for (uint32_t peer = 0; peer < t->env->size; peer++)
        if (t->links[peer])
            SHL_TRY(shl_verbs_calls_dial(t->calls, t->env->control, peer, deadline_ns));
    return SHOAL_OK;
}

static enum shoal_status watch_channel(struct shl_transport *t, struct shl_verbs_link *link)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = link->peer};
    if (shl_fd->epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, link->fd, &event) != 0)
        return shl_fail_errno("the channel to rank %u cannot be watched", link->peer);
    return SHOAL_OK;
}

enum shoal_status shl_verbs_attach(struct shl_transport *t, const void *const *blobs,
                                   const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches)
{
    uint64_t limit_ns = shl_now_ns() + CONNECT_NS;
    limit_ns = limit_ns < deadline_ns ? limit_ns : deadline_ns;
    memset(reaches, 0, t->env->size * sizeof(*reaches));
    SHL_TRY(dial_all(t, blobs, blob_bytes, limit_ns));
    if (t->usable)
        connect_all(t, limit_ns);
    for (uint32_t peer = 0; peer < t->env->size; peer++) {
        struct shl_verbs_link *link = t->links[peer];
        if (!link)
            continue;
        reaches[peer] = link->state == SHL_VERBS_UP;
        if (reaches[peer])
            SHL_TRY(watch_channel(t, link));
        else
            shl_log(SHL_LOG_WARN, "verbs does not reach rank %u: %s", peer, link->cause);
    }
    return SHOAL_OK;
}
