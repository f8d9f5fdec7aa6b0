/*
 * The rendezvous with real sockets; ranks are threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/rendezvous.h"

#include "control/sock.h"
#include "core/log.h"
#include "core/sys.h"
#include "support/config.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"
#include "unit/elastic/joiners.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define MS 1000000ull
#define RANKS_MAX 40

static struct shl_config config, other_config;
static struct shl_key key, other_key;
static uint32_t threads_at_first; /* a thread that a test left behind is not among them */

/* ---- what the sockets did ----------------------------------------------------------------- */

static _Atomic uint32_t insistent; /* threads that connected again, since the first time failed */
static _Atomic uint32_t accepted;  /* connections */
static _Atomic int lookups_that_fail;

static int counting_connect(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    static _Thread_local uint32_t tries;
    if (++tries == 2)
        atomic_fetch_add(&insistent, 1);
    return shl_sock_kernel.connect(fd, addr, bytes);
}

static int counting_accept4(int fd, struct sockaddr *addr, socklen_t *bytes, int flags)
{
    int made = shl_sock_kernel.accept4(fd, addr, bytes, flags);
    if (made >= 0)
        atomic_fetch_add(&accepted, 1);
    return made;
}

static int late_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                            struct addrinfo **found)
{
    if (!strstr(host, ".svc"))
        return shl_sock_kernel.getaddrinfo(host, service, hints, found);
    if (atomic_fetch_sub(&lookups_that_fail, 1) > 0)
        return EAI_NONAME;
    return shl_sock_kernel.getaddrinfo("localhost", service, hints, found);
}

/* For good: a thread that a test leaves behind may look at the table at any time. */
static int watch_sockets(void **state)
{
    static struct shl_sys_sock watched;
    (void)state;
    if (!watched.connect) {
        watched = shl_sock_kernel;
        watched.connect = counting_connect;
        watched.accept4 = counting_accept4;
        watched.getaddrinfo = late_getaddrinfo;
    }
    shl_sock = &watched;
    return 0;
}

static void await_count(_Atomic uint32_t *count, uint32_t least)
{
    uint64_t deadline_ns = shl_now_ns() + 20000 * MS;
    while (atomic_load(count) < least) {
        assert_true(shl_now_ns() < deadline_ns);
        shl_time->sleep_ns(MS);
    }
}

static struct shl_rendezvous_server *serve(const char *address)
{
    struct shl_rendezvous_server *server;
    ASSERT_OK(shl_rendezvous_serve(&config, address, "job", &key, &server));
    return server;
}

static int set_up(void **state)
{
    (void)state;
    threads_at_first = shl_test_threads_at_first();
    shl_log_configure(SHL_LOG_OFF, NULL);
    shl_test_config(&config, NULL);
    shl_test_config(&other_config, (const char *[]){"SHOAL_HEARTBEAT_MS=250", NULL});
    ASSERT_OK(shl_key_derive("0123456789abcdef", 16, "job", &key));
    ASSERT_OK(shl_key_derive("another secret..", 16, "job", &other_key));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_config_free(&config);
    shl_config_free(&other_config);
    return 0;
}

/* ---- meeting ----------------------------------------------------------------------------- */

static void all_learn_everything(void **state)
{
    static const uint32_t sizes[] = {1, 2, 5, RANKS_MAX};
    struct shl_rendezvous_server *server = serve("127.0.0.1:0");
    uint64_t incarnation = 0;
    (void)state;
    /* One server, several rounds: a new epoch and a new incarnation each. */
    for (uint32_t round = 0; round < sizeof(sizes) / sizeof(sizes[0]); round++) {
        struct joiner joiners[RANKS_MAX];
        joiners_prepare(joiners, sizes[round], shl_rendezvous_address(server), &config, &key);
        joiners_launch(joiners, sizes[round]);
        joiners_gather(joiners, sizes[round]);
        joiners_assert_met(joiners, sizes[round]);
        assert_int_equal(joiners[0].result.epoch, round + 1);
        assert_true(joiners[0].result.incarnation != incarnation);
        incarnation = joiners[0].result.incarnation;
        joiners_release(joiners, sizes[round]);
    }
    shl_rendezvous_stop(server);
}

static void meet_at(const char *address)
{
    struct joiner joiners[3];
    struct shl_rendezvous_server *server = serve(address);
    joiners_prepare(joiners, 3, shl_rendezvous_address(server), &config, &key);
    joiners_launch(joiners, 3);
    joiners_gather(joiners, 3);
    joiners_assert_met(joiners, 3);
    joiners_release(joiners, 3);
    shl_rendezvous_stop(server);
}

