/*
 * Progress: completions first, then what they made possible; now and then the control channels,
 * the device's events and the watchdog.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "control/sock.h"
#include "core/config.h"
#include "core/sys.h"

#include <sys/epoll.h>

#define BATCH 16
#define BATCHES 8       /* of completions a poll */
#define SWEEP_POLLS 256 /* between looks at what is not a completion */
#define EVENTS_MAX 16
#define WATCHDOG_NS                                                                                \
    UINT64_C(5000000000) /* well above what the retransmissions of a request take                  \
                          */

unsigned shl_verbs_take(struct shl_transport *t, uint32_t most)
{
    if (t->deferred_next == t->deferred_count)
        t->deferred_next = t->deferred_count = 0;
    unsigned taken = 0;
    for (uint32_t rail = 0; rail < t->rail_count; rail++) {
        uint32_t left = t->deferred_capacity - t->deferred_count;
        left = left < most ? left : most;
        if (left == 0)
            break;
        int count =
            shl_verbs->poll_cq(t->rails[rail].cq, (int)left, t->deferred + t->deferred_count);
        if (count <= 0)
            continue;
        t->rails[rail].mute = false;
        t->deferred_count += (uint32_t)count;
        taken += (unsigned)count;
    }
    return taken;
}

/* Handling a completion may take further ones: they come after those that are there. */
unsigned shl_verbs_drain(struct shl_transport *t)
{
    unsigned work = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        unsigned count = shl_verbs_take(t, BATCH);
        while (t->deferred_next < t->deferred_count) {
            struct ibv_wc completion = t->deferred[t->deferred_next++];
            shl_verbs_arrive(t, &completion);
            work++;
        }
        if (count < BATCH)
            break;
    }
    return work;
}

/* ---- channels and events ------------------------------------------------------------------- */

bool shl_verbs_said_bye(struct shl_verbs_link *link)
{
    uint8_t word = 0;
    if (link->state != SHL_VERBS_UP || link->channel.in_bytes ||
        shl_sock->recv(link->fd, &word, 1, MSG_DONTWAIT | MSG_PEEK) != 1 || word != SHL_VERBS_BYE)
        return false;
    shl_verbs_link_gone(link);
    return true;
}

/* Has a pair had requests outstanding for so long, and nothing completes? */
static bool too_quiet(uint32_t signalled, uint64_t *quiet_ns, uint64_t now_ns)
{
    if (signalled && !*quiet_ns)
        *quiet_ns = now_ns;
    return signalled && now_ns - *quiet_ns > WATCHDOG_NS;
}

/* Connections of rdma_cm that ended, and nobody said why. */
static void watch_joins(struct shl_verbs_link *link, uint64_t now_ns)
{
    const char *cause = shl_verbs_join_broken(&link->join, now_ns);
    if (cause && link->rail < SHL_VERBS_RAILS)
        shl_verbs_rail_fail(link, link->rail, "%s to rank %u: %s",
                            link->t->rails[link->rail].port.device, link->peer, cause);
    const struct shl_verbs_move *move = &link->move;
    if (move->step != SHL_VERBS_SETTLED || now_ns < move->since_ns + SHL_VERBS_SAY_NS)
        return; /* what the peer has to say by frames may be late */
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        uint32_t rail = shl_verbs_rail_of(index);
        cause = shl_verbs_join_broken(&link->direct.lanes[index].join, now_ns);
        if (cause && !link->direct.reset_wanted)
            shl_verbs_rail_fail(link, rail, "%s to rank %u, writing in place: %s",
                                link->t->rails[rail].port.device, link->peer, cause);
    }
}

/* A request whose completion never comes: there are faults that raise nothing. */
static void watch(struct shl_verbs_link *link, uint64_t now_ns)
{
    if (link->state != SHL_VERBS_UP || link->asleep)
        return;
    if (link->rail != SHL_VERBS_CHANNEL)
        (void)shl_verbs_move_advance(link, now_ns); /* try rails again that are out */
    watch_joins(link, now_ns);
    static const char text[] = "a request is not complete after 5 s, and no error is reported";
    if (too_quiet(link->signalled, &link->quiet_ns, now_ns))
        shl_verbs_rail_fail(link, link->rail, "%s to rank %u: %s",
                            link->t->rails[link->rail].port.device, link->peer, text);
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        struct shl_verbs_lane *lane = &link->direct.lanes[index];
        uint32_t rail = shl_verbs_rail_of(index);
        if (too_quiet(lane->signalled, &lane->quiet_ns, now_ns))
            shl_verbs_rail_fail(link, rail, "%s to rank %u, writing in place: %s",
                                link->t->rails[rail].port.device, link->peer, text);
    }
}

