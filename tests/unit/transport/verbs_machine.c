/*
 * Machines that do not exist.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "verbs_machine.h"

#include <errno.h>
#include <stdio.h>

#define DEVICES_MAX 4

static struct machine_device machine[DEVICES_MAX];
static int machine_size, open_count;
int machine_list_errno;

static struct machine_device *fake_of(struct ibv_device *device)
{
    return (struct machine_device *)device;
}

static struct ibv_device **fake_list(int *count)
{
    static struct ibv_device *list[DEVICES_MAX + 1];
    if (machine_list_errno) {
        errno = machine_list_errno;
        return NULL;
    }
    for (int i = 0; i < machine_size; i++)
        list[i] = &machine[i].device;
    *count = machine_size;
    return list;
}

static void fake_free_list(struct ibv_device **list)
{
    (void)list;
}

static struct ibv_context *fake_open(struct ibv_device *device)
{
    struct machine_device *fake = fake_of(device);
    if (fake->open_errno) {
        errno = fake->open_errno;
        return NULL;
    }
    open_count++;
    fake->context.device = device;
    return &fake->context;
}

static int fake_close(struct ibv_context *context)
{
    (void)context;
    open_count--;
    return 0;
}

static int fake_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    attr->phys_port_cnt = fake_of(context->device)->ports;
    return fake_of(context->device)->query_errno;
}

static int fake_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    *attr = fake_of(context->device)->port[port];
    return 0;
}

static ssize_t fake_gids(struct ibv_context *context, struct ibv_gid_entry *entries,
                         size_t capacity, uint32_t flags, size_t entry_bytes)
{
    struct machine_device *fake = fake_of(context->device);
    assert_int_equal(flags, 0);
    assert_int_equal(entry_bytes, sizeof(*entries));
    assert_true((size_t)fake->gid_count <= capacity);
    memcpy(entries, fake->gids, (size_t)fake->gid_count * sizeof(*entries));
    return fake->gid_errno ? -fake->gid_errno : fake->gid_count;
}

static uint16_t pkeys[] = {0xffff, 0, 0x8007, 0x0003}; /* of all ports */

static int fake_query_pkey(struct ibv_context *context, uint8_t port, int index, uint16_t *key)
{
    (void)context, (void)port;
    if (index < 0 || (size_t)index >= sizeof(pkeys) / sizeof(pkeys[0]))
        return EINVAL;
    *key = (uint16_t)(pkeys[index] >> 8 | pkeys[index] << 8);
    return 0;
}

static const struct shl_verbs_sys fake_table = {
    .get_device_list = fake_list,
    .free_device_list = fake_free_list,
    .open_device = fake_open,
    .close_device = fake_close,
    .query_device = fake_query_device,
    .query_port = fake_query_port,
    .query_gid_table = fake_gids,
    .query_pkey = fake_query_pkey,
};

/* ---- machines ----------------------------------------------------------------------------- */

struct machine_device *machine_add_device(const char *name, uint8_t link_layer)
{
    struct machine_device *fake = &machine[machine_size++];
    memset(fake, 0, sizeof(*fake));
    snprintf(fake->device.name, sizeof(fake->device.name), "%s", name);
    snprintf(fake->device.dev_name, sizeof(fake->device.dev_name), "uverbs%d", machine_size - 1);
    fake->device.transport_type = IBV_TRANSPORT_IB;
    fake->ports = 1;
    for (int i = 1; i < 3; i++)
        fake->port[i] = (struct ibv_port_attr){.state = IBV_PORT_ACTIVE,
                                               .active_mtu = IBV_MTU_4096,
                                               .link_layer = link_layer,
                                               .active_speed = 32, /* 25 Gbit/s a lane */
                                               .active_width = 2,  /* 4 lanes */
                                               .lid = 7,
                                               .pkey_tbl_len = 4};
    return fake;
}

void machine_add_gid(struct machine_device *fake, uint32_t index, uint32_t type, const char *hex)
{
    struct ibv_gid_entry *entry = &fake->gids[fake->gid_count++];
    memset(entry, 0, sizeof(*entry));
    for (unsigned i = 0; i < 16; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        entry->gid.raw[i] = (uint8_t)byte;
    }
    entry->gid_index = index;
    entry->port_num = 1;
    entry->gid_type = type;
}

struct machine_device *machine_add_roce(const char *name)
{
    struct machine_device *fake = machine_add_device(name, IBV_LINK_LAYER_ETHERNET);
    machine_add_gid(fake, 0, IBV_GID_TYPE_ROCE_V1, LINK_LOCAL);
    machine_add_gid(fake, 1, IBV_GID_TYPE_ROCE_V2, LINK_LOCAL);
    machine_add_gid(fake, 2, IBV_GID_TYPE_ROCE_V1, LOOPBACK_V4);
    machine_add_gid(fake, 5, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    return fake;
}

struct shl_verbs_port machine_found[8];
uint32_t machine_found_count;

enum shoal_status (*machine_finder)(const struct shl_config *config, struct shl_verbs_port *ports,
                                    uint32_t capacity, uint32_t *count);

const char *machine_pkey = "";

enum shoal_status machine_find(const char *hca, const char *gid_index)
{
    char settings[3][128];
    char *const nothing[] = {NULL};
    const char *const list[] = {settings[0], settings[1], settings[2]};
    struct shl_config_options options = {
        .settings = list, .setting_count = 3, .environment = nothing};
    struct shl_config config;
    snprintf(settings[0], sizeof(settings[0]), "SHOAL_IB_HCA=%s", hca);
    snprintf(settings[1], sizeof(settings[1]), "SHOAL_IB_GID_INDEX=%s", gid_index);
    snprintf(settings[2], sizeof(settings[2]), "SHOAL_IB_PKEY=%s", machine_pkey);
    SHL_TRY(shl_config_load(&options, &config));
    machine_found_count = 0;
    enum shoal_status status = machine_finder(&config, machine_found, 8, &machine_found_count);
    shl_config_free(&config);
    assert_int_equal(open_count, 0); /* closed again, whatever happened */
    return status;
}

const struct shl_verbs_port *machine_port_named(const char *device, uint32_t number)
{
    for (uint32_t i = 0; i < machine_found_count; i++)
        if (strcmp(machine_found[i].device, device) == 0 && machine_found[i].port == number)
            return &machine_found[i];
    fail_msg("no entry for %s:%u", device, number);
    return NULL;
}

void machine_assert_rejected(const char *device, uint32_t number, const char *part)
{
    const struct shl_verbs_port *port = machine_port_named(device, number);
    assert_false(port->usable);
    if (!strstr(port->reason, part))
        fail_msg("\"%s\" is not in the reason \"%s\"", part, port->reason);
}

int machine_set_up(void **state)
{
    (void)state;
    shl_verbs = &fake_table;
    machine_finder = shl_verbs_ports_find;
    machine_size = machine_list_errno = open_count = 0;
    machine_pkey = "";
    return 0;
}
