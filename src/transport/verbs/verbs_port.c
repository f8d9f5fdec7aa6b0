/*
 * Discovery of devices and ports.
 *
 * Invariant: every device that libibverbs lists appears at least once in the result, usable or with
 * its reason, as long as there is room.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_port.h"

#include "core/file.h"
#include "core/sys.h"
#include "transport/verbs/verbs_cm_address.h"
#include "transport/verbs/verbs_filter.h"
#include "transport/verbs/verbs_gid.h"
#include "transport/verbs/verbs_pkey.h"
#include "transport/verbs/verbs_sys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIDS_MAX 512

struct finder {
    struct shl_verbs_filter filter;
    int64_t gid_wanted;
    struct shl_verbs_pkey pkey;
    bool every_gid; /* an entry for each that could be used */
    const struct shl_config *config;
    struct shl_interface *interfaces; /* SHL_INTERFACES_MAX */
    uint32_t interface_count;
    struct ibv_gid_entry *gids; /* GIDS_MAX, of the device being looked at */
    ssize_t gid_count;          /* negative: an errno */
    struct shl_verbs_cm_addresses *addresses;
    struct shl_verbs_port *ports;
    uint32_t capacity, count;
};

static void reject(struct shl_verbs_port *port, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void reject(struct shl_verbs_port *port, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(port->reason, sizeof(port->reason), format, arguments);
    va_end(arguments);
    port->usable = false;
}

/* ---- what a port says of itself ----------------------------------------------------------- */

static uint32_t mtu_bytes(enum ibv_mtu mtu)
{
    return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 0;
}

/* Lanes times the speed of one, which both are given as codes. */
static uint64_t speed_mbit(const struct ibv_port_attr *attr)
{
    static const struct {
        uint32_t code;
        uint32_t mbit;
    } speeds[] = {{1, 2500},   {2, 5000},   {4, 10000},  {8, 10000},
                  {16, 14000}, {32, 25000}, {64, 50000}, {128, 100000}};
    static const struct {
        uint32_t code;
        uint32_t lanes;
    } widths[] = {{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}};
    uint64_t speed = 0, lanes = 0;
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
        if (speeds[i].code == attr->active_speed)
            speed = speeds[i].mbit;
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
        if (widths[i].code == attr->active_width)
            lanes = widths[i].lanes;
    return speed * lanes;
}

static const char *state_string(const struct ibv_port_attr *attr)
{
    static const char *const states[] = {"in no state", "down",   "initializing",
                                         "armed",       "active", "deferring"};
    return (unsigned)attr->state < sizeof(states) / sizeof(states[0]) ? states[attr->state]
                                                                      : "in an unknown state";
}

static enum shl_verbs_kind kind_of(const struct ibv_device *device,
                                   const struct ibv_port_attr *attr)
{
    if (device->transport_type == IBV_TRANSPORT_IWARP)
        return SHL_VERBS_IWARP;
    if (device->transport_type != IBV_TRANSPORT_IB)
        return SHL_VERBS_UNKNOWN_KIND;
    return attr->link_layer == IBV_LINK_LAYER_ETHERNET ? SHL_VERBS_ROCE : SHL_VERBS_INFINIBAND;
}

const char *shl_verbs_kind_string(enum shl_verbs_kind kind)
{
    static const char *const names[] = {"unknown", "InfiniBand", "RoCE", "iWARP"};
    return names[kind];
}

const char *shl_verbs_connect_string(const struct shl_verbs_port *port)
{
    return !port->by_cm                    ? "directly, over the control connection"
           : port->kind == SHL_VERBS_IWARP ? "by rdma_cm: iWARP has no other way"
                                           : "by rdma_cm: SHOAL_IB_CONNECT asks for it";
}

const char *shl_verbs_none_string(void)
{
    char shared[8]; /* the kernel's mode: may network namespaces share devices? */
    if (shl_file_read_line("/sys/module/ib_core/parameters/netns_mode", shared, sizeof(shared)) <
            0 ||
        *shared == 'Y')
        return "this machine has no RDMA device";
    return "this network namespace has no RDMA device, and the kernel's mode is exclusive, so "
           "those "
           "of others are not seen; in a pod chain the plugin rdma, which moves one here, or boot "
           "the node in shared mode (ib_core netns_mode=1)";
}

static int32_t numa_node(const char *device)
{
    char path[160], text[16];
    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device/numa_node", device);
    if (shl_file_read_line(path, text, sizeof(text)) < 0)
        return -1;
    return (int32_t)strtol(text, NULL, 10);
}

/* ---- judging ------------------------------------------------------------------------------ */

/* Entries like `port`, which is usable, for the other GIDs that could be used. */
static void add_others(struct finder *finder, const struct shl_verbs_port *port,
                       const struct shl_verbs_gid *gids, uint32_t count)
{
    for (uint32_t i = 0; i < count && finder->count < finder->capacity; i++) {
        struct shl_verbs_port other = *port;
        if (gids[i].index == port->gid_index ||
            !shl_verbs_gid_choose(&gids[i], 1, finder->gid_wanted, finder->interfaces,
                                  finder->interface_count, &other))
            continue;
        snprintf(other.reason, sizeof(other.reason), "could be used instead of GID %u",
                 port->gid_index);
        other.spare_gid = true;
        finder->ports[finder->count++] = other;
    }
}

static void judge_gids(struct finder *finder, struct shl_verbs_port *port)
{
    if (finder->gid_count < 0) {
        reject(port, "its GID table cannot be read: %s", strerror((int)-finder->gid_count));
        return;
    }
    struct shl_verbs_gid *of_port = shl_mem->alloc(GIDS_MAX * sizeof(*of_port));
    if (!of_port) {
        reject(port, "no memory to look at its GIDs");
        return;
    }
    uint32_t count = 0;
    for (ssize_t i = 0; i < finder->gid_count; i++) {
        const struct ibv_gid_entry *entry = &finder->gids[i];
        if (entry->port_num != port->port)
            continue;
        memcpy(of_port[count].raw, entry->gid.raw, sizeof(of_port[count].raw));
        of_port[count].index = entry->gid_index;
        of_port[count].type = entry->gid_type == IBV_GID_TYPE_ROCE_V2   ? SHL_VERBS_GID_ROCE2
                              : entry->gid_type == IBV_GID_TYPE_ROCE_V1 ? SHL_VERBS_GID_ROCE1
                                                                        : SHL_VERBS_GID_IB;
        count++;
    }
    port->usable = shl_verbs_gid_choose(of_port, count, finder->gid_wanted, finder->interfaces,
                                        finder->interface_count, port);
    if (port->usable && finder->every_gid)
        add_others(finder, port, of_port, count);
    shl_mem->free(of_port);
}

/* The subnet manager gives a LID; GID 0 always exists. */
static void judge_infiniband(struct finder *finder, struct shl_verbs_port *port)
{
    uint32_t wanted = finder->gid_wanted == SHL_VERBS_GID_ANY ? 0 : (uint32_t)finder->gid_wanted;
    if (port->lid == 0) {
        reject(port, "it has no LID: no subnet manager runs on its fabric");
        return;
    }
    for (ssize_t i = 0; i < finder->gid_count; i++) {
        const struct ibv_gid_entry *entry = &finder->gids[i];
        if (entry->port_num != port->port || entry->gid_index != wanted)
            continue;
        port->gid_index = wanted;
        memcpy(port->gid, entry->gid.raw, sizeof(port->gid));
        shl_verbs_gid_format(port->gid, port->gid_text);
        snprintf(port->reason, sizeof(port->reason), "active, LID %u", port->lid);
        port->usable = true;
        return;
    }
    reject(port, "it has no GID %u", wanted);
}

/* rdma_cm has to reach the port, where it is to connect. */
static void judge_cm(struct finder *finder, struct shl_verbs_port *port)
{
    if (!finder->addresses->known)
        shl_verbs_cm_addresses_find(finder->interfaces, finder->interface_count, finder->addresses);
    port->usable = shl_verbs_cm_address_choose(finder->addresses, port);
    port->by_cm = port->usable;
    if (port->kind != SHL_VERBS_IWARP || !port->usable)
        return;
    memcpy(port->gid, port->address, sizeof(port->gid)); /* it has none of its own */
    shl_verbs_gid_format(port->gid, port->gid_text);
    snprintf(port->reason, sizeof(port->reason), "active, rdma_cm leads to it");
}

static void judge(struct finder *finder, const struct ibv_port_attr *attr,
                  struct shl_verbs_port *port)
{
    if (!shl_verbs_filter_allows(&finder->filter, port->device, port->port))
        reject(port, "SHOAL_IB_HCA=\"%.100s\" leaves it out", finder->config->ib_hca);
    else if (!port->active)
        reject(port, "its port is %s, not active", state_string(attr));
    else if (port->kind == SHL_VERBS_IWARP)
        judge_cm(finder, port);
    else if (port->kind == SHL_VERBS_UNKNOWN_KIND)
        reject(port, "it is neither InfiniBand nor RoCE");
    else if (port->mtu_bytes == 0)
        reject(port, "its MTU code %d is unknown", (int)attr->active_mtu);
    else if (port->kind == SHL_VERBS_ROCE)
        judge_gids(finder, port);
    else
        judge_infiniband(finder, port);
    if (port->usable && !port->by_cm && finder->config->ib_connect != SHL_VERBS_CONNECT_AUTO)
        judge_cm(finder, port);
}

/* ---- walking ------------------------------------------------------------------------------ */

static struct shl_verbs_port *next_entry(struct finder *finder, const struct ibv_device *device)
{
    if (finder->count == finder->capacity)
        return NULL;
    struct shl_verbs_port *port = &finder->ports[finder->count++];
    memset(port, 0, sizeof(*port));
    snprintf(port->device, sizeof(port->device), "%.63s", device->name);
    port->numa_node = numa_node(port->device);
    return port;
}

static void look_at_port(struct finder *finder, struct ibv_context *context, uint32_t number)
{
    uint32_t first = finder->count;
    struct shl_verbs_port *port = next_entry(finder, context->device);
    if (!port)
        return;
    struct ibv_port_attr attr = {0};
    port->port = number;
    int error = shl_verbs->query_port(context, (uint8_t)number, &attr);
    if (error) {
        reject(port, "its port cannot be queried: %s", strerror(error));
        return;
    }
    port->kind = kind_of(context->device, &attr);
    port->active = attr.state == IBV_PORT_ACTIVE;
    port->mtu_bytes = mtu_bytes(attr.active_mtu);
    port->speed_mbit = speed_mbit(&attr);
    port->lid = attr.lid;
    judge(finder, &attr, port);
    for (uint32_t i = first; i < finder->count; i++)
        shl_verbs_pkey_find(&finder->pkey, context, attr.pkey_tbl_len, &finder->ports[i]);
}

static void look_at_device(struct finder *finder, struct ibv_device *device)
{
    struct ibv_device_attr attr = {0};
    struct shl_verbs_port *port;
    int error = 0;
    if (!shl_verbs_filter_allows(&finder->filter, device->name, 0)) {
        port = next_entry(finder, device);
        if (port)
            reject(port, "SHOAL_IB_HCA=\"%.100s\" leaves it out", finder->config->ib_hca);
        return;
    }
    errno = 0;
    struct ibv_context *context = shl_verbs->open_device(device);
    if (!context) {
        int why = errno;
        port = next_entry(finder, device);
        if (port)
            reject(port,
                   "it cannot be opened: %s; /dev/infiniband/%.40s must exist and be readable and "
                   "writable (in a container: from the RDMA device plugin)",
                   why ? strerror(why) : "no reason given", device->dev_name);
        return;
    }
    error = shl_verbs->query_device(context, &attr);
    if (error) {
        port = next_entry(finder, device);
        if (port)
            reject(port, "it cannot be queried: %s", strerror(error));
    } else {
        finder->gid_count =
            shl_verbs->query_gid_table(context, finder->gids, GIDS_MAX, 0, sizeof(*finder->gids));
        for (uint32_t i = 1; i <= attr.phys_port_cnt; i++)
            look_at_port(finder, context, i);
    }
    shl_verbs->close_device(context);
}

static int by_preference(const void *left, const void *right)
{
    const struct shl_verbs_port *a = left, *b = right;
    if (a->usable != b->usable)
        return a->usable ? -1 : 1;
    if (a->usable && a->speed_mbit != b->speed_mbit)
        return a->speed_mbit > b->speed_mbit ? -1 : 1;
    int names = strcmp(a->device, b->device);
    if (names || a->port != b->port)
        return names ? names : (int)a->port - (int)b->port;
    if (a->spare_gid != b->spare_gid)
        return a->spare_gid ? 1 : -1;
    return (int)a->gid_index - (int)b->gid_index;
}

static enum shoal_status parse_gid_index(const char *text, int64_t *wanted)
{
    char *end;
    *wanted = SHL_VERBS_GID_ANY;
    if (!*text)
        return SHOAL_OK;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || *end || value < 0 || value > UINT16_MAX)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_IB_GID_INDEX=\"%s\" is no index of a GID table; leave it unset to "
                        "have it chosen",
                        text);
    *wanted = value;
    return SHOAL_OK;
}

