/*
 * Listener and dialler over real sockets, with strangers around.
 *
 * Time is the test's own, so that deadlines cost nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/listener.h"

#include "control/control.h"
#include "core/log.h"
#include "core/sys.h"
#include "support/clock.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"
#include "unit/control/listener_scene.h"

#include <errno.h>

static struct shl_key other_key;

static int set_up(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    shl_test_clock_install(1000000 * MS);
    ASSERT_OK(shl_key_derive("0123456789abcdef", 16, "job", &scene_key));
    ASSERT_OK(shl_key_derive("another secret..", 16, "job", &other_key));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_test_clock_remove();
    return 0;
}

/* ---- honest ------------------------------------------------------------------------------ */

static void an_honest_rank_gets_in(const char *address, bool local)
{
    struct scene scene;
    char sent[] = "bytes that follow", got[sizeof(sent)] = "";
    ASSERT_OK(scene_open(&scene, address));
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_CONNECTED);
    scene_settle(&scene);
    assert_int_equal(scene.hello.rank, 1);
    assert_int_equal(scene.local, local);
    /* Nothing of the handshake is left in the stream, on either side. */
    assert_int_equal(send(scene.result.fd, sent, sizeof(sent), 0), sizeof(sent));
    ASSERT_OK(shl_sock_recv_all(scene.accepted_fd, got, sizeof(got), UINT64_MAX));
    assert_string_equal(got, sent);
    assert_int_equal(recv(scene.result.fd, got, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(scene.listener.pending_count, 0);
    scene_close(&scene);
}

static void over_ipv4(void **state)
{
    (void)state;
    an_honest_rank_gets_in("127.0.0.1", false);
}

static void over_ipv6(void **state)
{
    struct scene scene;
    (void)state;
    if (scene_open(&scene, "::1") < 0)
        TEST_SKIP("no IPv6 loopback here");
    scene_close(&scene);
    an_honest_rank_gets_in("::1", false);
}

static void over_a_unix_socket(void **state)
{
    (void)state;
    an_honest_rank_gets_in("@shoal-listener-test", true);
}

static void who_is_not_welcome_is_told(void **state)
{
    static const enum shl_welcome verdicts[] = {SHL_WELCOME_EVICTED, SHL_WELCOME_LEFT,
                                                SHL_WELCOME_WRONG};
    struct scene scene;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    for (size_t i = 0; i < 3; i++) {
        scene.verdict = verdicts[i];
        scene_dial(&scene);
        assert_int_equal(scene.result.outcome, SHL_DIAL_DENIED);
        assert_int_equal(scene.result.welcome, verdicts[i]);
    }
    assert_int_equal(scene.accepted, 0);
    scene_close(&scene);
}

/* ---- the dialler's troubles -------------------------------------------------------------- */

static void a_wrong_secret_is_named_after_some_patience(void **state)
{
    struct scene scene;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    scene.dialler.key = &other_key;
    uint64_t begun = shl_now_ns();
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_DENIED);
    assert_int_equal(scene.result.status, SHOAL_ERR_AUTH);
    assert_non_null(strstr(scene.cause, "did not prove knowledge of the job secret"));
    assert_true(shl_now_ns() - begun >= SHL_DIAL_AUTH_PATIENCE_MS * MS);
    assert_int_equal(scene.accepted, 0);
    scene.dialler.key = &scene_key;
    scene_assert_works(&scene);
    scene_close(&scene);
}

/* An address where nobody listens: bound once and given back. */
static struct shl_sockaddr nobody(void)
{
    struct shl_sockaddr addr, bound;
    int fd;
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &addr));
    ASSERT_OK(shl_sock_listen(&addr, 1, &fd, &bound));
    shl_fd->close(fd);
    return bound;
}

static void a_refusing_host_can_end_it(void **state)
{
    struct scene scene;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    scene.target.addresses[0] = nobody();
    scene.dialler.give_up_when_refused = true;
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_REFUSED);
    assert_non_null(strstr(scene.cause, "Connection refused"));
    scene.dialler.give_up_when_refused = false;
    scene.dialler.deadline_ns = shl_now_ns() + 500 * MS;
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_EXPIRED);
    scene_close(&scene);
}

static void all_addresses_are_tried(void **state)
{
    struct scene scene;
    struct shl_sockaddr silent_address, addr;
    int silent;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &addr));
    /* One refuses, one accepts and says nothing, the third is the peer. */
    ASSERT_OK(shl_sock_listen(&addr, 1, &silent, &silent_address));
    scene.target.addresses[2] = scene.address;
    scene.target.addresses[1] = silent_address;
    scene.target.addresses[0] = nobody();
    scene.target.count = 3;
    scene.dialler.give_up_when_refused = true; /* one refusal among three proves nothing */
    uint64_t begun = shl_now_ns();
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_CONNECTED);
    assert_true(shl_now_ns() - begun < SHL_HANDSHAKE_MS * MS);
    shl_fd->close(scene.result.fd);
    /* The next time it goes straight to the one that works; and its refusal counts alone. */
    assert_int_equal(scene.dialler.first, 2);
    scene.target.addresses[2] = nobody();
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_REFUSED);
    shl_fd->close(silent);
    scene_close(&scene);
}