static unsigned sweep(struct shl_transport *t)
{
    struct epoll_event events[EVENTS_MAX];
    unsigned work = 0;
    int count = shl_fd->epoll_wait(t->epoll_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        uint64_t name = events[i].data.u64;
        struct shl_verbs_link *link = name < t->env->size ? t->links[name] : NULL;
        if (name == SHL_VERBS_WATCH_SEEK)
            work += shl_verbs_seek_hear(t); /* else nobody would poll again, to use it */
        else if (name == SHL_VERBS_WATCH_CM)
            work += shl_verbs_cm_read(t);
        else if (name >= SHL_VERBS_WATCH_EVENTS)
            work += shl_verbs_read_events(t, (uint32_t)name);
        else if (name >= SHL_VERBS_WATCH_CHANNEL)
            shl_verbs_read_notifications(t, (uint32_t)name);
        else if (link && link->fd >= 0)
            work += shl_verbs_channel_read(link);
    }
    uint64_t now_ns = shl_now_ns(); /* not before what the events have noted */
    for (uint32_t peer = 0; peer < t->env->size; peer++)
        if (t->links[peer])
            watch(t->links[peer], now_ns);
    return work;
}

/* ---- the contract -------------------------------------------------------------------------- */

/* Frames go by the channel, or are between two carriers. */
static unsigned advance_move(struct shl_verbs_link *link)
{
    unsigned work = shl_verbs_channel_read(link);
    return work + shl_verbs_move_advance(link, shl_now_ns());
}

static unsigned advance(struct shl_verbs_link *link)
{
    unsigned work = shl_verbs_direct_settle(link) + shl_verbs_direct_join(link);
    work += shl_verbs_sought(link);
    if (SHL_UNLIKELY(shl_verbs_move_due(link)))
        work += advance_move(link);
    if (link->state != SHL_VERBS_UP)
        return work;
    if (SHL_UNLIKELY(link->direct.reset_wanted && link->direct.up)) {
        shl_verbs_direct_reset(link);
        work++;
    }
    if (!shl_list_empty(&link->granting))
        work += shl_verbs_grant(link);
    work += shl_verbs_flush(link);
    if (SHL_UNLIKELY(shl_verbs_move_due(link)))
        work += shl_verbs_channel_write(link);
    return work;
}

unsigned shl_verbs_poll(struct shl_transport *t)
{
    unsigned work = 0;
    if (!t->cq)
        return 0;
    work += shl_verbs_drain(t);
    for (uint32_t peer = 0; peer < t->env->size; peer++)
        if (t->links[peer])
            work += advance(t->links[peer]);
    if (++t->polls % SWEEP_POLLS == 0 || t->armed) {
        t->armed = false;
        work += sweep(t);
    }
    return work;
}

static bool is_due(const struct shl_verbs_link *link)
{
    const struct shl_verbs_direct *direct = &link->direct;
    return direct->settle || (link->state == SHL_VERBS_UP &&
                              ((direct->reset_wanted && direct->up) || shl_verbs_sought_any(link)));
}

bool shl_verbs_arm(struct shl_transport *t, bool sleeping)
{
    if (!sleeping || !t->cq)
        return true;
    t->armed = true; /* the next poll looks at everything */
    for (uint32_t rail = 0; rail < t->rail_count; rail++) {
        shl_verbs_read_notifications(t, rail);
        if (shl_verbs->req_notify_cq(t->rails[rail].cq, 0) != 0)
            return false;
    }
    for (uint32_t peer = 0; peer < t->env->size; peer++)
        if (t->links[peer] && is_due(t->links[peer]))
            return false;
    /* What came before the notification was asked for raises none. */
    (void)shl_verbs_take(t, UINT32_MAX);
    return t->deferred_next == t->deferred_count;
}
