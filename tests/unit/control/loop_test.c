/*
 * The event loop, and names resolved within a deadline.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/loop.h"

#include "control/resolve.h"
#include "core/sys.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define MS 1000000ull
#define FAR UINT64_MAX

struct probe {
    struct shl_loop *loop;
    struct shl_watch watch;
    struct shl_timer timer;
    struct probe *other; /* unwatched or stopped by the callback */
    int calls;
    uint64_t again_ns;
};

static void on_ready(void *arg, uint32_t events)
{
    struct probe *probe = arg;
    probe->calls++;
    assert_true(events & EPOLLIN);
    shl_loop_unwatch(probe->loop, &probe->watch);
    if (probe->other)
        shl_loop_unwatch(probe->loop, &probe->other->watch);
}

static void on_fire(void *arg)
{
    struct probe *probe = arg;
    probe->calls++;
    if (probe->other)
        shl_loop_timer_stop(probe->loop, &probe->other->timer);
    if (probe->again_ns)
        shl_loop_timer_set(probe->loop, &probe->timer, shl_now_ns() + probe->again_ns);
}

static void init_probe(struct probe *probe, struct shl_loop *loop)
{
    memset(probe, 0, sizeof(*probe));
    probe->loop = loop;
    shl_watch_init(&probe->watch, on_ready, probe);
    shl_timer_init(&probe->timer, on_fire, probe);
}

static void a_watch_removed_in_its_batch_is_not_called(void **state)
{
    struct shl_loop loop;
    struct probe a, b;
    int fds[2] = {eventfd(1, EFD_CLOEXEC), eventfd(1, EFD_CLOEXEC)};
    (void)state;
    ASSERT_OK(shl_loop_init(&loop));
    init_probe(&a, &loop);
    init_probe(&b, &loop);
    a.other = &b;
    b.other = &a;
    ASSERT_OK(shl_loop_watch(&loop, &a.watch, fds[0], EPOLLIN));
    ASSERT_OK(shl_loop_watch(&loop, &b.watch, fds[1], EPOLLIN));
    shl_loop_turn(&loop, FAR);
    assert_int_equal(a.calls + b.calls, 1);
    shl_loop_turn(&loop, shl_now_ns());
    assert_int_equal(a.calls + b.calls, 1);
    shl_loop_fini(&loop);
    shl_fd->close(fds[0]);
    shl_fd->close(fds[1]);
}

static void events_can_be_changed_and_switched_off(void **state)
{
    struct shl_loop loop;
    struct probe probe;
    int fd = eventfd(1, EFD_CLOEXEC);
    (void)state;
    ASSERT_OK(shl_loop_init(&loop));
    init_probe(&probe, &loop);
    ASSERT_OK(shl_loop_watch(&loop, &probe.watch, fd, 0));
    shl_loop_turn(&loop, shl_now_ns());
    assert_int_equal(probe.calls, 0);
    ASSERT_OK(shl_loop_watch(&loop, &probe.watch, fd, EPOLLIN));
    shl_loop_turn(&loop, FAR);
    assert_int_equal(probe.calls, 1);
    shl_loop_unwatch(&loop, &probe.watch);
    shl_loop_fini(&loop);
    shl_fd->close(fd);
}

static void timers_fire_in_time_and_not_when_stopped(void **state)
{
    struct shl_loop loop;
    struct probe first, second, third;
    uint64_t now = shl_now_ns();
    (void)state;
    ASSERT_OK(shl_loop_init(&loop));
    init_probe(&first, &loop);
    init_probe(&second, &loop);
    init_probe(&third, &loop);
    first.other = &second;
    shl_loop_timer_set(&loop, &second.timer, now + 2 * MS);
    shl_loop_timer_set(&loop, &first.timer, now + 1 * MS);
    shl_loop_timer_set(&loop, &third.timer, now + 1000 * MS);
    shl_loop_timer_set(&loop, &third.timer, now + 3 * MS); /* moved */
    while (!third.calls)
        shl_loop_turn(&loop, FAR);
    assert_true(shl_now_ns() >= now + 3 * MS);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 0);
    shl_loop_fini(&loop);
}

static void a_timer_that_sets_itself_does_not_hold_the_turn(void **state)
{
    struct shl_loop loop;
    struct probe probe;
    (void)state;
    ASSERT_OK(shl_loop_init(&loop));
    init_probe(&probe, &loop);
    probe.again_ns = 1;
    shl_loop_timer_set(&loop, &probe.timer, 0);
    for (int i = 0; i < 10; i++)
        shl_loop_turn(&loop, FAR);
    assert_int_equal(probe.calls, 10);
    shl_loop_fini(&loop);
}

