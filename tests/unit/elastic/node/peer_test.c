/*
 * Sessions with members that go wrong: what cannot be sent, watched or dialled, and who stays away.
 * A node by hand, without its thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/node/internal.h"
#include "support/leaks.h"
#include "support/random.h"
#include "support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OTHER 7000u
#define FRAME_BYTES 60000u

static struct shl_config config;
static struct shl_node node;
static struct shl_sys_fd table;
static bool epoll_fails;
static uint32_t fds_before;

static int epoll_ctl_or_not(int epfd, int op, int fd, void *event)
{
    if (!epoll_fails)
        return shl_fd_kernel.epoll_ctl(epfd, op, fd, event);
    errno = ENOSPC;
    return -1;
}

static void no_send(void *context, uint64_t to, const void *bytes, size_t size)
{
    (void)context, (void)to, (void)bytes, (void)size;
}

static int open_node(void **state)
{
    (void)state;
    const struct shl_membership_options options = {.self = {.id = 1},
                                                   .mode = SHL_STEP_RETAIN,
                                                   .policy = SHL_PARTITION_MAJORITY,
                                                   .world_start = 2,
                                                   .world_min = 1,
                                                   .world_max = 8,
                                                   .times = SHL_MEMBERSHIP_TIMES};
    const struct shl_membership_host host = {.context = &node, .send = no_send};
    fds_before = shl_test_open_fds();
    ASSERT_OK(shl_config_load(&(struct shl_config_options){0}, &config));
    table = shl_fd_kernel;
    table.epoll_ctl = epoll_ctl_or_not;
    shl_fd = &table;
    memset(&node, 0, sizeof(node));
    node.config = &config;
    node.self.id = 1;
    shl_list_init(&node.peers);
    ASSERT_OK(shl_loop_init(&node.loop));
    ASSERT_OK(shl_key_derive(NULL, 0, "peers", &node.key));
    ASSERT_OK(shl_membership_create(&options, &host, &node.core));
    return 0;
}

static int close_node(void **state)
{
    (void)state;
    epoll_fails = false;
    shl_node_peers_free(&node);
    shl_membership_destroy(node.core);
    shl_loop_fini(&node.loop);
    shl_config_free(&config);
    shl_fd = &shl_fd_kernel;
    assert_int_equal(shl_test_open_fds(), fds_before);
    return 0;
}

/* A member that no record has yet, as it dials; returns its end of the session. */
static int come(void)
{
    const struct shl_hello hello = {.kind = SHL_CHANNEL_MEMBER, .incarnation = OTHER};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(shl_node_peer_admit(&node, &hello, true), SHL_WELCOME_OK);
    shl_node_peer_accepted(&node, ends[0], &hello, true);
    return ends[1];
}

/* Of somebody that is in the record; nobody listens there. */
static struct shl_node_peer *know(void)
{
    struct shl_node_peer *peer = shl_node_peer_find(&node, OTHER);
    assert_non_null(peer);
    assert_int_equal(shl_node_address_local(OTHER, &peer->target.addresses[0]), SHOAL_OK);
    peer->target.count = 1;
    peer->has_address = peer->in_record = true;
    return peer;
}

static void serve_until_refused(struct shl_node_peer *peer)
{
    for (int i = 0; i < 1000 && peer->dialler.running; i++)
        shl_loop_turn(&node.loop, shl_now_ns() + 10 * SHL_NODE_MS);
    assert_false(peer->dialler.running);
}

/* ---- tests -------------------------------------------------------------------------------- */

/* It is told why, and what to do. */
static void who_speaks_another_version_is_refused(void **state)
{
    const uint8_t frame[] = {'S', 'H', 'L', 'N', SHL_NODE_MEMBERSHIP, 0, 0, 0, 1, 0, 0, 0, 1};
    (void)state;
    int end = come();
    struct shl_node_peer *peer = shl_node_peer_find(&node, OTHER);
    assert_int_equal(send(end, frame, sizeof(frame), 0), sizeof(frame));
    shl_node_link_read(peer);
    assert_true(peer->broke);
    assert_non_null(strstr(peer->why, "version 1, this one knows version 2"));
    shl_node_settle(&node);
    close(end);
}

