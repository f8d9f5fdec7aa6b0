/*
 * Control between real processes over a network that breaks, and among strangers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/handshake.h"
#include "control/sock.h"
#include "core/log.h"
#include "core/sys.h"
#include "multiproc/control_proxy.h"
#include "multiproc/control_ranks.h"
#include "support/random.h"
#include "support/test.h"

#include <signal.h>

#define SECOND 1000000000ull
#define RANKS 5
#define CUTS_MAX 2000
#define ALL ((1ull << RANKS) - 1)

static const char *const patient[] = {"SHOAL_DEAD_AFTER_MS=20000", NULL};

/* Every rank is reached through the proxy, and only so. */
static struct proxy *put_proxy_between(struct ranks *ranks, uint64_t seed)
{
    struct proxy *proxy = proxy_create(seed);
    for (uint32_t rank = 0; rank < ranks->size; rank++) {
        struct shl_control_address *address = &ranks->board->addresses[rank];
        address->count = 1;
        proxy_insert(proxy, address->text[0], sizeof(address->text[0]));
    }
    proxy_start(proxy);
    return proxy;
}

static void assert_nobody_lost(const struct ranks *ranks)
{
    for (uint32_t rank = 0; rank < ranks->size; rank++)
        for (uint32_t other = 0; other < ranks->size; other++)
            if (ranks->board->view[rank].lost[other])
                fail_msg("rank %u lost rank %u: %s", rank, other,
                         ranks->board->view[rank].lost_cause[other]);
}

static void flood_through(uint32_t payload_bytes, uint32_t life_bytes, uint64_t count)
{
    struct ranks ranks = {.size = RANKS, .settings = patient, .over_tcp = true};
    ranks_launch(&ranks);
    struct proxy *proxy = put_proxy_between(&ranks, shl_test_seed());
    /* Already while they meet. */
    proxy_set_life(proxy, life_bytes, CUTS_MAX);
    ranks_start(&ranks);
    ranks_await_started(&ranks);
    ranks_flood(&ranks, count, payload_bytes);
    ranks_await_floods(&ranks, ALL, ALL, count);
    print_message("%llu connections were cut\n", (unsigned long long)proxy_cuts(proxy));
    assert_true(proxy_cuts(proxy) > 0);
    assert_nobody_lost(&ranks);
    proxy_set_life(proxy, 0, 0);
    ranks_finish(&ranks, ALL);
    proxy_destroy(proxy);
}

static void small_floods_survive_cuts(void **state)
{
    (void)state;
    flood_through(64, 4000, 150);
}

static void large_floods_survive_cuts(void **state)
{
    (void)state;
    flood_through(20000, 150000, 20);
}

/* Lives that end in the handshake, the welcome, or the first frame. */
static void short_lives_survive_cuts(void **state)
{
    (void)state;
    flood_through(8, 700, 20);
}

static void a_death_is_seen_through_the_proxy(void **state)
{
    /* Its listener stays when the rank dies: no refusal tells, only silence. */
    struct ranks ranks = {.size = RANKS, .over_tcp = true};
    (void)state;
    ranks_launch(&ranks);
    struct proxy *proxy = put_proxy_between(&ranks, shl_test_seed());
    ranks_start(&ranks);
    ranks_await_started(&ranks);
    uint64_t killed = shl_now_ns();
    ranks_kill(&ranks, 2, SIGKILL);
    uint64_t took = ranks_await_lost(&ranks, ALL & ~4ull, 2, killed);
    print_message("killed rank behind a proxy known to all after %.0f ms\n", (double)took / 1e6);
    ranks_finish(&ranks, ALL & ~4ull);
    proxy_destroy(proxy);
}

/* ---- strangers --------------------------------------------------------------------------- */

static int knock(const struct shl_control_address *address)
{
    char host[64];
    uint16_t port;
    struct shl_sockaddr addr;
    int fd;
    ASSERT_OK(shl_sock_split(address->text[0], -1, host, sizeof(host), &port));
    assert_true(shl_sockaddr_parse(host, port, &addr));
    ASSERT_OK(shl_sock_connect(&addr, &fd));
    return fd;
}

/* Half-open connections, garbage, half a hello, a whole one without the secret, nothing at all. */
static void annoy(const struct ranks *ranks, uint32_t count)
{
    static const struct shl_hello hello = {
        .kind = SHL_CHANNEL_SESSION, .incarnation = 99, .epoch = 5};
    uint8_t noise[500];
    struct shl_key guess;
    struct shl_handshake hs;
    uint64_t random = shl_test_seed();
    int fds[400];
    assert_true(count <= 400);
    ASSERT_OK(shl_key_derive(NULL, 0, "guess", &guess));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = i % ranks->size;
        fds[i] = knock(&ranks->board->addresses[rank]);
        (void)shl_sock_wait(fds[i], POLLOUT, shl_now_ns() + SECOND);
        for (size_t j = 0; j < sizeof(noise); j++)
            noise[j] = (uint8_t)shl_test_random(&random);
        ASSERT_OK(shl_handshake_dial(&hs, &guess, &hello));
        switch (i % 4) {
        case 0:
            (void)!send(fds[i], noise, sizeof(noise), MSG_NOSIGNAL);
            break;
        case 1:
            (void)!send(fds[i], hs.out, SHL_HELLO_BYTES / 2, MSG_NOSIGNAL);
            break;
        case 2:
            (void)!send(fds[i], hs.out, SHL_HELLO_BYTES, MSG_NOSIGNAL);
            break;
        default:
            break;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        shl_fd->close(fds[i]);
}

static void strangers_never_disturb(void **state)
{
    struct ranks ranks = {
        .size = RANKS, .settings = patient, .over_tcp = true, .secret = "a secret of this job"};
    (void)state;
    ranks_launch(&ranks);
    annoy(&ranks, 100); /* before anybody serves, */
    ranks_start(&ranks);
    annoy(&ranks, 400); /* while they meet, */
    ranks_await_started(&ranks);
    ranks_flood(&ranks, 100, 2000);
    annoy(&ranks, 400); /* and while they talk */
    ranks_await_floods(&ranks, ALL, ALL, 100);
    assert_nobody_lost(&ranks);
    ranks_finish(&ranks, ALL);
}

static int quiet(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_floods_survive_cuts),
        cmocka_unit_test(large_floods_survive_cuts),
        cmocka_unit_test(short_lives_survive_cuts),
        cmocka_unit_test(a_death_is_seen_through_the_proxy),
        cmocka_unit_test(strangers_never_disturb),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