static void *wake(void *arg)
{
    shl_loop_wake(arg);
    return NULL;
}

static void another_thread_wakes_it(void **state)
{
    struct shl_loop loop;
    pthread_t thread;
    (void)state;
    ASSERT_OK(shl_loop_init(&loop));
    assert_int_equal(pthread_create(&thread, NULL, wake, &loop), 0);
    shl_loop_turn(&loop, FAR); /* hangs unless woken */
    pthread_join(thread, NULL);
    shl_loop_fini(&loop);
}

static enum shoal_status make_and_watch(void *arg)
{
    struct shl_loop loop;
    struct probe probe;
    SHL_TRY(shl_loop_init(&loop));
    init_probe(&probe, &loop);
    enum shoal_status status = shl_loop_watch(&loop, &probe.watch, *(int *)arg, 0);
    shl_loop_unwatch(&loop, &probe.watch);
    shl_loop_wake(&loop);
    shl_loop_turn(&loop, shl_now_ns() + 50 * MS);
    shl_loop_fini(&loop);
    return status;
}

static void nothing_leaks_when_the_kernel_fails(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, make_and_watch, &fd, 50) >= 4);
    shl_fd->close(fd);
}

/* ---- names ------------------------------------------------------------------------------- */

static _Atomic int resolver_may_answer = 1;

static int slow_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                            struct addrinfo **found)
{
    while (!atomic_load(&resolver_may_answer))
        shl_time->sleep_ns(MS);
    return shl_sock_kernel.getaddrinfo(host, service, hints, found);
}

static uint32_t threads_at_first;

static void numbers_need_no_name_service(void **state)
{
    struct shl_sockaddr found[2];
    uint32_t count;
    (void)state;
    ASSERT_OK(shl_resolve("::1", 80, 0, found, 2, &count));
    assert_int_equal(count, 1);
    assert_int_equal(shl_sockaddr_port(&found[0]), 80);
}

static void names_are_looked_up(void **state)
{
    struct shl_sockaddr found[4];
    uint32_t count;
    (void)state;
    ASSERT_OK(shl_resolve("localhost", 81, shl_now_ns() + 30000 * MS, found, 4, &count));
    assert_true(count >= 1);
    assert_true(shl_sockaddr_is_loopback(&found[0]));
    assert_int_equal(shl_sockaddr_port(&found[0]), 81);
}

static void an_unknown_name_is_named(void **state)
{
    struct shl_sockaddr found[1];
    uint32_t count;
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_SYSTEM,
                  shl_resolve("no such host", 1, shl_now_ns() + 30000 * MS, found, 1, &count));
    ASSERT_DETAIL("\"no such host\"");
}

static void a_silent_name_service_does_not_hold_us(void **state)
{
    struct shl_sockaddr found[1];
    uint32_t count;
    (void)state;
    assert_true(shl_test_wait_for_threads(threads_at_first, 20000));
    atomic_store(&resolver_may_answer, 0);
    ASSERT_STATUS(SHOAL_ERR_TIMEOUT,
                  shl_resolve("localhost", 1, shl_now_ns() + 20 * MS, found, 1, &count));
    ASSERT_DETAIL("did not resolve");
    atomic_store(&resolver_may_answer, 1);
    /* The thread that was left behind frees everything when it gets its answer. */
    assert_true(shl_test_wait_for_threads(threads_at_first, 20000));
}

/* For good: a thread that was left behind may look at the table at any time. */
static int install_slow_resolver(void **state)
{
    static struct shl_sys_sock slow;
    (void)state;
    slow = shl_sock_kernel;
    slow.getaddrinfo = slow_getaddrinfo;
    shl_sock = &slow;
    threads_at_first = shl_test_threads_at_first();
    return 0;
}

int main(void)
{
    const struct CMUnitTest loop_tests[] = {
        cmocka_unit_test(a_watch_removed_in_its_batch_is_not_called),
        cmocka_unit_test(events_can_be_changed_and_switched_off),
        cmocka_unit_test(timers_fire_in_time_and_not_when_stopped),
        cmocka_unit_test(a_timer_that_sets_itself_does_not_hold_the_turn),
        cmocka_unit_test(another_thread_wakes_it),
        cmocka_unit_test(nothing_leaks_when_the_kernel_fails),
    };
    const struct CMUnitTest name_tests[] = {
        cmocka_unit_test(numbers_need_no_name_service),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(an_unknown_name_is_named),
        cmocka_unit_test(a_silent_name_service_does_not_hold_us),
    };
    int failed = cmocka_run_group_tests(loop_tests, NULL, NULL);
    return failed + cmocka_run_group_tests(name_tests, install_slow_resolver, NULL);
}