static void no_address_at_all_expires(void **state)
{
    struct scene scene;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    scene.target.count = 0;
    scene.dialler.deadline_ns = shl_now_ns() + 100 * MS;
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_EXPIRED);
    scene_close(&scene);
}

static void a_probe_only_asks(void **state)
{
    struct scene scene;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    scene.dialler.probe = true;
    scene_dial(&scene);
    assert_int_equal(scene.result.outcome, SHL_DIAL_CONNECTED);
    assert_int_equal(scene.result.fd, -1);
    scene_settle(&scene);
    assert_int_equal(scene.accepted + scene.listener.pending_count, 0);
    scene_close(&scene);
}

/* ---- strangers --------------------------------------------------------------------------- */

static void garbage_is_dropped_without_a_word(void **state)
{
    struct scene scene;
    char garbage[200];
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    for (int i = 0; i < 256; i += 5) {
        int fd = scene_connect_stranger(&scene);
        scene_settle(&scene);
        memset(garbage, i, sizeof(garbage));
        assert_true(send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL) > 0);
        scene_settle(&scene);
        assert_true(scene_dropped_silently(fd));
        shl_fd->close(fd);
    }
    int fd = scene_connect_stranger(&scene);
    scene_settle(&scene);
    static const char http[] =
        "GET / HTTP/1.1\r\nHost: shoal\r\nUser-Agent: scanner, and some more "
        "bytes to fill it up to what a hello has\r\n\r\n";
    assert_true(send(fd, http, sizeof(http), MSG_NOSIGNAL) > 0);
    scene_settle(&scene);
    assert_true(scene_dropped_silently(fd));
    shl_fd->close(fd);
    scene_assert_works(&scene);
    scene_close(&scene);
}

static void half_a_hello_has_its_deadline(void **state)
{
    struct scene scene;
    uint8_t bytes[SHL_HELLO_BYTES] = "SHL1";
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    int fd = scene_connect_stranger(&scene);
    scene_settle(&scene);
    /* A byte a second, so that it is never idle for long. */
    for (int second = 0; second < 5; second++) {
        assert_int_equal(scene.listener.pending_count, 1);
        assert_int_equal(send(fd, bytes + second, 1, MSG_NOSIGNAL), 1);
        shl_test_clock_advance(1000 * MS);
        scene_settle(&scene);
    }
    assert_int_equal(scene.listener.pending_count, 0);
    assert_true(scene_dropped_silently(fd));
    shl_fd->close(fd);
    scene_assert_works(&scene);
    scene_close(&scene);
}

static void a_crowd_of_strangers_is_bounded_and_ranks_get_in(void **state)
{
    enum { CROWD = 300 };
    struct scene scene;
    int fds[CROWD];
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    for (int i = 0; i < CROWD; i++) {
        fds[i] = scene_connect_stranger(&scene);
        shl_loop_turn(&scene.loop, shl_now_ns());
        assert_true(scene.listener.pending_count <= SHL_LISTENER_PENDING);
    }
    scene_settle(&scene);
    assert_int_equal(scene.listener.pending_count, SHL_LISTENER_PENDING);
    /* The table is full of young ones, so it waits, and then the oldest goes. */
    scene_assert_works(&scene);
    assert_true(scene_dropped_silently(fds[0]));
    assert_true(scene.listener.pending_count <= SHL_LISTENER_PENDING);
    for (int i = 0; i < CROWD; i++)
        shl_fd->close(fds[i]);
    scene_settle(&scene);
    scene_assert_works(&scene);
    scene_close(&scene);
}

/* Wrap the kernel's send, to record what a dialler says. */
static uint8_t recorded[SHL_HELLO_BYTES + SHL_PROOF_DIALLER_BYTES];
static size_t recorded_bytes;

static ssize_t recording_send(int fd, const void *data, size_t bytes, int flags)
{
    if ((bytes == SHL_HELLO_BYTES || bytes == SHL_PROOF_DIALLER_BYTES) &&
        recorded_bytes + bytes <= sizeof(recorded)) {
        memcpy(recorded + recorded_bytes, data, bytes);
        recorded_bytes += bytes;
    }
    return shl_sock_kernel.send(fd, data, bytes, flags);
}

