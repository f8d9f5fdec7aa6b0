/*
 * `shoal info`: RDMA ports, which of them would be used, and why not the others.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "shoal_info.h"
#include "topology/near.h"
#include "transport/verbs/verbs_port.h"

#include <stdio.h>

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static json_t *describe(const struct shl_verbs_port *port)
{
    json_t *entry = json_pack("{s:b, s:s}", "usable", port->usable, "reason", port->reason);
    if (port->port == 0)
        return entry; /* never opened: nothing more is known */
    json_object_set_new(entry, "link", json_string(shl_verbs_kind_string(port->kind)));
    json_object_set_new(entry, "active", json_boolean(port->active));
    json_object_set_new(entry, "mtu", json_integer(port->mtu_bytes));
    json_object_set_new(entry, "speed_mbit", json_integer((json_int_t)port->speed_mbit));
    json_object_set_new(entry, "numa_node", json_integer(port->numa_node));
    if (port->usable) {
        json_object_set_new(entry, "gid_index", json_integer(port->gid_index));
        json_object_set_new(entry, "gid", text_or_null(port->gid_text));
        json_object_set_new(entry, "interface", text_or_null(port->interface));
        json_object_set_new(entry, "connects", json_string(shl_verbs_connect_string(port)));
    }
    return entry;
}

static json_t *list_ports(const struct shl_config *config)
{
    struct shl_verbs_port *ports = shl_mem->alloc(SHL_VERBS_PORTS_MAX * sizeof(*ports));
    uint32_t count = 0;
    json_t *list = json_object();
    if (!ports)
        return list;
    if (shl_verbs_ports_find(config, ports, SHL_VERBS_PORTS_MAX, &count) != SHOAL_OK)
        json_object_set_new(list, "none", json_string(shoal_last_error()));
    else if (count == 0)
        json_object_set_new(list, "none", json_string(shl_verbs_none_string()));
    uint32_t chosen[SHL_VERBS_PORTS_MAX], nearest;
    (void)shl_verbs_ports_choose(ports, count, shl_topology_near, chosen, SHL_VERBS_RAILS,
                                 &nearest);
    for (uint32_t i = 0; i < count; i++) {
        char name[SHL_VERBS_NAME_BYTES + 16];
        snprintf(name, sizeof(name), "%s:%u", ports[i].device, ports[i].port);
        json_object_set_new(list, name, describe(&ports[i]));
    }
    shl_mem->free(ports);
    return list;
}

json_t *shoal_info_rdma(void)
{
    struct shl_config config;
    if (shl_config_load(NULL, &config) != SHOAL_OK)
        return json_object(); /* the section configuration says what is wrong */
    json_t *list = list_ports(&config);
    shl_config_free(&config);
    return list;
}
