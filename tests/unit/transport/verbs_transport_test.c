/*
 * The verbs transport where it cannot work: without devices, without locked memory, with peers that
 * have none. A table of functions stands for libibverbs; nothing is transferred here. Transfers are
 * tested on soft devices, by the conformance suite.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/transport.h"

#include "core/config.h"
#include "core/log.h"
#include "core/sys.h"
#include "support/fault.h"
#include "support/test.h"
#include "transport/verbs/verbs_sys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEVICES_MAX 9

static struct {
    int devices;   /* at most DEVICES_MAX */
    int reg_errno; /* registering memory fails */
    int open;      /* objects that were made and not destroyed */
    int contexts;  /* of these */
    struct ibv_device device[DEVICES_MAX];
    struct ibv_context context;
    struct ibv_pd pd;
    struct ibv_cq cq;
    struct ibv_mr mr;
    struct ibv_comp_channel channel;
} fake;

static struct ibv_device **fake_list(int *count)
{
    static struct ibv_device *list[DEVICES_MAX + 1];
    for (int i = 0; i <= fake.devices; i++)
        list[i] = i < fake.devices ? &fake.device[i] : NULL;
    if (count)
        *count = fake.devices;
    return list;
}

static void fake_free_list(struct ibv_device **list)
{
    (void)list;
}

static struct ibv_context *fake_open(struct ibv_device *device)
{
    if (fake.contexts++ == 0) /* the second opening keeps the events of the first */
        fake.context.async_fd = eventfd(0, EFD_CLOEXEC);
    fake.context.device = device;
    fake.open++;
    return &fake.context;
}

static int fake_close(struct ibv_context *context)
{
    fake.open--;
    if (--fake.contexts == 0)
        shl_fd_kernel.close(context->async_fd);
    return 0;
}

static int fake_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    (void)context;
    attr->phys_port_cnt = 1;
    return 0;
}

static int fake_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    (void)context, (void)port;
    *attr = (struct ibv_port_attr){.state = IBV_PORT_ACTIVE,
                                   .active_mtu = IBV_MTU_1024,
                                   .link_layer = IBV_LINK_LAYER_ETHERNET};
    return 0;
}

static ssize_t fake_gids(struct ibv_context *context, struct ibv_gid_entry *entries,
                         size_t capacity, uint32_t flags, size_t entry_bytes)
{
    static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
    (void)context, (void)capacity, (void)flags, (void)entry_bytes;
    memset(entries, 0, sizeof(*entries));
    memcpy(entries->gid.raw, loopback, sizeof(loopback));
    entries->port_num = 1;
    entries->gid_type = IBV_GID_TYPE_ROCE_V2;
    return 1;
}

static struct ibv_pd *fake_alloc_pd(struct ibv_context *context)
{
    (void)context;
    fake.open++;
    return &fake.pd;
}

static int fake_dealloc_pd(struct ibv_pd *pd)
{
    (void)pd;
    fake.open--;
    return 0;
}

static struct ibv_mr *fake_reg_mr(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    (void)pd, (void)memory, (void)bytes, (void)access;
    errno = fake.reg_errno;
    fake.open += !fake.reg_errno;
    return fake.reg_errno ? NULL : &fake.mr;
}

static struct ibv_mr *fake_reg_mr_iova2(struct ibv_pd *pd, void *memory, size_t bytes,
                                        uint64_t iova, unsigned access)
{
    (void)iova;
    return fake_reg_mr(pd, memory, bytes, (int)access);
}

static int fake_dereg_mr(struct ibv_mr *mr)
{
    (void)mr;
    fake.open--;
    return 0;
}

static struct ibv_comp_channel *fake_create_channel(struct ibv_context *context)
{
    (void)context;
    fake.channel.fd = eventfd(0, EFD_CLOEXEC);
    fake.open++;
    return &fake.channel;
}

static int fake_destroy_channel(struct ibv_comp_channel *channel)
{
    shl_fd_kernel.close(channel->fd);
    fake.open--;
    return 0;
}

static struct ibv_cq *fake_create_cq(struct ibv_context *context, int entries, void *arg,
                                     struct ibv_comp_channel *channel, int vector)
{
    (void)context, (void)entries, (void)arg, (void)channel, (void)vector;
    fake.open++;
    return &fake.cq;
}

static int fake_destroy_cq(struct ibv_cq *cq)
{
    (void)cq;
    fake.open--;
    return 0;
}