static void a_replay_is_refused(void **state)
{
    struct scene scene;
    struct shl_sys_sock recording = shl_sock_kernel;
    char answer[SHL_PROOF_ACCEPTOR_BYTES];
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    recording.send = recording_send;
    shl_sock = &recording;
    scene_assert_works(&scene);
    shl_sock = &shl_sock_kernel;
    assert_int_equal(recorded_bytes, sizeof(recorded));
    uint32_t before = scene.accepted;
    int fd = scene_connect_stranger(&scene);
    scene_settle(&scene);
    assert_int_equal(send(fd, recorded, sizeof(recorded), MSG_NOSIGNAL), sizeof(recorded));
    scene_settle(&scene);
    assert_int_equal(scene.accepted, before);
    assert_int_equal(scene.listener.pending_count, 0);
    /* The challenge may have been sent; it is worth nothing. */
    while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
        ;
    assert_true(scene_dropped_silently(fd));
    shl_fd->close(fd);
    scene_assert_works(&scene);
    scene_close(&scene);
}

/* ---- shortage ---------------------------------------------------------------------------- */

static int accept_fails;

static int failing_accept4(int fd, struct sockaddr *addr, socklen_t *bytes, int flags)
{
    if (accept_fails > 0) {
        accept_fails--;
        errno = EMFILE;
        return -1;
    }
    return shl_sock_kernel.accept4(fd, addr, bytes, flags);
}

static void when_descriptors_run_out_it_waits_and_goes_on(void **state)
{
    struct scene scene;
    struct shl_sys_sock failing = shl_sock_kernel;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    failing.accept4 = failing_accept4;
    accept_fails = 3;
    shl_sock = &failing;
    scene_assert_works(&scene);
    assert_int_equal(accept_fails, 0);
    shl_sock = &shl_sock_kernel;
    scene_close(&scene);
}

static enum shoal_status meet_once(void *arg)
{
    struct scene scene;
    (void)arg;
    SHL_TRY(scene_open(&scene, "127.0.0.1"));
    scene.dialler.deadline_ns = shl_now_ns() + 20000 * MS;
    scene_dial(&scene);
    scene_settle(&scene);
    enum shl_dial_outcome outcome = scene.result.outcome;
    if (outcome != SHL_DIAL_CONNECTED)
        shl_fail(SHOAL_ERR_PEER, "%s", scene.cause);
    scene_close(&scene);
    return outcome == SHL_DIAL_CONNECTED ? SHOAL_OK : SHOAL_ERR_PEER;
}

static void whatever_fails_once_nothing_leaks(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, meet_once, NULL, 400) > 30);
}

/* A busy peer answers at two addresses at once. It must be handed one connection only: the one that
 * the dialler keeps. */
static void two_addresses_make_one_connection(void **state)
{
    struct scene scene;
    (void)state;
    ASSERT_OK(scene_open(&scene, "127.0.0.1"));
    scene.target.addresses[1] = scene.address;
    scene.target.count = 2;
    shl_dialler_start(&scene.dialler);
    shl_loop_turn(&scene.loop, shl_now_ns()); /* the first attempt begins */
    shl_test_clock_advance((SHL_DIAL_STAGGER_MS + 1) * MS);
    for (int i = 0; i < 50 && !scene.done; i++)
        scene_settle(&scene);
    assert_true(scene.done);
    assert_int_equal(scene.result.outcome, SHL_DIAL_CONNECTED);
    scene_settle(&scene);
    assert_int_equal(scene.accepted, 1);
    assert_int_equal(send(scene.result.fd, "x", 1, 0), 1);
    char got = 0;
    ASSERT_OK(shl_sock_recv_all(scene.accepted_fd, &got, 1, shl_now_ns() + 1000 * MS));
    assert_int_equal(got, 'x');
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_ipv4),
        cmocka_unit_test(over_ipv6),
        cmocka_unit_test(over_a_unix_socket),
        cmocka_unit_test(two_addresses_make_one_connection),
        cmocka_unit_test(who_is_not_welcome_is_told),
        cmocka_unit_test(a_wrong_secret_is_named_after_some_patience),
        cmocka_unit_test(a_refusing_host_can_end_it),
        cmocka_unit_test(all_addresses_are_tried),
        cmocka_unit_test(no_address_at_all_expires),
        cmocka_unit_test(a_probe_only_asks),
        cmocka_unit_test(garbage_is_dropped_without_a_word),
        cmocka_unit_test(half_a_hello_has_its_deadline),
        cmocka_unit_test(a_crowd_of_strangers_is_bounded_and_ranks_get_in),
        cmocka_unit_test(a_replay_is_refused),
        cmocka_unit_test(when_descriptors_run_out_it_waits_and_goes_on),
        cmocka_unit_test(whatever_fails_once_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