static void addresses_of_every_kind(void **state)
{
    struct shl_sockaddr addr, bound;
    int fd;
    char local[64];
    (void)state;
    meet_at("localhost:0");
    meet_at("*:0");
    meet_at("0.0.0.0:0");
    snprintf(local, sizeof(local), "@shoal-rendezvous-test-%ld", (long)getpid());
    meet_at(local);
    assert_true(shl_sockaddr_parse("::1", 0, &addr));
    if (shl_sock_listen(&addr, 1, &fd, &bound) == SHOAL_OK) {
        shl_fd->close(fd);
        meet_at("[::1]:0");
    }
}

/* An address that is free a moment later. */
static void reserve(char *text, size_t capacity)
{
    struct shl_sockaddr addr, bound;
    int fd;
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &addr));
    ASSERT_OK(shl_sock_listen(&addr, 1, &fd, &bound));
    shl_fd->close(fd);
    shl_sockaddr_format(&bound, text, capacity);
}

static void ranks_may_come_before_the_server(void **state)
{
    struct joiner joiners[3];
    char address[SHL_SOCK_TEXT_BYTES];
    (void)state;
    reserve(address, sizeof(address));
    joiners_prepare(joiners, 3, address, &config, &key);
    uint32_t before = atomic_load(&insistent);
    joiners_launch(joiners, 3);
    await_count(&insistent, before + 3);
    struct shl_rendezvous_server *server = serve(address);
    joiners_gather(joiners, 3);
    joiners_assert_met(joiners, 3);
    joiners_release(joiners, 3);
    shl_rendezvous_stop(server);
}

/* A communicator is destroyed and made again: one rank is back before rank 0's server has gone. */
static void who_comes_back_early_finds_the_next_server(void **state)
{
    struct joiner joiners[2];
    char address[SHL_SOCK_TEXT_BYTES];
    (void)state;
    reserve(address, sizeof(address));
    struct shl_rendezvous_server *server = serve(address);
    joiners_prepare(joiners, 2, address, &config, &key);
    joiners_launch(joiners, 2);
    joiners_gather(joiners, 2);
    joiners_assert_met(joiners, 2);
    joiners_release(joiners, 2);
    joiners_prepare(joiners, 2, address, &config, &key);
    uint32_t before = atomic_load(&accepted);
    joiners_launch(&joiners[1], 1);
    await_count(&accepted, before + 1);
    shl_rendezvous_stop(server);
    server = serve(address);
    joiner_run(&joiners[0]);
    joiners_gather(&joiners[1], 1);
    joiners_assert_met(joiners, 2);
    joiners_release(joiners, 2);
    shl_rendezvous_stop(server);
}

static void a_name_may_appear_late(void **state)
{
    struct joiner joiner;
    char address[SHL_SOCK_TEXT_BYTES];
    (void)state;
    struct shl_rendezvous_server *server = serve("127.0.0.1:0");
    snprintf(address, sizeof(address), "trainer-0.trainer.svc%s",
             strchr(shl_rendezvous_address(server), ':'));
    atomic_store(&lookups_that_fail, 3);
    joiners_prepare(&joiner, 1, address, &config, &key);
    joiner_run(&joiner);
    joiners_assert_met(&joiner, 1);
    joiners_release(&joiner, 1);
    atomic_store(&lookups_that_fail, 1000);
    joiner.patience_ms = 100;
    joiner_run(&joiner);
    assert_int_equal(joiner.status, SHOAL_ERR_ABSENT);
    assert_non_null(strstr(joiner.detail, "cannot resolve host \"trainer-0.trainer.svc\""));
    shl_rendezvous_stop(server);
    assert_true(shl_test_wait_for_threads(threads_at_first, 20000));
}

/* ---- not meeting ------------------------------------------------------------------------- */

static void the_absent_are_listed(void **state)
{
    static const uint32_t present[] = {0, 1, 3, 4};
    struct joiner joiners[4];
    struct shl_rendezvous_server *server = serve("127.0.0.1:0");
    char expected[SHL_SOCK_TEXT_BYTES + 8];
    (void)state;
    joiners_prepare(joiners, 4, shl_rendezvous_address(server), &config, &key);
    snprintf(expected, sizeof(expected), " s at %s", joiners[0].address);
    for (uint32_t i = 0; i < 4; i++) {
        joiners[i].rank = present[i];
        joiners[i].size = 8;
        joiners[i].patience_ms = 400;
    }
    uint64_t begun = shl_now_ns();
    joiners_launch(joiners, 4);
    joiners_gather(joiners, 4);
    assert_true(shl_now_ns() - begun < 20000 * MS);
    bool complete = false;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(joiners[i].status, SHOAL_ERR_ABSENT);
        assert_non_null(strstr(joiners[i].detail, "did not arrive within"));
        assert_non_null(strstr(joiners[i].detail, expected));
        /* Whoever waits longest may also name those who gave up before it. */
        complete |= strstr(joiners[i].detail, "ranks 2, 5-7 of 8 did not arrive") != NULL;
    }
    assert_true(complete);
    /* Their successors can still meet. */
    joiners_prepare(joiners, 2, shl_rendezvous_address(server), &config, &key);
    joiners_launch(joiners, 2);
    joiners_gather(joiners, 2);
    joiners_assert_met(joiners, 2);
    joiners_release(joiners, 2);
    shl_rendezvous_stop(server);
}

