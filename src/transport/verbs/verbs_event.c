/*
 * What devices tell of themselves: completions to fetch, ports that go and come back.
 *
 * A port that goes down takes its rail out of use at once; links go on by another way.
 * When it is active again, or its addresses have changed, its GID is looked up anew, since the
 * table may be in another order, and links use the rail again once the way to the peer is found.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/log.h"
#include "core/sys.h"

void shl_verbs_read_notifications(struct shl_transport *t, uint32_t rail)
{
    struct ibv_cq *cq;
    void *arg;
    unsigned count = 0;
    while (shl_verbs->get_cq_event(t->rails[rail].channel, &cq, &arg) == 0)
        count++;
    if (count)
        shl_verbs->ack_cq_events(t->rails[rail].cq, count);
}

/* A device, or its port, does not work any more. */
static void leave_rail(struct shl_transport *t, uint32_t rail, const char *what)
{
    t->rails[rail].down = true;
    for (uint32_t peer = 0; peer < t->env->size; peer++) {
        struct shl_verbs_link *link = t->links[peer];
        if (!link || link->state != SHL_VERBS_UP || link->asleep)
            continue;
        if (rail < link->direct.rail_count)
            shl_verbs_rail_fail(link, rail, "%s: %s", t->rails[rail].port.device, what);
    }
}

/* The same GID may have another index now. false: the port is not usable (yet). */
static bool look_up(struct shl_transport *t, struct shl_verbs_rail *rail)
{
    uint32_t count = 0;
    bool found = false;
    struct shl_verbs_port *ports = shl_mem->alloc(SHL_VERBS_PORTS_MAX * sizeof(*ports));
    if (!ports || shl_verbs_ports_find(t->env->config, ports, SHL_VERBS_PORTS_MAX, &count) < 0)
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(ports[i].device, rail->port.device) != 0 || ports[i].port != rail->port.port ||
            !ports[i].usable || memcmp(ports[i].gid, rail->port.gid, sizeof(rail->port.gid)) != 0)
            continue; /* peers know the rail by this GID */
        rail->port = ports[i];
        found = true;
    }
    shl_mem->free(ports);
    return found;
}

static void return_to_rail(struct shl_transport *t, uint32_t rail)
{
    if (!look_up(t, &t->rails[rail]))
        return;
    t->rails[rail].down = false;
    if (rail == t->nearest)
        t->port = t->rails[rail].port;
    for (uint32_t peer = 0; peer < t->env->size; peer++) {
        struct shl_verbs_link *link = t->links[peer];
        if (!link || link->state != SHL_VERBS_UP || link->asleep ||
            rail >= link->direct.rail_count ||
            (link->direct.lanes[rail].qp && link->rail != SHL_VERBS_CHANNEL))
            continue;
        shl_verbs_seek(link, 1u << rail);
    }
}

unsigned shl_verbs_read_events(struct shl_transport *t, uint32_t rail)
{
    struct ibv_async_event event;
    unsigned count = 0;
    while (shl_verbs->get_async_event(t->rails[rail].context, &event) == 0) {
        enum ibv_event_type type = event.event_type;
        const char *text = shl_verbs->event_type_str(type);
        shl_verbs->ack_async_event(&event);
        shl_log(SHL_LOG_WARN, "%s: %s", t->rails[rail].port.device, text);
        if (type == IBV_EVENT_DEVICE_FATAL || type == IBV_EVENT_CQ_ERR ||
            type == IBV_EVENT_PORT_ERR)
            leave_rail(t, rail, text);
        else if (type == IBV_EVENT_PORT_ACTIVE || type == IBV_EVENT_GID_CHANGE)
            return_to_rail(t, rail);
        count++;
    }
    return count;
}
