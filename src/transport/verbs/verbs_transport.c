/*
 * The transport contract over verbs: opening, closing, and the table of operations.
 *
 * A machine without usable devices opens as well, and reaches nobody: which transport carries a
 * pair of ranks is decided in attach.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/sys.h"

#include <stdio.h>
#include <sys/epoll.h>

#define LINGER_NS UINT64_C(50000000)

/* ---- opening ------------------------------------------------------------------------------- */

static void choose_rails(struct shl_transport *t, struct shl_verbs_port *ports, uint32_t count)
{
    uint32_t chosen[SHL_VERBS_RAILS];
    t->rail_count =
        shl_verbs_ports_choose(ports, count, t->env->near, chosen, SHL_VERBS_RAILS, &t->nearest);
    for (uint32_t rail = 0; rail < t->rail_count; rail++)
        t->rails[rail].port = ports[chosen[rail]];
    t->port = t->rails[t->nearest].port;
}

/* Why no port can be used: of each, as far as there is room. */
static void explain(struct shl_transport *t, const struct shl_verbs_port *ports, uint32_t count)
{
    static const char more[] = "; and %u more, see `shoal info`";
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        char number[16] = "", one[SHL_VERBS_CAUSE_BYTES];
        if (ports[i].port)
            snprintf(number, sizeof(number), ":%u", ports[i].port);
        int length = snprintf(one, sizeof(one), "%s%s%s: %.180s", i > 0 ? "; " : "",
                              ports[i].device, number, ports[i].reason);
        size_t left = sizeof(t->why_not) - at;
        if (i > 0 && (size_t)length + (i + 1 < count ? sizeof(more) : 0) >= left) {
            snprintf(t->why_not + at, left, more, count - i);
            return;
        }
        snprintf(t->why_not + at, left, "%s", one);
        at += (size_t)length;
    }
}

/* Sets `usable` and either `port` or `why_not`. */
static enum shoal_status choose_port(struct shl_transport *t)
{
    uint32_t count = 0;
    struct shl_verbs_port *ports = shl_mem->alloc(SHL_VERBS_PORTS_MAX * sizeof(*ports));
    if (!ports)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to look for RDMA devices");
    enum shoal_status status =
        shl_verbs_ports_find(t->env->config, ports, SHL_VERBS_PORTS_MAX, &count);
    if (status == SHOAL_ERR_UNSUPPORTED)
        snprintf(t->why_not, sizeof(t->why_not), "%s", shl_error_text());
    else if (status == SHOAL_OK && count == 0)
        snprintf(t->why_not, sizeof(t->why_not), "%s", shl_verbs_none_string());
    else if (status == SHOAL_OK && !ports[0].usable)
        explain(t, ports, count);
    t->usable = status == SHOAL_OK && count > 0 && ports[0].usable;
    if (t->usable)
        choose_rails(t, ports, count);
    shl_mem->free(ports);
    return status == SHOAL_ERR_UNSUPPORTED ? SHOAL_OK : status;
}

/* A device that cannot be used is a reason to use another transport, which peers are told. */
static void open_port(struct shl_transport *t)
{
    if (!t->usable || shl_verbs_device_open(t, t->env->size - 1) == SHOAL_OK)
        return;
    snprintf(t->why_not, sizeof(t->why_not), "%s", shl_error_text());
    t->usable = false;
    shl_verbs_device_close(t);
}

static void free_transport(struct shl_transport *t)
{
    struct shl_list *node;
    shl_verbs_seek_close(t);
    shl_verbs_device_close(t);
    while ((node = shl_list_pop(&t->note_blocks)))
        shl_mem->free(node); /* the first member of its block */
    shl_verbs_calls_close(t->calls);
    if (t->epoll_fd >= 0)
        shl_fd->close(t->epoll_fd);
    shl_mem->free(t->hosts);
    shl_mem->free(t->links);
    shl_mem->free(t);
}

static enum shoal_status verbs_open(const struct shl_transport_env *env, struct shl_transport **out)
{
    if (env->size > SHL_VERBS_PEERS_MAX)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "verbs connects %u ranks at most",
                        SHL_VERBS_PEERS_MAX);
    struct shl_transport *t = shl_mem->alloc(sizeof(*t));
    if (!t)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the verbs transport");
    t->env = env;
    shl_list_init(&t->windows_free);
    shl_list_init(&t->stages_free);
    shl_list_init(&t->notes_free);
    shl_list_init(&t->note_blocks);
    shl_list_init(&t->holds_free);
    shl_list_init(&t->hold_blocks);
    enum shoal_status status = SHOAL_OK;
    t->epoll_fd = shl_fd->epoll_create(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        status = shl_fail_errno("epoll_create");
    t->links = shl_mem->alloc(env->size * sizeof(*t->links));
    t->hosts = shl_mem->alloc(env->size * sizeof(*t->hosts));
    if (status == SHOAL_OK && (!t->links || !t->hosts))
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory for verbs links to %u ranks", env->size);
    if (status == SHOAL_OK)
        status = shl_verbs_calls_create(&t->calls);
    if (status == SHOAL_OK)
        status = choose_port(t);
    if (status < 0) {
        free_transport(t);
        return status;
    }
    open_port(t);
    *out = t;
    return SHOAL_OK;
}

/* ---- closing ------------------------------------------------------------------------------- */

