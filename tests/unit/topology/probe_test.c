/*
 * The probe on the machine that runs the test: figures must agree with each other and with libc.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"
#include "topology/topology.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

static void figures_agree_with_each_other(void **state)
{
    (void)state;
    struct shl_topology found;
    shl_topology_probe(&found);
    assert_in_range(found.usable_cpus, 1, found.allowed_cpus);
    assert_in_range(found.bound_cpus, 1, found.allowed_cpus);
    assert_in_range(found.cores, 1, found.allowed_cpus);
    assert_true(found.machine_cpus >= found.bound_cpus);
    if (found.quota_cpus > 0 && found.quota_cpus < found.allowed_cpus)
        assert_true(found.usable_cpus >= found.quota_cpus &&
                    found.usable_cpus < found.quota_cpus + 1);
    else
        assert_int_equal(found.usable_cpus, found.allowed_cpus);
    assert_int_equal(found.memory_bytes,
                     (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void numa_nodes_hold_the_allowed_cpus(void **state)
{
    (void)state;
    struct shl_topology found;
    uint32_t cpus = 0;
    shl_topology_probe(&found);
    if (!found.from_hwloc || found.numa_count > SHL_NUMA_MAX)
        TEST_SKIP("hwloc sees no NUMA nodes, or more than Shoal counts");
    assert_true(found.numa_count >= 1);
    for (uint32_t i = 0; i < found.numa_count; i++)
        cpus += found.numa[i].cpus;
    assert_int_equal(cpus, found.allowed_cpus);
    assert_true((found.l2_bytes == 0) == (found.l2_count == 0));
    assert_true((found.l3_bytes == 0) == (found.l3_count == 0));
}

static void binding_is_seen_and_left_alone(void **state)
{
    (void)state;
    struct shl_topology found;
    cpu_set_t before, one, after;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    shl_topology_probe(&found);
    sched_getaffinity(0, sizeof(after), &after);
    sched_setaffinity(0, sizeof(before), &before);
    assert_int_equal(found.bound_cpus, 1);
    assert_true(CPU_EQUAL(&one, &after));
}

static void the_memlock_limit_is_the_soft_one(void **state)
{
    (void)state;
    struct rlimit saved, low;
    struct shl_topology found;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &saved), 0);
    low = saved;
    low.rlim_cur = 4096;
    if (saved.rlim_max < 4096 || setrlimit(RLIMIT_MEMLOCK, &low) != 0)
        TEST_SKIP("RLIMIT_MEMLOCK cannot be set to 4096 bytes");
    shl_topology_probe(&found);
    setrlimit(RLIMIT_MEMLOCK, &saved);
    assert_int_equal(found.memlock_bytes, 4096);
}

static void *look(void *arg)
{
    (void)arg;
    return (void *)(uintptr_t)shl_topology();
}

static void all_threads_get_the_same_answer(void **state)
{
    (void)state;
    pthread_t threads[4];
    uint32_t fds = shl_test_open_fds();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *answer = NULL;
        pthread_join(threads[i], &answer);
        assert_ptr_equal(answer, shl_topology());
    }
    assert_true(shl_topology()->usable_cpus >= 1);
    assert_int_equal(shl_test_open_fds(), fds);
}

static void without_any_file_there_are_still_counts(void **state)
{
    (void)state;
    struct shl_topology found;
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_ALL | SHL_FAULT_STICKY, 1);
    shl_topology_probe(&found);
    shl_fault_remove();
    assert_true(found.usable_cpus >= 1);
    assert_true(found.quota_cpus == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_agree_with_each_other),
        cmocka_unit_test(numa_nodes_hold_the_allowed_cpus),
        cmocka_unit_test(binding_is_seen_and_left_alone),
        cmocka_unit_test(the_memlock_limit_is_the_soft_one),
        cmocka_unit_test(all_threads_get_the_same_answer),
        cmocka_unit_test(without_any_file_there_are_still_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
