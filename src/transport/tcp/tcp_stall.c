/*
 * Connections that stall: the network is cut, or loses all that they send.
 *
 * TCP repeats what is not confirmed ever more seldom, so that after a cut it would stay silent for
 * as long again. Instead another connection is made beside the one that stalls, by attempts that
 * follow each other briskly (control/dial.h), and takes its place as soon as the peer is heard. The
 * lower rank dials it; the higher one knocks, since the other may have sent nothing and so see
 * nothing of it.
 *
 * Only who waits looks, before each sleep. Who does not wait lacks nothing.
 *
 * Invariant: the old connection carries on until the new one is up, so looking can only help.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "control/sock.h"
#include "core/sys.h"

#define LOOK_EVERY_NS UINT64_C(50000000)

static void look(struct shl_tcp_link *link)
{
    bool dials = link->t->env->rank < link->peer;
    for (uint32_t i = 0; i < link->flow_count && link->state == SHL_TCP_UP; i++) {
        struct shl_tcp_flow *flow = &link->flows[i];
        if (flow->fd < 0 || !shl_sock_stalls(flow->fd))
            continue;
        if (dials)
            shl_tcp_flow_dial(flow);
        else
            shl_tcp_link_knock(link);
    }
}

void shl_tcp_look_for_stalls(struct shl_transport *t)
{
    uint64_t now_ns = shl_now_ns();
    if (now_ns < t->look_ns)
        return;
    t->look_ns = now_ns + LOOK_EVERY_NS;
    for (struct shl_list *node = t->links.next; node != &t->links; node = node->next)
        look(SHL_CONTAINER_OF(node, struct shl_tcp_link, node));
}
