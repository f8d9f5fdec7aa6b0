/*
 * The dialler when the network is cut: attempts that get no answer make room for others, and the
 * first that is answered counts, however long its answer travels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/dial.h"

#include "core/sys.h"
#include "support/test.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS 1000000ull
#define CROWD 4

struct call {
    struct shl_loop loop;
    struct shl_key key;
    struct shl_dial_target target;
    struct shl_dialler dialler;
    enum shl_dial_outcome outcome;
    bool done;
};

static unsigned attempts;

static int counting(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    attempts++;
    return shl_sock_kernel.connect(fd, addr, bytes);
}

static void on_done(void *arg, const struct shl_dial_result *result)
{
    struct call *call = arg;
    call->outcome = result->outcome;
    call->done = true;
}

static void open_call(struct call *call, bool gives_up)
{
    memset(call, 0, sizeof(*call));
    ASSERT_OK(shl_loop_init(&call->loop));
    ASSERT_OK(shl_key_derive(NULL, 0, "test", &call->key));
    shl_dialler_init(&call->dialler, &call->loop);
    call->dialler.key = &call->key;
    call->dialler.target = &call->target;
    call->dialler.brisk = call->dialler.probe = true;
    call->dialler.give_up_when_refused = gives_up;
    call->dialler.deadline_ns = UINT64_MAX;
    call->dialler.arg = call;
    call->dialler.done = on_done;
}

static void close_call(struct call *call)
{
    shl_dialler_stop(&call->dialler);
    shl_loop_fini(&call->loop);
}

/* A listener whose queue is full answers nothing, like a network that loses: *crowd fills it. */
static int deaf_listener(struct shl_sockaddr *bound, int crowd[CROWD])
{
    struct shl_sockaddr any;
    int fd;
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &any));
    ASSERT_OK(shl_sock_listen(&any, 0, &fd, bound));
    for (int i = 0; i < CROWD; i++)
        ASSERT_OK(shl_sock_connect(bound, &crowd[i]));
    return fd;
}

static int in_use(const struct call *call)
{
    int count = 0;
    for (int i = 0; i < SHL_DIAL_PARALLEL; i++)
        count += call->dialler.attempts[i].used;
    return count;
}

static void unanswered_attempts_make_room(void **state)
{
    struct shl_sys_sock sock = shl_sock_kernel;
    struct call call;
    int crowd[CROWD];
    (void)state;
    open_call(&call, true);
    call.target.count = 1;
    int listener = deaf_listener(&call.target.addresses[0], crowd);
    sock.connect = counting;
    shl_sock = &sock;
    attempts = 0;
    shl_dialler_start(&call.dialler);
    while (attempts < 3 * SHL_DIAL_PARALLEL) {
        shl_loop_turn(&call.loop, shl_now_ns() + 10 * MS);
        assert_false(call.done);
        assert_in_range(in_use(&call), 0, SHL_DIAL_PARALLEL);
    }
    for (int i = 0; i < CROWD; i++)
        close(crowd[i]);
    while (!call.done) { /* it hears again */
        close(accept(listener, NULL, NULL));
        shl_loop_turn(&call.loop, shl_now_ns() + 10 * MS);
    }
    assert_int_equal(call.outcome, SHL_DIAL_CONNECTED);
    shl_sock = &shl_sock_kernel;
    close(listener);
    close_call(&call);
}

static void refuse_at(struct shl_sockaddr *address)
{
    struct shl_sockaddr any;
    int fd;
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &any));
    ASSERT_OK(shl_sock_listen(&any, 1, &fd, address));
    close(fd);
}

/* Of several addresses all have to refuse, and none waits for the next turn. */
static void a_peer_is_gone_when_all_its_addresses_refuse(void **state)
{
    struct call call;
    (void)state;
    open_call(&call, true);
    for (call.target.count = 0; call.target.count < 5; call.target.count++)
        refuse_at(&call.target.addresses[call.target.count]);
    shl_dialler_start(&call.dialler);
    while (!call.done)
        shl_loop_turn(&call.loop, shl_now_ns() + 10 * MS);
    assert_int_equal(call.outcome, SHL_DIAL_REFUSED);
    close_call(&call);
}

/* One address refuses again and again, and the other says nothing: that is no answer for both. */
static void one_that_refuses_twice_counts_once(void **state)
{
    struct shl_sys_sock sock = shl_sock_kernel;
    struct call call;
    int crowd[CROWD];
    (void)state;
    open_call(&call, true);
    call.target.count = 2;
    refuse_at(&call.target.addresses[0]);
    int listener = deaf_listener(&call.target.addresses[1], crowd);
    sock.connect = counting;
    shl_sock = &sock;
    attempts = 0;
    shl_dialler_start(&call.dialler);
    while (attempts < 8) {
        shl_loop_turn(&call.loop, shl_now_ns() + 10 * MS);
        assert_false(call.done);
    }
    shl_sock = &shl_sock_kernel;
    for (int i = 0; i < CROWD; i++)
        close(crowd[i]);
    close(listener);
    close_call(&call);
}

