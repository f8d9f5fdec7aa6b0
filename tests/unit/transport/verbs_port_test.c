/*
 * Discovery of RDMA ports on machines that do not exist: a table of functions stands for
 * libibverbs, to show what soft devices cannot (InfiniBand, several ports, nodes that do not open,
 * odd tables).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_port.h"

#include "support/fault.h"
#include "support/test.h"
#include "transport/verbs/verbs_sys.h"

#include <errno.h>
#include <stdio.h>

#define DEVICES_MAX 4
#define GIDS_MAX 8

struct fake_device {
    struct ibv_device device; /* first: what the code under test gets */
    struct ibv_context context;
    int open_errno, query_errno, gid_errno;
    uint8_t ports;
    struct ibv_port_attr port[3]; /* from 1 */
    struct ibv_gid_entry gids[GIDS_MAX];
    int gid_count;
};

static struct fake_device machine[DEVICES_MAX];
static int machine_size, list_errno, open_count;

static struct fake_device *fake_of(struct ibv_device *device)
{
    return (struct fake_device *)device;
}

static struct ibv_device **fake_list(int *count)
{
    static struct ibv_device *list[DEVICES_MAX + 1];
    if (list_errno) {
        errno = list_errno;
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
    struct fake_device *fake = fake_of(device);
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
    struct fake_device *fake = fake_of(context->device);
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

static struct fake_device *add_device(const char *name, uint8_t link_layer)
{
    struct fake_device *fake = &machine[machine_size++];
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

static void add_gid(struct fake_device *fake, uint32_t index, uint32_t type, const char *hex)
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

#define LINK_LOCAL "fe80000000000000020a4dfffe000001"
#define LOOPBACK_V4 "00000000000000000000ffff7f000001" /* the one address all machines have */
#define ELSEWHERE_V4 "00000000000000000000ffffc0000207"
#define HOLE "00000000000000000000000000000000"

static struct fake_device *add_roce(const char *name)
{
    struct fake_device *fake = add_device(name, IBV_LINK_LAYER_ETHERNET);
    add_gid(fake, 0, IBV_GID_TYPE_ROCE_V1, LINK_LOCAL);
    add_gid(fake, 1, IBV_GID_TYPE_ROCE_V2, LINK_LOCAL);
    add_gid(fake, 2, IBV_GID_TYPE_ROCE_V1, LOOPBACK_V4);
    add_gid(fake, 5, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    return fake;
}

static struct shl_verbs_port found[8];
static uint32_t found_count;

static enum shoal_status (*finder)(const struct shl_config *config, struct shl_verbs_port *ports,
                                   uint32_t capacity, uint32_t *count);

static const char *pkey = "";

static enum shoal_status find(const char *hca, const char *gid_index)
{
    char settings[3][128];
    char *const nothing[] = {NULL};
    const char *const list[] = {settings[0], settings[1], settings[2]};
    struct shl_config_options options = {
        .settings = list, .setting_count = 3, .environment = nothing};
    struct shl_config config;
    snprintf(settings[0], sizeof(settings[0]), "SHOAL_IB_HCA=%s", hca);
    snprintf(settings[1], sizeof(settings[1]), "SHOAL_IB_GID_INDEX=%s", gid_index);
    snprintf(settings[2], sizeof(settings[2]), "SHOAL_IB_PKEY=%s", pkey);
    SHL_TRY(shl_config_load(&options, &config));
    found_count = 0;
    enum shoal_status status = finder(&config, found, 8, &found_count);
    shl_config_free(&config);
    assert_int_equal(open_count, 0); /* closed again, whatever happened */
    return status;
}

static const struct shl_verbs_port *port_named(const char *device, uint32_t number)
{
    for (uint32_t i = 0; i < found_count; i++)
        if (strcmp(found[i].device, device) == 0 && found[i].port == number)
            return &found[i];
    fail_msg("no entry for %s:%u", device, number);
    return NULL;
}

static void assert_rejected(const char *device, uint32_t number, const char *part)
{
    const struct shl_verbs_port *port = port_named(device, number);
    assert_false(port->usable);
    if (!strstr(port->reason, part))
        fail_msg("\"%s\" is not in the reason \"%s\"", part, port->reason);
}

static int set_up(void **state)
{
    (void)state;
    shl_verbs = &fake_table;
    finder = shl_verbs_ports_find;
    machine_size = list_errno = open_count = 0;
    pkey = "";
    return 0;
}

/* ---- tests -------------------------------------------------------------------------------- */

static void roce_port_is_described(void **state)
{
    (void)state;
    add_roce("mlx5_0");
    ASSERT_OK(find("", ""));
    assert_int_equal(found_count, 1);
    const struct shl_verbs_port *port = port_named("mlx5_0", 1);
    assert_true(port->usable && port->active);
    assert_int_equal(port->kind, SHL_VERBS_ROCE);
    assert_int_equal(port->mtu_bytes, 4096);
    assert_int_equal(port->speed_mbit, 100000);
    assert_int_equal(port->numa_node, -1);
    assert_int_equal(port->gid_index, 5); /* not 2: that is version 1 */
    assert_string_equal(port->gid_text, "127.0.0.1");
    assert_string_equal(port->interface, "lo");
}

static void gid_without_interface_here_is_rejected(void **state)
{
    (void)state;
    struct fake_device *fake = add_device("rocep1", IBV_LINK_LAYER_ETHERNET);
    add_gid(fake, 1, IBV_GID_TYPE_ROCE_V2, LINK_LOCAL);
    add_gid(fake, 3, IBV_GID_TYPE_ROCE_V2, ELSEWHERE_V4);
    ASSERT_OK(find("", ""));
    assert_rejected("rocep1", 1, "GID 1 fe80:0:0:0:20a:4dff:fe00:1 (RoCE v2) is link-local");
    assert_rejected("rocep1", 1,
                    "GID 3 192.0.2.7 (RoCE v2) no interface in this network namespace");
}

static void empty_table_and_holes(void **state)
{
    (void)state;
    add_device("bare", IBV_LINK_LAYER_ETHERNET);
    struct fake_device *holes = add_device("holes", IBV_LINK_LAYER_ETHERNET);
    add_gid(holes, 0, IBV_GID_TYPE_IB, HOLE);
    add_gid(holes, 9, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    add_gid(holes, 9, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    holes->gids[2].port_num = 2; /* another port's */
    struct fake_device *unreadable = add_roce("unreadable");
    unreadable->gid_errno = EPERM;
    ASSERT_OK(find("", ""));
    assert_rejected("bare", 1, "GID table is empty");
    assert_int_equal(port_named("holes", 1)->gid_index, 9);
    assert_rejected("unreadable", 1, "cannot be read: Operation not permitted");
}

static void partition_key_by_index_or_value(void **state)
{
    static const struct {
        const char *text;
        uint32_t index;
    } good[] = {{"", 0},    {"0", 0},      {"2", 2},     {"0x8007", 2},
                {"0x7", 2}, {"0x8003", 3}, {"0xffff", 0}};
    static const struct {
        const char *text, *reason;
    } none[] = {{"1", "its table of 4 partition keys has none at index 1 (SHOAL_IB_PKEY)"},
                {"4", "its table of 4 partition keys has none at index 4"},
                {"0x9", "its table of 4 partition keys has no 0x9 (SHOAL_IB_PKEY)"}};
    static const char *const malformed[] = {"x",  "-1",  "+1",     " 1",      "1 ", "65536",
                                            "0x", "0x0", "0x8000", "0x10000", "1,2"};
    (void)state;
    add_roce("mlx5_0");
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        pkey = good[i].text;
        ASSERT_OK(find("", ""));
        assert_true(port_named("mlx5_0", 1)->usable);
        assert_int_equal(port_named("mlx5_0", 1)->pkey_index, good[i].index);
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        pkey = none[i].text;
        ASSERT_OK(find("", ""));
        assert_rejected("mlx5_0", 1, none[i].reason);
    }
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        pkey = malformed[i];
        ASSERT_STATUS(SHOAL_ERR_CONFIG, find("", ""));
        ASSERT_DETAIL("neither an index of a table of partition keys");
    }
}

/* "d3": its distance is in the name; "x": nobody knows where it is. */
static bool near_by_name(const char *device, const char *interface, struct shl_near *near)
{
    (void)interface;
    if (device[0] != 'd')
        return false;
    near->distance = (uint32_t)(device[1] - '0') * SHL_NEAR_UNKNOWN;
    snprintf(near->text, sizeof(near->text), "%c steps away", device[1]);
    return true;
}

static void the_nearest_ports_are_chosen(void **state)
{
    static const struct {
        const char *names; /* 'x': not usable; 'i': usable, of another kind */
        const char *chosen;
        uint32_t nearest;
        bool everywhere; /* nearness is not known at all */
    } cases[] = {
        {"0", "0", 0, false},          {"10", "01", 1, false},        {"2103", "0123", 2, false},
        {"2103120", "1246", 1, false}, {"3333330", "0126", 3, false}, {"2103120", "0123", 0, true},
        {"u0", "01", 1, false},        {"2u", "01", 1, false},        {"1x0", "02", 1, false},
        {"1i0", "02", 1, false},       {"x", "", 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shl_verbs_port ports[8] = {0};
        uint32_t count = (uint32_t)strlen(cases[i].names), chosen[4] = {0}, nearest = 9;
        for (uint32_t k = 0; k < count; k++) {
            char name = cases[i].names[k];
            bool known = name >= '0' && name <= '9';
            snprintf(ports[k].device, sizeof(ports[k].device), "%c%c", known ? 'd' : '-', name);
            ports[k].usable = name != 'x';
            ports[k].kind = name == 'i' ? SHL_VERBS_INFINIBAND : SHL_VERBS_ROCE;
            snprintf(ports[k].reason, sizeof(ports[k].reason), "good");
        }
        uint32_t rails = shl_verbs_ports_choose(
            ports, count, cases[i].everywhere ? NULL : near_by_name, chosen, 4, &nearest);
        assert_int_equal(rails, strlen(cases[i].chosen));
        for (uint32_t k = 0; k < rails; k++)
            assert_int_equal(chosen[k], cases[i].chosen[k] - '0');
        assert_int_equal(nearest, cases[i].nearest);
        for (uint32_t k = 0; k < count; k++) {
            char digit[2] = {(char)('0' + k), 0};
            bool left_out = ports[k].usable && !strpbrk(cases[i].chosen, digit);
            assert_int_equal(strstr(ports[k].reason, "others are used") ||
                                 strstr(ports[k].reason, "not used beside RoCE"),
                             left_out);
            if (ports[k].device[0] == 'd' && !cases[i].everywhere)
                assert_non_null(strstr(ports[k].reason, "good; "));
        }
    }
}

static void gid_index_can_be_asked_for(void **state)
{
    (void)state;
    add_roce("mlx5_0");
    ASSERT_OK(find("", "1"));
    assert_true(port_named("mlx5_0", 1)->usable); /* link-local, but somebody wants it */
    assert_int_equal(port_named("mlx5_0", 1)->gid_index, 1);
    ASSERT_OK(find("", "4"));
    assert_rejected("mlx5_0", 1, "GID 4, which this port does not have");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, find("", "one"));
    ASSERT_DETAIL("SHOAL_IB_GID_INDEX=\"one\"");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, find("", "-1"));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, find("", "65536"));
}

static void every_gid_has_an_entry(void **state)
{
    (void)state;
    struct fake_device *fake = add_roce("mlx5_0");
    add_gid(fake, 7, IBV_GID_TYPE_ROCE_V2, ELSEWHERE_V4);
    add_gid(fake, 9, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    add_roce("mlx5_1");
    ASSERT_OK(find("", ""));
    assert_int_equal(found_count, 2);
    finder = shl_verbs_gids_find;
    ASSERT_OK(find("", ""));
    assert_int_equal(found_count, 3); /* only those that could be used, the best one first */
    assert_string_equal(found[1].device, "mlx5_0");
    assert_int_equal(found[0].gid_index, 5);
    assert_false(found[0].spare_gid);
    assert_int_equal(found[1].gid_index, 9);
    assert_true(found[1].spare_gid && found[1].usable);
    assert_non_null(strstr(found[1].reason, "instead of GID 5"));
    assert_false(found[2].spare_gid);
    ASSERT_OK(find("=mlx5_0", "9"));
    assert_int_equal(found_count, 2); /* the other device is listed, with its reason */
    assert_int_equal(found[0].gid_index, 9);
}

static void infiniband_needs_a_lid(void **state)
{
    (void)state;
    struct fake_device *fake = add_device("mlx4_0", IBV_LINK_LAYER_INFINIBAND);
    fake->ports = 2;
    add_gid(fake, 0, IBV_GID_TYPE_IB, LINK_LOCAL);
    fake->port[2].lid = 0;
    ASSERT_OK(find("", ""));
    assert_int_equal(found_count, 2);
    assert_true(port_named("mlx4_0", 1)->usable);
    assert_int_equal(port_named("mlx4_0", 1)->lid, 7);
    assert_int_equal(port_named("mlx4_0", 1)->kind, SHL_VERBS_INFINIBAND);
    assert_rejected("mlx4_0", 2, "no subnet manager");
}

static void every_device_has_an_entry(void **state)
{
    (void)state;
    add_roce("closed")->open_errno = EACCES;
    add_roce("mute")->query_errno = EIO;
    add_roce("down")->port[1].state = IBV_PORT_DOWN;
    add_roce("siw0")->device.transport_type = IBV_TRANSPORT_IWARP;
    ASSERT_OK(find("", ""));
    assert_int_equal(found_count, 4);
    assert_rejected("closed", 0, "cannot be opened: Permission denied; /dev/infiniband/uverbs0");
    assert_rejected("mute", 0, "cannot be queried");
    assert_rejected("down", 1, "port is down, not active");
    assert_rejected("siw0", 1, "rdma_cm");
}

static void best_port_comes_first(void **state)
{
    (void)state;
    add_roce("b");
    add_roce("a");
    add_roce("fast")->port[1].active_speed = 64;
    add_roce("0down")->port[1].state = IBV_PORT_DOWN;
    ASSERT_OK(find("", ""));
    assert_string_equal(found[0].device, "fast");
    assert_string_equal(found[1].device, "a");
    assert_string_equal(found[2].device, "b");
    assert_string_equal(found[3].device, "0down");
}

/* The names of what may be used, in order. */
static const char *allowed(const char *hca)
{
    static char text[128];
    if (find(hca, "") < 0)
        return shl_error_text();
    text[0] = '\0';
    for (uint32_t i = 0; i < found_count; i++)
        if (found[i].usable)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s:%u", *text ? " " : "",
                     found[i].device, found[i].port);
    return text;
}

static void filters_are_those_of_nccl(void **state)
{
    (void)state;
    add_roce("mlx5_1");
    struct fake_device *two = add_roce("mlx5_10");
    two->ports = 2;
    add_gid(two, 7, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    two->gids[two->gid_count - 1].port_num = 2;
    add_roce("rxe0");
    assert_string_equal(allowed(""), "mlx5_1:1 mlx5_10:1 mlx5_10:2 rxe0:1");
    assert_string_equal(allowed("mlx5"), "mlx5_1:1 mlx5_10:1 mlx5_10:2");
    assert_string_equal(allowed("=mlx5_1"), "mlx5_1:1");
    assert_string_equal(allowed("=mlx5_10:2,rxe0"), "mlx5_10:2 rxe0:1");
    assert_string_equal(allowed("^mlx5_10"), "mlx5_1:1 rxe0:1");
    assert_string_equal(allowed("^=mlx5_1,rxe0"), "mlx5_10:1 mlx5_10:2");
    assert_string_equal(allowed("^mlx5_10:1"), "mlx5_1:1 mlx5_10:2 rxe0:1");
    assert_string_equal(allowed("nothing"), "");
    assert_rejected("rxe0", 0, "SHOAL_IB_HCA=\"nothing\" leaves it out");
}

static void malformed_filters_are_errors(void **state)
{
    (void)state;
    add_roce("mlx5_0");
    const char *const bad[] = {"^", "=", "mlx5_0:0", "mlx5_0:", "mlx5_0:x", "a:999", ",b", ":1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ASSERT_STATUS(SHOAL_ERR_CONFIG, find(bad[i], ""));
        ASSERT_DETAIL("SHOAL_IB_HCA");
    }
}

static void no_devices(void **state)
{
    (void)state;
    ASSERT_OK(find("", ""));
    assert_int_equal(found_count, 0);
    list_errno = ENOSYS;
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, find("", ""));
    ASSERT_DETAIL("no RDMA devices: Function not implemented");
}

static enum shoal_status find_all(void *arg)
{
    (void)arg;
    return find("", "");
}

static void kth_call_fails(void **state)
{
    (void)state;
    add_roce("mlx5_0");
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, find_all, NULL, 200) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(roce_port_is_described, set_up),
        cmocka_unit_test_setup(gid_without_interface_here_is_rejected, set_up),
        cmocka_unit_test_setup(empty_table_and_holes, set_up),
        cmocka_unit_test_setup(partition_key_by_index_or_value, set_up),
        cmocka_unit_test_setup(the_nearest_ports_are_chosen, set_up),
        cmocka_unit_test_setup(gid_index_can_be_asked_for, set_up),
        cmocka_unit_test_setup(every_gid_has_an_entry, set_up),
        cmocka_unit_test_setup(infiniband_needs_a_lid, set_up),
        cmocka_unit_test_setup(every_device_has_an_entry, set_up),
        cmocka_unit_test_setup(best_port_comes_first, set_up),
        cmocka_unit_test_setup(filters_are_those_of_nccl, set_up),
        cmocka_unit_test_setup(malformed_filters_are_errors, set_up),
        cmocka_unit_test_setup(no_devices, set_up),
        cmocka_unit_test_setup(kth_call_fails, set_up),
    };
    return cmocka_run_group_tests_name("verbs_port", tests, NULL, NULL);
}
