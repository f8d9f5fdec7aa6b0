/*
 * Which ports become rails: the nearest ones.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_port.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void remark(struct shl_verbs_port *port, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void remark(struct shl_verbs_port *port, const char *format, ...)
{
    size_t at = strlen(port->reason);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(port->reason + at, sizeof(port->reason) - at, format, arguments);
    va_end(arguments);
}

/* How near each port is that could be a rail; UINT32_MAX: it could not. */
static void measure(struct shl_verbs_port *ports, uint32_t count, shl_near_fn *near,
                    uint32_t distance[SHL_VERBS_PORTS_MAX])
{
    for (uint32_t i = 0; i < count; i++) {
        struct shl_near found = {.distance = SHL_NEAR_UNKNOWN};
        distance[i] = UINT32_MAX;
        if (!ports[i].usable || ports[i].spare_gid)
            continue;
        if (near && near(ports[i].device, ports[i].interface, &found))
            remark(&ports[i], "; %s", found.text);
        if (ports[i].kind == ports[0].kind)
            distance[i] = found.distance;
        else
            remark(&ports[i], "; not used beside %s", shl_verbs_kind_string(ports[0].kind));
    }
}

uint32_t shl_verbs_ports_choose(struct shl_verbs_port *ports, uint32_t count, shl_near_fn *near,
                                uint32_t *chosen, uint32_t capacity, uint32_t *nearest)
{
    uint32_t distance[SHL_VERBS_PORTS_MAX], found = 0;
    bool taken[SHL_VERBS_PORTS_MAX] = {false};
    measure(ports, count, near, distance);
    *nearest = 0;
    for (; found < capacity; found++) {
        uint32_t best = count;
        for (uint32_t i = 0; i < count; i++)
            if (!taken[i] && distance[i] != UINT32_MAX &&
                (best == count || distance[i] < distance[best]))
                best = i;
        if (best == count)
            break;
        taken[best] = true;
    }
    for (uint32_t i = 0, at = 0; i < count; i++) {
        if (distance[i] != UINT32_MAX && !taken[i])
            remark(&ports[i], "; others are used, of which there are enough");
        if (!taken[i])
            continue;
        chosen[at] = i;
        if (distance[i] < distance[chosen[*nearest]])
            *nearest = at;
        at++;
    }
    return found;
}
