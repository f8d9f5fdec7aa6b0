/*
 * CPU quotas and killed processes, from trees of files as real hosts and containers show them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/temp.h"
#include "support/test.h"
#include "topology/topology.h"

#define V2_MOUNT                                                                                   \
    "25 30 0:22 / /proc rw - proc proc rw\n"                                                       \
    "26 30 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

#define V1_MOUNT                                                                                   \
    "31 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"                            \
    "32 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"                  \
    "33 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"

static void put(const struct shl_test_temp *temp, const char *name, const char *content)
{
    shl_test_temp_write(temp, name, content, strlen(content), NULL);
}

static void assert_quota(const struct shl_test_temp *temp, double expected)
{
    double quota = shl_topology_quota(temp->path);
    if (quota < expected - 1e-9 || quota > expected + 1e-9)
        fail_msg("quota %g, expected %g", quota, expected);
}

static void nothing_readable_means_no_limit(void **state)
{
    assert_quota(*state, 0);
    put(*state, "proc/self/cgroup", "0::/a\n");
    assert_quota(*state, 0);
    put(*state, "proc/self/mountinfo", "");
    assert_quota(*state, 0);
    put(*state, "proc/self/mountinfo", V2_MOUNT);
    assert_quota(*state, 0);
}

static void version_2_takes_the_least_on_the_way_up(void **state)
{
    put(*state, "proc/self/cgroup", "0::/kubepods/pod1/c1\n");
    put(*state, "proc/self/mountinfo", V2_MOUNT);
    put(*state, "sys/fs/cgroup/kubepods/pod1/c1/cpu.max", "400000 100000\n");
    assert_quota(*state, 4);
    put(*state, "sys/fs/cgroup/kubepods/pod1/cpu.max", "150000 100000\n");
    assert_quota(*state, 1.5);
    put(*state, "sys/fs/cgroup/kubepods/cpu.max", "max 100000\n");
    assert_quota(*state, 1.5);
    put(*state, "sys/fs/cgroup/cpu.max", "50000 200000\n");
    assert_quota(*state, 0.25);
    put(*state, "sys/fs/cgroup/other/cpu.max", "1000 100000\n");
    assert_quota(*state, 0.25);
}

static void a_cgroup_namespace_starts_at_its_mount(void **state)
{
    put(*state, "proc/self/cgroup", "0::/\n");
    put(*state, "proc/self/mountinfo", V2_MOUNT);
    put(*state, "sys/fs/cgroup/cpu.max", "250000 100000\n");
    assert_quota(*state, 2.5);
}

static void version_1_has_its_own_files(void **state)
{
    put(*state, "proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/jobs/a\n3:cpuset:/s\n0::/u\n");
    put(*state, "proc/self/mountinfo", V1_MOUNT);
    put(*state, "sys/fs/cgroup/cpu,cpuacct/jobs/a/cpu.cfs_quota_us", "300000\n");
    put(*state, "sys/fs/cgroup/cpu,cpuacct/jobs/a/cpu.cfs_period_us", "100000\n");
    assert_quota(*state, 3);
    put(*state, "sys/fs/cgroup/cpu,cpuacct/jobs/a/cpu.cfs_quota_us", "-1\n");
    assert_quota(*state, 0);
    put(*state, "sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "50000\n");
    put(*state, "sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n");
    assert_quota(*state, 0.5);
    put(*state, "sys/fs/cgroup/cpuset/s/cpu.cfs_quota_us", "1000\n");
    assert_quota(*state, 0.5);
}

/* Without a cgroup namespace the container sees the host's path, but only its own part mounted. */
static void a_container_sees_only_its_part(void **state)
{
    put(*state, "proc/self/cgroup", "4:cpu:/docker/abc/inner\n");
    put(*state, "proc/self/mountinfo",
        "32 30 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
    put(*state, "sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "80000\n");
    put(*state, "sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
    assert_quota(*state, 0.8);
    put(*state, "proc/self/cgroup", "4:cpu:/docker/abcdef\n"); /* not below the mount's root */
    assert_quota(*state, 0);
    put(*state, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "70000\n");
    put(*state, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_quota(*state, 0.7);
}

static void strange_content_means_no_limit(void **state)
{
    static const char *const strange[] = {"",    "max",        "100000",  "1 0",
                                          "x y", "-1 100000x", "\xff\xfe"};
    put(*state, "proc/self/cgroup", "garbage\n::\n0:\n0::/a\n");
    put(*state, "proc/self/mountinfo",
        "short\n - \n1 2 3 - cgroup2\n99 98 0:1 / /x rw - cgroup2\n" V2_MOUNT);
    for (size_t i = 0; i < 7; i++) {
        put(*state, "sys/fs/cgroup/a/cpu.max", strange[i]);
        assert_quota(*state, 0);
    }
    char line[3000];
    memset(line, 'a', sizeof(line) - 1);
    line[sizeof(line) - 1] = 0;
    memcpy(line, "0::/", 4);
    put(*state, "proc/self/cgroup", line);
    put(*state, "sys/fs/cgroup/cpu.max", line);
    assert_quota(*state, 0);
}

static void killed_processes_are_counted(void **state)
{
    const struct shl_test_temp *temp = *state;
    assert_int_equal(shl_topology_oom_kills(temp->path), 0);
    put(temp, "proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/c\n0::/u\n");
    put(temp, "proc/self/mountinfo", V1_MOUNT V2_MOUNT);
    assert_int_equal(shl_topology_oom_kills(temp->path), 0);
    put(temp, "sys/fs/cgroup/memory/c/memory.oom_control", "oom_kill 9\n");
    put(temp, "sys/fs/cgroup/memory/m/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    assert_int_equal(shl_topology_oom_kills(temp->path), 2);
    put(temp, "proc/self/cgroup", "0::/u\n");
    put(temp, "sys/fs/cgroup/u/memory.events",
        "low 0\nhigh 0\nmax 7\noom 3\noom_kill 3\noom_group_kill 0\n");
    assert_int_equal(shl_topology_oom_kills(temp->path), 3);
    put(temp, "sys/fs/cgroup/u/memory.events", "low 0\noom_kill many\n");
    assert_int_equal(shl_topology_oom_kills(temp->path), 0);
}

static enum shoal_status read_quota(void *arg)
{
    const struct shl_test_temp *temp = arg;
    shl_topology_quota(temp->path);
    shl_topology_oom_kills(temp->path);
    return SHOAL_OK;
}

static void failing_calls_are_survived(void **state)
{
    put(*state, "proc/self/cgroup", "0::/a\n");
    put(*state, "proc/self/mountinfo", V2_MOUNT);
    put(*state, "sys/fs/cgroup/a/cpu.max", "100000 100000\n");
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, read_quota, *state, 100) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHL_TEST_IN_FOLDER(nothing_readable_means_no_limit),
        SHL_TEST_IN_FOLDER(version_2_takes_the_least_on_the_way_up),
        SHL_TEST_IN_FOLDER(a_cgroup_namespace_starts_at_its_mount),
        SHL_TEST_IN_FOLDER(version_1_has_its_own_files),
        SHL_TEST_IN_FOLDER(a_container_sees_only_its_part),
        SHL_TEST_IN_FOLDER(strange_content_means_no_limit),
        SHL_TEST_IN_FOLDER(killed_processes_are_counted),
        SHL_TEST_IN_FOLDER(failing_calls_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
