/*
 * A bell rings in spite of a write that fails, and when it has rung too often to count.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bell.h"

#include "support/fault.h"
#include "support/test.h"

#include <sys/eventfd.h>
#include <unistd.h>

static uint64_t rings(int fd)
{
    uint64_t count = 0;
    return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void one_ring_is_counted_once(void **state)
{
    (void)state;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    shl_bell_ring(fd);
    assert_int_equal(rings(fd), 1);
    assert_int_equal(rings(fd), 0);
    close(fd);
}

/* Whoever sleeps on it would sleep for ever: the service thread did, at the end of its engine. */
static void a_failed_write_is_made_good(void **state)
{
    (void)state;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_WRITE, 1);
    shl_bell_ring(fd);
    bool fired = shl_fault_fired();
    shl_fault_remove();
    assert_true(fired);
    assert_int_equal(rings(fd), 1);
    close(fd);
}

static void a_full_counter_rings_already(void **state)
{
    (void)state;
    const uint64_t most = UINT64_MAX - 1;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
    shl_bell_ring(fd);
    assert_true(rings(fd) == most);
    close(fd);
}

/* A descriptor that is no bell: it gives up. */
static void a_broken_bell_is_left(void **state)
{
    (void)state;
    shl_bell_ring(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_ring_is_counted_once),
        cmocka_unit_test(a_failed_write_is_made_good),
        cmocka_unit_test(a_full_counter_rings_already),
        cmocka_unit_test(a_broken_bell_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