static int fake_poll_cq(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    (void)cq, (void)capacity, (void)completions;
    return 0;
}

static int fake_no_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **arg)
{
    (void)channel, (void)cq, (void)arg;
    return -1;
}

static int fake_no_async(struct ibv_context *context, struct ibv_async_event *event)
{
    (void)context, (void)event;
    return -1;
}

static int fake_notify(struct ibv_cq *cq, int solicited_only)
{
    (void)cq, (void)solicited_only;
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
    .alloc_pd = fake_alloc_pd,
    .dealloc_pd = fake_dealloc_pd,
    .reg_mr = fake_reg_mr,
    .reg_mr_iova2 = fake_reg_mr_iova2,
    .dereg_mr = fake_dereg_mr,
    .create_comp_channel = fake_create_channel,
    .destroy_comp_channel = fake_destroy_channel,
    .create_cq = fake_create_cq,
    .destroy_cq = fake_destroy_cq,
    .poll_cq = fake_poll_cq,
    .req_notify_cq = fake_notify,
    .get_cq_event = fake_no_event,
    .get_async_event = fake_no_async,
};

/* ---- a rank ------------------------------------------------------------------------------- */

static struct shl_config config;
static struct shl_transport_env env;
extern const struct shl_transport_ops shl_transport_absent; /* support/verbs_absent.c */
static const struct shl_transport_ops *const ops = &shl_transport_verbs;

static int set_up(void **state)
{
    char *const nothing[] = {NULL};
    struct shl_config_options options = {.environment = nothing};
    (void)state;
    memset(&fake, 0, sizeof(fake));
    for (int i = 0; i < DEVICES_MAX; i++)
        snprintf(fake.device[i].name, sizeof(fake.device[i].name), "fake%d", i);
    shl_verbs = &fake_table;
    ASSERT_OK(shl_config_load(&options, &config));
    env = (struct shl_transport_env){.config = &config, .rank = 0, .size = 3};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(fake.open, 0);
    shl_config_free(&config);
    return 0;
}

static bool contains(const uint8_t *blob, size_t bytes, const char *text)
{
    return memmem(blob, bytes, text, strlen(text)) != NULL;
}

/* Attach with peers that published these blobs: nobody is reached, and nothing can be posted. */
static void assert_reaches_nobody(struct shl_transport *t, const void *one, size_t one_bytes,
                                  const void *other, size_t other_bytes)
{
    const void *blobs[3] = {NULL, one, other};
    size_t bytes[3] = {0, one_bytes, other_bytes};
    bool reaches[3] = {true, true, true};
    char text[200];
    ASSERT_OK(ops->attach(t, blobs, bytes, shl_now_ns() + 1000000000, reaches));
    assert_false(reaches[0] || reaches[1] || reaches[2]);
    struct shl_xfer xfer = {.peer = 1, .bytes = 8, .elem_bytes = 1, .data = text};
    ASSERT_STATUS(SHOAL_ERR_PEER, ops->send(t, &xfer));
    ASSERT_DETAIL("rank 1 is not reached over verbs");
    ASSERT_STATUS(SHOAL_ERR_PEER, ops->recv(t, &xfer));
    ops->explain(t, 1, text, sizeof(text));
    assert_string_equal(text, "verbs to rank 1: not connected");
    assert_int_equal(ops->poll(t), 0);
    assert_true(ops->wait_fd(t) >= 0 && ops->arm(t, true));
    ops->cancel(t, 1, 1);
    ops->review(t, 1, 1);
    ops->drop_peer(t, 1);
}

/* ---- tests -------------------------------------------------------------------------------- */

static void without_devices_it_says_so(void **state)
{
    struct shl_transport *t;
    uint8_t blob[512];
    (void)state;
    ASSERT_OK(ops->open(&env, &t));
    size_t bytes = ops->describe(t, blob, sizeof(blob));
    assert_true(contains(blob, bytes, "this machine has no RDMA device"));
    assert_reaches_nobody(t, blob, bytes, blob, bytes);
    ops->close(t);
    ops->close(NULL);
}

