/*
 * A second connection is refused while a session still has its first, which stalls: whoever speaks
 * over it is not given up, whoever is silent is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/sock.h"
#include "core/log.h"
#include "core/sys.h"
#include "support/config.h"
#include "support/leaks.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define MS 1000000ull
#define RANKS 2
#define REFUSALS 4

static struct shl_config config;

/* What the sockets of rank 0, which dials, pretend. */
static _Atomic bool stalls, deaf;
static _Atomic unsigned refusals;
static uint16_t listening_port; /* of rank 1 */

struct world {
    struct shl_control *controls[RANKS];
    struct shl_control_address addresses[RANKS];
    _Atomic uint32_t messages, lost;
    char cause[512];
};

static bool is_of_rank_0(int fd)
{
    struct sockaddr_in6 own = {0}; /* the port is at the same place in both families */
    socklen_t bytes = sizeof(own);
    return shl_sock_kernel.getsockname(fd, (struct sockaddr *)&own, &bytes) == 0 &&
           (own.sin6_family == AF_INET || own.sin6_family == AF_INET6) &&
           ntohs(own.sin6_port) != listening_port;
}

static int stalling(int fd, int level, int name, void *value, socklen_t *bytes)
{
    int result = shl_sock_kernel.getsockopt(fd, level, name, value, bytes);
    if (result == 0 && level == IPPROTO_TCP && name == TCP_INFO && stalls) {
        struct tcp_info *info = value;
        info->tcpi_unacked = info->tcpi_retransmits = 1;
    }
    return result;
}

static int refused(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    if (!stalls)
        return shl_sock_kernel.connect(fd, addr, bytes);
    atomic_fetch_add(&refusals, 1);
    errno = ECONNREFUSED;
    return -1;
}

static ssize_t hearing(int fd, void *data, size_t bytes, int flags)
{
    if (!deaf || !is_of_rank_0(fd))
        return shl_sock_kernel.recv(fd, data, bytes, flags);
    errno = EAGAIN;
    return -1;
}

static void on_message(void *arg, uint32_t origin, uint16_t type, const void *payload, size_t bytes)
{
    struct world *world = arg;
    (void)origin, (void)type, (void)payload, (void)bytes;
    atomic_fetch_add(&world->messages, 1);
}

static void on_lost(void *arg, uint32_t rank, enum shoal_status status, const char *cause)
{
    struct world *world = arg;
    (void)status;
    if (rank == 1)
        snprintf(world->cause, sizeof(world->cause), "%s", cause);
    atomic_fetch_add(&world->lost, 1);
}

static bool was_refused_often(void *arg)
{
    const struct world *world = arg;
    return refusals >= REFUSALS || world->lost;
}

static bool got_messages(void *arg)
{
    const struct world *world = arg;
    return world->messages >= RANKS || world->lost;
}

static bool lost_one(void *arg)
{
    const struct world *world = arg;
    return world->lost > 0;
}

struct starter {
    struct world *world;
    uint32_t rank;
    enum shoal_status status;
};

static void *start_one(void *arg)
{
    struct starter *starter = arg;
    starter->status = shl_control_start(starter->world->controls[starter->rank],
                                        starter->world->addresses, 3, 8, shl_now_ns() + 30000 * MS);
    return NULL;
}

/* Two ranks whose session runs over TCP. */
static void form(struct world *world)
{
    struct starter other = {world, 1, SHOAL_OK}, own = {world, 0, SHOAL_OK};
    char host[SHL_CONTROL_ADDRESS_TEXT];
    pthread_t thread;
    memset(world, 0, sizeof(*world));
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        struct shl_control_options options = {.config = &config,
                                              .job = "job",
                                              .rank = rank,
                                              .size = RANKS,
                                              .arg = world,
                                              .on_message = on_message,
                                              .on_lost = on_lost};
        ASSERT_OK(shl_control_create(&options, &world->controls[rank]));
        world->addresses[rank] = *shl_control_own_address(world->controls[rank]);
        world->addresses[rank].unix_name[0] = '\0';
    }
    ASSERT_OK(shl_sock_split(world->addresses[1].text[0], -1, host, sizeof(host), &listening_port));
    assert_int_equal(pthread_create(&thread, NULL, start_one, &other), 0);
    start_one(&own);
    pthread_join(thread, NULL);
    ASSERT_OK(own.status);
    ASSERT_OK(other.status);
}

static void calm(void)
{
    stalls = deaf = false;
}

static void destroy(struct world *world)
{
    for (uint32_t rank = 0; rank < RANKS; rank++)
        shl_control_destroy(world->controls[rank]);
}

static void who_speaks_is_not_given_up(void **state)
{
    struct world world;
    (void)state;
    form(&world);
    refusals = 0;
    stalls = true;
    assert_true(shl_test_wait_for(was_refused_often, &world, 60000));
    if (world.lost)
        fail_msg("given up: %s", world.cause);
    ASSERT_OK(shl_control_flood(world.controls[1], 1, "still here", 10));
    assert_true(shl_test_wait_for(got_messages, &world, 60000));
    assert_int_equal(world.lost, 0);
    calm();
    destroy(&world);
}

static void who_is_silent_too_is_given_up(void **state)
{
    struct world world;
    (void)state;
    form(&world);
    refusals = 0;
    stalls = deaf = true;
    assert_true(shl_test_wait_for(lost_one, &world, 60000));
    assert_true(refusals > 1);
    if (!strstr(world.cause, "its process is gone (its connection is silent; then "))
        fail_msg("another cause: %s", world.cause);
    calm();
    destroy(&world);
}

static int set_up(void **state)
{
    static struct shl_sys_sock sock;
    /* Beats so far apart that a busy machine does not make them late. */
    const char *const settings[] = {"SHOAL_HEARTBEAT_MS=400", "SHOAL_DEAD_AFTER_MS=20000", NULL};
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    shl_test_config(&config, settings);
    sock = shl_sock_kernel;
    sock.getsockopt = stalling;
    sock.connect = refused;
    sock.recv = hearing;
    shl_sock = &sock;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_sock = &shl_sock_kernel;
    shl_config_free(&config);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_speaks_is_not_given_up),
        cmocka_unit_test(who_is_silent_too_is_given_up),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