static void nobody_serves(void **state)
{
    struct joiner joiner;
    char address[SHL_SOCK_TEXT_BYTES];
    (void)state;
    reserve(address, sizeof(address));
    joiners_prepare(&joiner, 1, address, &config, &key);
    joiner.patience_ms = 150;
    joiner_run(&joiner);
    assert_int_equal(joiner.status, SHOAL_ERR_ABSENT);
    assert_non_null(strstr(joiner.detail, address));
    assert_non_null(strstr(joiner.detail, "Connection refused"));
    joiner.address = "no port";
    joiner_run(&joiner);
    assert_int_equal(joiner.status, SHOAL_ERR_INVALID);
}

/* Two that contradict each other, the others being there already. */
static void contradict(struct joiner *joiners, uint32_t count, enum shoal_status status,
                       const char *part)
{
    joiners_launch(joiners, count);
    joiners_gather(joiners, count);
    for (uint32_t i = 0; i < count; i++) {
        if (joiners[i].status != status || !strstr(joiners[i].detail, part))
            fail_msg("joiner %u: status %d, %s", i, joiners[i].status, joiners[i].detail);
    }
}

static void contradictions_fail_all_at_once(void **state)
{
    struct shl_rendezvous_server *server = serve("127.0.0.1:0");
    struct joiner joiners[3];
    (void)state;
    joiners_prepare(joiners, 3, shl_rendezvous_address(server), &config, &key);
    joiners[2].size = 4;
    joiners[2].delay_ms = 200;
    contradict(joiners, 3, SHOAL_ERR_INVALID, "disagree on the size of the job: 3 and 4");

    joiners_prepare(joiners, 3, shl_rendezvous_address(server), &config, &key);
    joiners[2].rank = 1;
    joiners[2].delay_ms = 200;
    contradict(joiners, 3, SHOAL_ERR_INVALID,
               "two processes came to the rendezvous as rank 1 of 3");

    joiners_prepare(joiners, 3, shl_rendezvous_address(server), &config, &key);
    joiners[2].config = &other_config;
    joiners[2].delay_ms = 200;
    contradict(joiners, 3, SHOAL_ERR_CONFIG, "among those that must agree");

    /* Who comes after a failure is told of it with the absent. */
    joiners_prepare(joiners, 3, shl_rendezvous_address(server), &config, &key);
    joiners[0].patience_ms = 100;
    joiner_run(&joiners[0]);
    assert_int_equal(joiners[0].status, SHOAL_ERR_ABSENT);
    assert_non_null(strstr(joiners[0].detail, "ranks 1-2 of 3"));
    assert_non_null(strstr(joiners[0].detail, "an earlier attempt failed: rank 2 has other"));

    joiners_prepare(joiners, 3, shl_rendezvous_address(server), &config, &key);
    joiners_launch(joiners, 3);
    joiners_gather(joiners, 3);
    joiners_assert_met(joiners, 3);
    joiners_release(joiners, 3);
    shl_rendezvous_stop(server);
}

static void a_wrong_secret_is_named_and_disturbs_nobody(void **state)
{
    struct shl_rendezvous_server *server = serve("127.0.0.1:0");
    struct joiner joiners[3];
    (void)state;
    joiners_prepare(joiners, 2, shl_rendezvous_address(server), &config, &key);
    joiners_prepare(joiners + 2, 1, shl_rendezvous_address(server), &config, &key);
    joiners[2].key = &other_key; /* says that it is rank 0 */
    joiners[0].delay_ms = 200;
    joiners_launch(joiners, 3);
    joiners_gather(joiners, 3);
    joiners_assert_met(joiners, 2);
    assert_int_equal(joiners[2].status, SHOAL_ERR_AUTH);
    assert_non_null(strstr(joiners[2].detail, "secret"));
    joiners_release(joiners, 2);
    shl_rendezvous_stop(server);
}

/* ---- strangers --------------------------------------------------------------------------- */