static enum shoal_status walk(struct finder *finder)
{
    int count = 0;
    errno = 0;
    struct ibv_device **devices = shl_verbs->get_device_list(&count);
    if (!devices)
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "the kernel lists no RDMA devices: %s; load ib_uverbs and the driver",
                        errno ? strerror(errno) : "no reason given");
    for (int i = 0; i < count; i++)
        look_at_device(finder, devices[i]);
    shl_verbs->free_device_list(devices);
    qsort(finder->ports, finder->count, sizeof(*finder->ports), by_preference);
    return SHOAL_OK;
}

static enum shoal_status find_ports(struct finder finder, uint32_t *count)
{
    SHL_TRY(shl_verbs_filter_parse(finder.config->ib_hca, &finder.filter));
    SHL_TRY(parse_gid_index(finder.config->ib_gid_index, &finder.gid_wanted));
    SHL_TRY(shl_verbs_pkey_parse(finder.config->ib_pkey, &finder.pkey));
    SHL_TRY(shl_verbs_load());
    enum shoal_status status = SHOAL_OK;
    finder.interfaces = shl_mem->alloc(SHL_INTERFACES_MAX * sizeof(*finder.interfaces));
    finder.gids = shl_mem->alloc(GIDS_MAX * sizeof(*finder.gids));
    finder.addresses = shl_mem->alloc(sizeof(*finder.addresses));
    if (!finder.interfaces || !finder.gids || !finder.addresses)
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory to look for RDMA devices");
    if (status == SHOAL_OK)
        status = shl_interface_list(finder.interfaces, SHL_INTERFACES_MAX, &finder.interface_count);
    if (status == SHOAL_OK)
        status = walk(&finder);
    shl_mem->free(finder.addresses);
    shl_mem->free(finder.gids);
    shl_mem->free(finder.interfaces);
    if (status == SHOAL_OK)
        *count = finder.count;
    return status;
}

enum shoal_status shl_verbs_ports_find(const struct shl_config *config,
                                       struct shl_verbs_port *ports, uint32_t capacity,
                                       uint32_t *count)
{
    const struct finder finder = {.config = config, .ports = ports, .capacity = capacity};
    return find_ports(finder, count);
}

enum shoal_status shl_verbs_gids_find(const struct shl_config *config, struct shl_verbs_port *ports,
                                      uint32_t capacity, uint32_t *count)
{
    const struct finder finder = {
        .config = config, .ports = ports, .capacity = capacity, .every_gid = true};
    return find_ports(finder, count);
}
