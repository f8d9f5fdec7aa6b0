/*
 * Identity of the host, also where the kernel hides it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/host.h"

#include "core/sys.h"
#include "support/fault.h"
#include "support/test.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_process_and_its_child_share_the_host(void **state)
{
    (void)state;
    struct shl_host host;
    ASSERT_OK(shl_host_identify(&host));
    assert_int_equal(strlen(host.boot_id), 36);
    assert_int_equal(host.pid, getpid());
    assert_true(host.net_namespace != 0);
    char mine[SHL_HOST_ID_BYTES];
    shl_host_id_format(&host, mine, sizeof(mine));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct shl_host other;
        char theirs[SHL_HOST_ID_BYTES];
        bool same = shl_host_identify(&other) == SHOAL_OK && other.pid != host.pid;
        shl_host_id_format(&other, theirs, sizeof(theirs));
        _exit(same && strcmp(mine, theirs) == 0 ? 0 : 1);
    }
    int exit_status = 1;
    assert_int_equal(waitpid(child, &exit_status, 0), child);
    assert_int_equal(exit_status, 0);
}

static int open_refused(const char *path, int flags, int mode)
{
    (void)path;
    (void)flags;
    (void)mode;
    errno = EACCES;
    return -1;
}

static void without_a_boot_id_nobody_is_local(void **state)
{
    (void)state;
    struct shl_sys_fd hidden = shl_fd_kernel;
    struct shl_host first, second;
    hidden.open = open_refused;
    shl_fd = &hidden;
    enum shoal_status status = shl_host_identify(&first);
    if (status == SHOAL_OK)
        status = shl_host_identify(&second);
    shl_fd = &shl_fd_kernel;
    ASSERT_OK(status);
    assert_memory_equal(first.boot_id, "random-", 7);
    assert_string_not_equal(first.boot_id, second.boot_id);
}

static void the_longest_identity_fits(void **state)
{
    (void)state;
    struct shl_host host = {.net_namespace = UINT64_MAX};
    memset(host.boot_id, 'b', sizeof(host.boot_id) - 1);
    memset(host.name, 'n', sizeof(host.name) - 1);
    char text[SHL_HOST_ID_BYTES];
    shl_host_id_format(&host, text, sizeof(text));
    assert_int_equal(strlen(text), 39 + 1 + 20 + 1 + 64);
}

static enum shoal_status identify(void *arg)
{
    (void)arg;
    struct shl_host host;
    return shl_host_identify(&host);
}

static void every_failing_call_is_survived(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, identify, NULL, 20) >= 2);
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_ALL | SHL_FAULT_STICKY, 1);
    enum shoal_status status = identify(NULL);
    shl_fault_remove();
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, status);
    ASSERT_DETAIL("getrandom");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_and_its_child_share_the_host),
        cmocka_unit_test(without_a_boot_id_nobody_is_local),
        cmocka_unit_test(the_longest_identity_fits),
        cmocka_unit_test(every_failing_call_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