/* Frames are lost with the session only, since the next one begins with all that counts. */
static void who_reads_nothing_loses_its_session(void **state)
{
    (void)state;
    int end = come();
    struct shl_node_peer *peer = shl_node_peer_find(&node, OTHER);
    uint8_t *frame = calloc(1, FRAME_BYTES);
    assert_non_null(frame);
    for (uint32_t i = 0; i * FRAME_BYTES < 2 * SHL_NODE_TX_MAX && !peer->broke; i++)
        shl_node_link_send(peer, SHL_NODE_BLOB, NULL, 0, frame, FRAME_BYTES);
    assert_true(peer->broke);
    assert_non_null(strstr(peer->why, "reads nothing"));
    assert_true(peer->tx.end - peer->tx.at < SHL_NODE_TX_MAX + 2 * FRAME_BYTES);
    shl_node_settle(&node);
    assert_int_equal(node.peer_count, 0);
    free(frame);
    close(end);
}

static void who_is_in_no_record_and_goes_away_is_forgotten(void **state)
{
    (void)state;
    int end = come();
    struct shl_node_peer *peer = know();
    peer->in_record = false; /* a proposal with it was replaced by one without */
    shl_node_settle(&node);
    assert_int_equal(node.peer_count, 1);
    close(end);
    shl_loop_turn(&node.loop, shl_now_ns() + 1000 * SHL_NODE_MS);
    shl_node_settle(&node);
    assert_int_equal(node.peer_count, 0);
}

static void a_session_that_cannot_be_watched_is_closed(void **state)
{
    (void)state;
    char byte;
    epoll_fails = true;
    int end = come();
    assert_int_equal(recv(end, &byte, 1, 0), 0);
    shl_node_settle(&node);
    assert_int_equal(node.peer_count, 0);
    close(end);
}

static void a_session_that_cannot_be_watched_is_dialled_again(void **state)
{
    (void)state;
    int end = come();
    struct shl_node_peer *peer = know();
    int again[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, again), 0);
    epoll_fails = true;
    shl_node_peer_accepted(&node, again[0], &(struct shl_hello){.incarnation = OTHER}, true);
    epoll_fails = false;
    assert_int_equal(peer->watch.fd, -1);
    assert_true(peer->retry.armed);
    shl_node_settle(&node);
    assert_int_equal(node.peer_count, 1);
    close(again[1]);
    close(end);
}

/* Who refuses is asked less and less often, and by each member at another time. */
static void who_refuses_is_left_alone_for_longer(void **state)
{
    (void)state;
    uint64_t waits[2][6];
    int end = come();
    struct shl_node_peer *peer = know();
    shl_node_link_detach(peer);
    for (uint32_t run = 0; run < 2; run++) {
        shl_test_random_install(11 + run);
        peer->backoff_ms = 0;
        for (uint32_t i = 0; i < 6; i++) {
            uint32_t before_ms = peer->backoff_ms;
            shl_loop_timer_stop(&node.loop, &peer->retry);
            shl_node_peer_dial(peer);
            assert_true(peer->dialler.running);
            serve_until_refused(peer);
            uint64_t latest = shl_now_ns() + peer->backoff_ms * SHL_NODE_MS;
            assert_true(peer->refuses && peer->retry.armed && peer->retry.at_ns <= latest);
            assert_true(peer->backoff_ms == 2 * before_ms || i == 0 || i == 5);
            waits[run][i] = latest - peer->retry.at_ns;
            shl_node_peer_dial(peer); /* whoever wants it: not before */
            assert_false(peer->dialler.running);
        }
        assert_int_equal(peer->backoff_ms, 800);
        shl_test_random_remove();
    }
    assert_memory_not_equal(waits[0], waits[1], sizeof(waits[0]));
    close(end);
}