static void a_deadline_ends_it(void **state)
{
    struct call call;
    (void)state;
    open_call(&call, false);
    call.target.count = 1;
    refuse_at(&call.target.addresses[0]);
    call.dialler.deadline_ns = shl_now_ns() + 200 * MS;
    shl_dialler_start(&call.dialler);
    while (!call.done)
        shl_loop_turn(&call.loop, shl_now_ns() + 10 * MS);
    assert_int_equal(call.outcome, SHL_DIAL_EXPIRED);
    assert_true(shl_now_ns() >= call.dialler.deadline_ns);
    close_call(&call);
}

/* ---- answers that travel long ------------------------------------------------------------ */

#define FDS_MAX 1024

/* A network of its own time, in which every connection succeeds and the news of it travels. */
static struct {
    uint64_t now_ns, travel_ns;
    unsigned lost; /* so many attempts are lost first */
    uint64_t due_ns[FDS_MAX];
} far;

static uint64_t far_now(void)
{
    return far.now_ns;
}

static int far_connect(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    assert_in_range(fd, 0, FDS_MAX - 1);
    far.due_ns[fd] = attempts++ < far.lost ? UINT64_MAX : far.now_ns + far.travel_ns;
    return shl_sock_kernel.connect(fd, addr, bytes);
}

static int far_wait(int epoll_fd, void *into, int max, int timeout_ms)
{
    struct epoll_event *events = into;
    int count = shl_fd_kernel.epoll_wait(epoll_fd, events, max, 0), kept = 0;
    (void)timeout_ms;
    for (int i = 0; i < count; i++) {
        const struct shl_watch *watch = events[i].data.ptr;
        if (far.due_ns[watch->fd] <= far.now_ns)
            events[kept++] = events[i];
    }
    far.now_ns += kept ? 0 : 5 * MS;
    return kept;
}

/* How many attempts were made after those that were lost. */
static unsigned attempts_to_reach(uint64_t travel_ms, unsigned lost)
{
    struct shl_sockaddr any;
    struct call call;
    int listener;
    open_call(&call, true);
    call.target.count = 1;
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &any));
    ASSERT_OK(shl_sock_listen(&any, 512, &listener, &call.target.addresses[0]));
    far.travel_ns = travel_ms * MS;
    far.lost = lost;
    attempts = 0;
    shl_dialler_start(&call.dialler);
    while (!call.done && attempts < lost + 80)
        shl_loop_turn(&call.loop, shl_now_ns() + 10 * MS);
    if (!call.done)
        fail_msg("answers that take %u ms are not waited for", (unsigned)travel_ms);
    assert_int_equal(call.outcome, SHL_DIAL_CONNECTED);
    close(listener);
    close_call(&call);
    return attempts - lost;
}

static void answers_that_travel_long_are_waited_for(void **state)
{
    static const unsigned lost[] = {0, 1, 4, 40};
    struct shl_sys_sock sock = shl_sock_kernel;
    struct shl_sys_fd fd = shl_fd_kernel;
    struct shl_sys_time clock = shl_time_kernel;
    (void)state;
    sock.connect = far_connect;
    fd.epoll_wait = far_wait;
    clock.now_ns = far_now;
    far.now_ns = 1000 * MS;
    shl_sock = &sock;
    shl_fd = &fd;
    shl_time = &clock;
    for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++) {
        /* Shorter than the others take turns: the first that is not lost. */
        assert_in_range(attempts_to_reach(10, lost[i]), 1, 2);
        assert_in_range(attempts_to_reach(200, lost[i]), 1, 4);
        /* The next one that is spared, which is chosen once in SHL_DIAL_SPARE_MS. */
        for (uint64_t ms = 300; ms <= 900; ms += 300)
            assert_in_range(attempts_to_reach(ms, lost[i]), 1,
                            (SHL_DIAL_SPARE_MS + ms) / SHL_DIAL_BRISK_MS + 4);
    }
    assert_in_range(attempts_to_reach(900, 0), 1, 900 / SHL_DIAL_BRISK_MS + 2);
    shl_sock = &shl_sock_kernel;
    shl_fd = &shl_fd_kernel;
    shl_time = &shl_time_kernel;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unanswered_attempts_make_room),
        cmocka_unit_test(a_peer_is_gone_when_all_its_addresses_refuse),
        cmocka_unit_test(one_that_refuses_twice_counts_once),
        cmocka_unit_test(a_deadline_ends_it),
        cmocka_unit_test(answers_that_travel_long_are_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