static void strangers_disturb_nobody(void **state)
{
    enum { STRANGERS = 100 };
    struct shl_rendezvous_server *server = serve("127.0.0.1:0");
    struct joiner joiners[5];
    struct shl_sockaddr address;
    char host[64];
    uint16_t port;
    int fds[STRANGERS];
    (void)state;
    ASSERT_OK(shl_sock_split(shl_rendezvous_address(server), -1, host, sizeof(host), &port));
    assert_true(shl_sockaddr_parse(host, port, &address));
    joiners_prepare(joiners, 5, shl_rendezvous_address(server), &config, &key);
    joiners[4].delay_ms = 100;
    joiners_launch(joiners, 5);
    for (int i = 0; i < STRANGERS; i++) {
        static const char noise[300] = "SHL1";
        ASSERT_OK(shl_sock_connect(&address, &fds[i]));
        ASSERT_OK(shl_sock_wait(fds[i], POLLOUT, UINT64_MAX));
        /* Nothing, a little, much that is wrong. */
        (void)!send(fds[i], noise, i % 3 * 150u, MSG_NOSIGNAL);
    }
    joiners_gather(joiners, 5);
    joiners_assert_met(joiners, 5);
    joiners_release(joiners, 5);
    for (int i = 0; i < STRANGERS; i++)
        shl_fd->close(fds[i]);
    shl_rendezvous_stop(server);
}

/* ---- serving ----------------------------------------------------------------------------- */

static void without_a_secret_only_loopback_is_served(void **state)
{
    struct shl_rendezvous_server *server;
    struct shl_key none;
    (void)state;
    ASSERT_OK(shl_key_derive(NULL, 0, "job", &none));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_rendezvous_serve(&config, "*:0", "job", &none, &server));
    ASSERT_DETAIL("SHOAL_SECRET_FILE");
    ASSERT_OK(shl_rendezvous_serve(&config, "127.0.0.1:0", "job", &none, &server));
    shl_rendezvous_stop(server);
    struct shl_config insecure = config;
    insecure.insecure = true;
    ASSERT_OK(shl_rendezvous_serve(&insecure, "*:0", "job", &none, &server));
    shl_rendezvous_stop(server);
}

static void where_it_cannot_listen_it_says_so(void **state)
{
    struct shl_rendezvous_server *first = serve("127.0.0.1:0"), *second;
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_rendezvous_serve(&config, shl_rendezvous_address(first),
                                                         "job", &key, &second));
    assert_int_equal(errno, EADDRINUSE);
    /* TEST-NET-1: nobody's. */
    ASSERT_STATUS(SHOAL_ERR_SYSTEM,
                  shl_rendezvous_serve(&config, "192.0.2.1:1234", "job", &key, &second));
    assert_int_equal(errno, EADDRNOTAVAIL);
    ASSERT_STATUS(SHOAL_ERR_INVALID,
                  shl_rendezvous_serve(&config, "nonsense", "job", &key, &second));
    shl_rendezvous_stop(first);
    shl_rendezvous_stop(NULL);
}

/* ---- failures of the kernel -------------------------------------------------------------- */

static enum shoal_status meet_once(void *arg)
{
    struct shl_rendezvous_server *server;
    struct joiner joiners[2];
    (void)arg;
    SHL_TRY(shl_rendezvous_serve(&config, "127.0.0.1:0", "job", &key, &server));
    joiners_prepare(joiners, 2, shl_rendezvous_address(server), &config, &key);
    joiners[0].patience_ms = joiners[1].patience_ms = 500;
    joiners_launch(joiners, 2);
    joiners_gather(joiners, 2);
    enum shoal_status status = SHOAL_OK;
    for (uint32_t i = 0; i < 2; i++)
        if (joiners[i].status < 0)
            status = shl_fail(joiners[i].status, "%s", joiners[i].detail);
    if (status == SHOAL_OK)
        joiners_assert_met(joiners, 2);
    joiners_release(joiners, 2);
    shl_rendezvous_stop(server);
    return status;
}

static void whatever_fails_once_nothing_leaks_or_hangs(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, meet_once, NULL, 1000) > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_learn_everything),
        cmocka_unit_test(addresses_of_every_kind),
        cmocka_unit_test_setup(ranks_may_come_before_the_server, watch_sockets),
        cmocka_unit_test_setup(who_comes_back_early_finds_the_next_server, watch_sockets),
        cmocka_unit_test(the_absent_are_listed),
        cmocka_unit_test(nobody_serves),
        cmocka_unit_test(contradictions_fail_all_at_once),
        cmocka_unit_test(a_wrong_secret_is_named_and_disturbs_nobody),
        cmocka_unit_test(strangers_disturb_nobody),
        cmocka_unit_test(without_a_secret_only_loopback_is_served),
        cmocka_unit_test(where_it_cannot_listen_it_says_so),
        cmocka_unit_test(whatever_fails_once_nothing_leaks_or_hangs),
        cmocka_unit_test_setup(a_name_may_appear_late, watch_sockets),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