/* Small messages that were reported sent leave before the queue pair ends, if they can soon. */
static void linger(struct shl_transport *t, struct shl_verbs_link *link, uint64_t deadline_ns)
{
    struct shl_list *node;
    while ((node = shl_list_pop(&link->eager)))
        ; /* these were not reported sent */
    while ((node = shl_list_pop(&link->serving)))
        shl_list_append(&t->notes_free, node);
    bool said = false;
    for (unsigned looks = 0; link->state == SHL_VERBS_UP && !link->asleep; looks++) {
        if (looks >= SHL_VERBS_LOOKS && shl_now_ns() >= deadline_ns)
            break;
        shl_verbs_flush(link);
        said = said || (shl_list_empty(&link->outbox) && shl_verbs_say_last(link));
        if (said && link->requested == link->completed)
            break;
        if (!shl_verbs_drain(t) && !shl_verbs_channel_read(link) &&
            !shl_verbs_move_advance(link, shl_now_ns()) && !shl_verbs_channel_write(link))
            shl_time->sleep_ns(50000);
    }
    link->channel.bye_due = true;
    if (link->state == SHL_VERBS_UP)
        (void)shl_verbs_channel_write(link);
}

static void cancel_all(struct shl_verbs_link *link)
{
    struct shl_list *node;
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
        while ((node = shl_list_pop(&link->sends[i])))
            shl_verbs_forget(link, SHL_CONTAINER_OF(node, struct shl_xfer, link));
        while ((node = shl_list_pop(&link->recvs[i])))
            shl_verbs_recv_forget(link, SHL_CONTAINER_OF(node, struct shl_xfer, link));
    }
}

static bool nothing_wanted(void *arg, const struct shl_tag *tag)
{
    (void)arg, (void)tag;
    return false;
}

static void nothing_lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    (void)arg, (void)peer, (void)status, (void)cause;
}

static void verbs_close(struct shl_transport *t)
{
    if (!t)
        return;
    struct shl_transport_env quiet = *t->env;
    uint64_t deadline_ns = shl_now_ns() + LINGER_NS;
    quiet.wanted = nothing_wanted;
    quiet.lost = nothing_lost;
    t->env = &quiet;
    for (uint32_t peer = 0; peer < quiet.size; peer++)
        if (t->links[peer]) {
            shl_verbs_direct_shut(t->links[peer]);
            cancel_all(t->links[peer]);
        }
    for (uint32_t peer = 0; peer < quiet.size; peer++)
        if (t->links[peer] && t->links[peer]->state == SHL_VERBS_UP)
            linger(t, t->links[peer], deadline_ns);
    for (uint32_t peer = 0; peer < quiet.size; peer++)
        shl_verbs_link_destroy(t->links[peer]);
    free_transport(t);
}

/* ---- the rest ------------------------------------------------------------------------------ */

static int verbs_wait_fd(struct shl_transport *t)
{
    return t->epoll_fd;
}

static void verbs_drop_peer(struct shl_transport *t, uint32_t peer)
{
    struct shl_verbs_link *link = peer < t->env->size ? t->links[peer] : NULL;
    if (!link || link->state == SHL_VERBS_LOST)
        return;
    snprintf(link->cause, sizeof(link->cause), "given up");
    shl_verbs_link_shut(link, SHL_VERBS_LOST);
}

/* "rxe0, rxe1": the first carries the frames, and all of them writes in place. */
static void name_rails(const struct shl_verbs_link *link, char text[SHL_VERBS_CAUSE_BYTES])
{
    int at = snprintf(text, SHL_VERBS_CAUSE_BYTES, "%s",
                      link->rail == SHL_VERBS_CHANNEL   ? "the control channel (tcp)"
                      : link->rail == SHL_VERBS_NOWHERE ? "no rail at this moment"
                                                        : link->t->rails[link->rail].port.device);
    for (uint32_t rail = 0; rail < link->direct.rail_count; rail++)
        if (link->direct.lanes[rail].qp && rail != link->rail)
            at += snprintf(text + at, SHL_VERBS_CAUSE_BYTES - (size_t)at, ", %.60s",
                           link->t->rails[rail].port.device);
}

static void verbs_explain(struct shl_transport *t, uint32_t peer, char *text, size_t text_bytes)
{
    const struct shl_verbs_link *link = peer < t->env->size ? t->links[peer] : NULL;
    if (!link)
        snprintf(text, text_bytes, "verbs to rank %u: not connected", peer);
    else if (link->state == SHL_VERBS_LOST)
        snprintf(text, text_bytes, "verbs to rank %u: lost: %s", peer, link->cause);
    else if (link->asleep && link->state == SHL_VERBS_UP)
        snprintf(text, text_bytes, "verbs to rank %u: connected when it is first used", peer);
    else {
        char rails[SHL_VERBS_CAUSE_BYTES];
        name_rails(link, rails);
        snprintf(
            text, text_bytes,
            "verbs to rank %u: %s over %s%s, %u requests out, %u of the peer's receive requests "
            "in use, %llu bytes sent, %llu received, in place %llu and %llu of these",
            peer, link->state == SHL_VERBS_GONE ? "closed" : "up", rails, t->cm ? " (rdma_cm)" : "",
            link->requested - link->completed, link->sent - link->peer_taken,
            (unsigned long long)link->bytes_sent, (unsigned long long)link->bytes_received,
            (unsigned long long)link->direct.bytes_sent,
            (unsigned long long)link->direct.bytes_received);
    }
}

const struct shl_transport_ops shl_transport_verbs = {
    .name = "verbs",
    .eager_bytes = SHL_VERBS_EAGER_BYTES,
    .tells_places = true,
    .open = verbs_open,
    .close = verbs_close,
    .describe = shl_verbs_describe,
    .attach = shl_verbs_attach,
    .send = shl_verbs_send,
    .recv = shl_verbs_recv,
    .poll = shl_verbs_poll,
    .wait_fd = verbs_wait_fd,
    .arm = shl_verbs_arm,
    .cancel = shl_verbs_cancel,
    .review = shl_verbs_review,
    .drop_peer = verbs_drop_peer,
    .explain = verbs_explain,
};