/* It connects each time, and breaks before a frame has come: that is no success. */
static void who_says_nothing_is_left_alone_for_longer(void **state)
{
    (void)state;
    uint32_t waited_ms = 0;
    int end = come();
    struct shl_node_peer *peer = know();
    for (uint32_t i = 0; i < 4; i++) {
        peer->broke = true;
        shl_node_settle(&node);
        assert_true(peer->retry.armed && !peer->dialler.running);
        assert_true(peer->backoff_ms > waited_ms);
        waited_ms = peer->backoff_ms;
        close(end);
        end = come();
        assert_false(peer->retry.armed);
    }
    close(end);
}

/* ---- processes ------------------------------------------------------------------------------ */

/* A process that connects and waits; *fd is this end of the session. */
static pid_t guest(int *fd)
{
    struct shl_sockaddr addr, bound;
    int listener, connected;
    char name[64];
    snprintf(name, sizeof(name), "shoal-peer-test-%d", (int)getpid());
    ASSERT_OK(shl_sockaddr_unix(name, &addr));
    ASSERT_OK(shl_sock_listen(&addr, 1, &listener, &bound));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(listener);
        if (shl_sock_connect(&addr, &connected) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    ASSERT_OK(shl_sock_wait(listener, POLLIN, shl_now_ns() + 10000 * SHL_NODE_MS));
    *fd = shl_sock->accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(*fd >= 0);
    close(listener);
    return pid;
}

static int no_option(int fd, int level, int name, void *value, socklen_t *bytes)
{
    if (level == SOL_SOCKET && name == 77) { /* SO_PEERPIDFD, which older kernels do not have */
        errno = ENOPROTOOPT;
        return -1;
    }
    return shl_sock_kernel.getsockopt(fd, level, name, value, bytes);
}

static void the_process_of_a_session_is_held(bool by_number)
{
    struct shl_sys_sock sock = shl_sock_kernel;
    int fd;
    sock.getsockopt = by_number ? no_option : sock.getsockopt;
    shl_sock = &sock;
    pid_t pid = guest(&fd);
    int held = shl_node_pidfd_of(fd);
    assert_true(held >= 0);
    assert_int_equal(shl_sock_wait(held, POLLIN, shl_now_ns()), SHOAL_ERR_TIMEOUT);
    kill(pid, SIGKILL);
    ASSERT_OK(shl_sock_wait(held, POLLIN, shl_now_ns() + 10000 * SHL_NODE_MS));
    close(held);
    waitpid(pid, NULL, 0); /* from here on its number may be another's */
    held = shl_node_pidfd_of(fd);
    assert_true(!by_number || held < 0);
    if (held >= 0) { /* a socket may know it for ever, but no other */
        ASSERT_OK(shl_sock_wait(held, POLLIN, shl_now_ns()));
        close(held);
    }
    close(fd);
    shl_sock = &shl_sock_kernel;
}

static void a_process_is_held_by_its_session(void **state)
{
    (void)state;
    the_process_of_a_session_is_held(false);
}

static void a_process_is_held_by_its_number(void **state)
{
    (void)state;
    the_process_of_a_session_is_held(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_speaks_another_version_is_refused, open_node,
                                        close_node),
        cmocka_unit_test_setup_teardown(who_reads_nothing_loses_its_session, open_node, close_node),
        cmocka_unit_test_setup_teardown(who_is_in_no_record_and_goes_away_is_forgotten, open_node,
                                        close_node),
        cmocka_unit_test_setup_teardown(a_session_that_cannot_be_watched_is_closed, open_node,
                                        close_node),
        cmocka_unit_test_setup_teardown(a_session_that_cannot_be_watched_is_dialled_again,
                                        open_node, close_node),
        cmocka_unit_test_setup_teardown(a_process_is_held_by_its_session, open_node, close_node),
        cmocka_unit_test_setup_teardown(a_process_is_held_by_its_number, open_node, close_node),
        cmocka_unit_test_setup_teardown(who_says_nothing_is_left_alone_for_longer, open_node,
                                        close_node),
        cmocka_unit_test_setup_teardown(who_refuses_is_left_alone_for_longer, open_node,
                                        close_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