/* Each device with its own reason, as far as there is room. */
static void every_device_that_fails_is_named(void **state)
{
    static const char left_out[] = "SHOAL_IB_HCA=\"=none\" leaves it out";
    struct shl_transport *t;
    uint8_t blob[512];
    char text[200];
    (void)state;
    char *environment[] = {"SHOAL_IB_HCA==none", NULL};
    struct shl_config_options options = {.environment = environment};
    shl_config_free(&config);
    ASSERT_OK(shl_config_load(&options, &config));
    for (fake.devices = 1; fake.devices <= DEVICES_MAX; fake.devices++) {
        ASSERT_OK(ops->open(&env, &t));
        size_t bytes = ops->describe(t, blob, sizeof(blob));
        assert_true(bytes > 0);
        int named = 0;
        for (bool is_named = true; is_named && named < fake.devices; named += is_named) {
            snprintf(text, sizeof(text), "fake%d: %s", named, left_out);
            is_named = contains(blob, bytes, text);
        }
        assert_true(named >= (fake.devices < 4 ? fake.devices : 4));
        snprintf(text, sizeof(text), "; and %d more, see `shoal info`", fake.devices - named);
        assert_int_equal(contains(blob, bytes, text), named < fake.devices);
        ops->close(t);
    }
}

static void without_locked_memory_it_says_what_to_do(void **state)
{
    struct shl_transport *t;
    uint8_t blob[512];
    (void)state;
    fake.devices = 1;
    fake.reg_errno = ENOMEM;
    ASSERT_OK(ops->open(&env, &t));
    assert_int_equal(fake.open, 0); /* what was made before is given back */
    size_t bytes = ops->describe(t, blob, sizeof(blob));
    assert_true(contains(blob, bytes, "raise the limit of locked memory"));
    ops->close(t);
}

static void peers_that_cannot_are_not_tried(void **state)
{
    struct shl_transport *t;
    uint8_t mine[512], theirs[512], infiniband[512];
    (void)state;
    ASSERT_OK(ops->open(&env, &t)); /* a peer without devices */
    size_t theirs_bytes = ops->describe(t, theirs, sizeof(theirs));
    ops->close(t);

    fake.devices = 1;
    ASSERT_OK(ops->open(&env, &t));
    size_t bytes = ops->describe(t, mine, sizeof(mine));
    assert_true(contains(mine, bytes, "fake0"));
    memcpy(infiniband, mine, bytes);
    infiniband[2] = 1; /* the kind of link: InfiniBand */
    assert_reaches_nobody(t, theirs, theirs_bytes, infiniband, bytes);
    ops->close(t);
}

/* Its description is understood, so its own words are logged. */
static void a_peer_built_without_rdma_is_told_apart(void **state)
{
    struct shl_transport *t, *other;
    uint8_t blob[512];
    char path[] = "/tmp/shoal-verbs-XXXXXX", text[1024] = "";
    (void)state;
    ASSERT_OK(shl_transport_absent.open(&env, &other));
    size_t bytes = shl_transport_absent.describe(other, blob, sizeof(blob));
    assert_true(bytes > 0);
    shl_transport_absent.close(other);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    fake.devices = 1;
    ASSERT_OK(ops->open(&env, &t));
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, path));
    assert_reaches_nobody(t, blob, bytes, blob, bytes);
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, NULL));
    ops->close(t);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    unlink(path);
    assert_true(got > 0);
    if (!strstr(text, "it says: this build has no RDMA"))
        fail_msg("the log says: %s", text);
}

static void malformed_descriptions_are_refused(void **state)
{
    struct shl_transport *t;
    uint8_t mine[512], wrong[512];
    (void)state;
    fake.devices = 1;
    ASSERT_OK(ops->open(&env, &t));
    size_t bytes = ops->describe(t, mine, sizeof(mine));
    assert_int_equal(ops->describe(t, wrong, 4), 0); /* does not fit */
    memcpy(wrong, mine, bytes);
    wrong[0]++; /* another version */
    for (size_t cut = 0; cut < bytes; cut++)
        assert_reaches_nobody(t, mine, cut, wrong, bytes);
    ops->close(t);
}

static enum shoal_status open_and_close(void *arg)
{
    struct shl_transport *t;
    (void)arg;
    SHL_TRY(ops->open(&env, &t));
    ops->close(t);
    assert_int_equal(fake.open, 0);
    return SHOAL_OK;
}

static void kth_call_fails(void **state)
{
    (void)state;
    fake.devices = 1;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, open_and_close, NULL, 200) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_devices_it_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_device_that_fails_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_locked_memory_it_says_what_to_do, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(peers_that_cannot_are_not_tried, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_built_without_rdma_is_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_descriptions_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kth_call_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("verbs_transport", tests, NULL, NULL);
}
