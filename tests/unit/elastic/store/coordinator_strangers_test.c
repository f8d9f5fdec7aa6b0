/*
 * A coordinator and those that are no clients of its job, or do not speak as these do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/dial.h"
#include "control/mac.h"
#include "core/sys.h"
#include "elastic/store/wire.h"
#include "support/test.h"
#include "unit/elastic/store/coordinator_scene.h"

static void a_wrong_secret_or_job_gets_nothing(void **state)
{
    static struct store_user user, honest;
    struct shl_coordinator *coordinator = scene_serve("127.0.0.1:0", NULL);
    const char *address = shl_coordinator_address(coordinator);
    struct shl_key other_key;
    (void)state;
    ASSERT_OK(shl_key_derive("another secret..", 16, "job", &other_key));
    struct shl_store_options wrong = {
        .config = &scene.hasty, .address = address, .job = "job", .key = &other_key};
    ASSERT_OK(store_user_open(&user, &wrong));
    store_assert(store_user_swap(&user, 0, 0, "evil", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    wrong.key = &scene.key;
    wrong.job = "another job";
    ASSERT_OK(store_user_open(&user, &wrong));
    store_assert(store_user_swap(&user, 0, 0, "evil", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    scene_join(&honest, &scene.patient, address);
    store_assert(store_user_read(&honest), SHL_STORE_OK, 0, "");
    store_user_close(&honest);
    shl_coordinator_stop(coordinator);
}

static int connect_to(const char *address)
{
    struct shl_sockaddr addr;
    char host[SHL_SOCK_TEXT_BYTES];
    uint16_t port;
    int fd;
    ASSERT_OK(shl_sock_split(address, -1, host, sizeof(host), &port));
    assert_true(shl_sockaddr_parse(host, port, &addr));
    ASSERT_OK(shl_sock_connect(&addr, &fd));
    ASSERT_OK(shl_sock_wait(fd, POLLOUT, shl_now_ns() + 10000000000ull));
    return fd;
}

static int dialled_fd;
static bool is_dialled;

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    (void)arg;
    dialled_fd = result->outcome == SHL_DIAL_CONNECTED ? result->fd : -1;
    is_dialled = true;
}

/* An authenticated channel of some kind; the descriptor, or -1. */
static int authenticate(const char *address, uint8_t kind, uint64_t patience_ns)
{
    struct shl_loop loop;
    struct shl_dialler dialler;
    struct shl_dial_target target = {.count = 1};
    char host[SHL_SOCK_TEXT_BYTES];
    uint16_t port;
    ASSERT_OK(shl_sock_split(address, -1, host, sizeof(host), &port));
    assert_true(shl_sockaddr_parse(host, port, &target.addresses[0]));
    ASSERT_OK(shl_loop_init(&loop));
    shl_dialler_init(&dialler, &loop);
    dialler.key = &scene.key;
    dialler.hello = (struct shl_hello){.kind = kind, .target_rank = SHL_RANK_ANY};
    ASSERT_OK(shl_mac_job_hash("job", dialler.hello.job));
    dialler.target = &target;
    dialler.deadline_ns = shl_now_ns() + patience_ns;
    dialler.done = on_dialled;
    is_dialled = false;
    shl_dialler_start(&dialler);
    while (!is_dialled)
        shl_loop_turn(&loop, UINT64_MAX);
    shl_dialler_stop(&dialler);
    shl_loop_fini(&loop);
    return dialled_fd;
}

/* Whoever it is, what it says is not answered, and the connection ends. */
static void assert_dropped(int fd)
{
    char byte;
    ASSERT_STATUS(SHOAL_ERR_PEER, shl_sock_recv_all(fd, &byte, 1, shl_now_ns() + 20000000000ull));
    shl_fd->close(fd);
}

static void send_it(int fd, const void *data, size_t bytes)
{
    ASSERT_OK(shl_sock_send_all(fd, data, bytes, shl_now_ns() + 20000000000ull));
}

static void nonsense_disturbs_nobody(void **state)
{
    static struct store_user honest;
    static uint8_t frame[SHL_STORE_FRAME_MAX];
    struct shl_store_request request = {.id = 1, .swap = true, .bytes = "evil", .size = 4};
    struct shl_coordinator *coordinator = scene_serve("127.0.0.1:0", NULL);
    const char *address = shl_coordinator_address(coordinator);
    (void)state;
    scene_join(&honest, &scene.patient, address);
    int silent = connect_to(address), stranger = connect_to(address);
    send_it(stranger,
            "GET / HTTP/1.1\r\nHost: nobody, at a place that does not exist\r\n"
            "Accept: everything that is there, please, at once\r\n\r\n",
            110);
    assert_dropped(stranger);
    assert_int_equal(authenticate(address, SHL_CHANNEL_SESSION, 200000000), -1);
    /* Members of the job may be wrong, too. */
    int fd = authenticate(address, SHL_CHANNEL_STORE, 20000000000ull);
    send_it(fd, "nonsense", 8);
    assert_dropped(fd);
    for (uint32_t kind = 0; kind < 256; kind += 51) {
        size_t bytes = shl_store_put_request(frame, &request);
        frame[SHL_STORE_HEADER_BYTES + 8] =
            (uint8_t)(kind == 51 ? 1 : kind); /* a read has no value */
        fd = authenticate(address, SHL_CHANNEL_STORE, 20000000000ull);
        send_it(fd, frame, bytes);
        assert_dropped(fd);
    }
    fd = authenticate(address, SHL_CHANNEL_STORE, 20000000000ull);
    send_it(fd, frame, 12); /* and no more */
    store_assert(store_user_read(&honest), SHL_STORE_OK, 0, "");
    store_user_close(&honest);
    shl_fd->close(silent);
    shl_fd->close(fd);
    shl_coordinator_stop(coordinator);
}

static void without_a_secret_only_loopback_is_served(void **state)
{
    struct shl_key open_key;
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options options = {
        .config = &scene.patient, .address = "0.0.0.0:0", .job = "job", .key = &open_key};
    (void)state;
    ASSERT_OK(shl_key_derive(NULL, 0, "job", &open_key));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_coordinator_serve(&options, &coordinator));
    ASSERT_DETAIL("the coordinator at 0.0.0.0:0");
    options.address = "127.0.0.1:0";
    ASSERT_OK(shl_coordinator_serve(&options, &coordinator));
    shl_coordinator_stop(coordinator);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_secret_or_job_gets_nothing),
        cmocka_unit_test(nonsense_disturbs_nobody),
        cmocka_unit_test(without_a_secret_only_loopback_is_served),
    };
    return cmocka_run_group_tests(tests, scene_set_up, scene_tear_down);
}
