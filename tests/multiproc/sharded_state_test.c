/*
 * Sharded state in worlds whose members join and are killed. A member is killed at one message
 * after another, between a commit and the end of the refresh of the next; a whole host is lost; all
 * copies of a shard are lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/hosts.h"
#include "multiproc/sharded_model.h"
#include "support/test.h"

#include <signal.h>

/* As many bytes as the copies that must be made have. */
static void check_moved(uint64_t moved, uint32_t copies)
{
    uint64_t least = copies * SHARD_BYTES;
    if (moved < least || moved > least + 2 * SMALL_BYTES)
        fail_msg("%llu bytes moved, %llu are the least", (unsigned long long)moved,
                 (unsigned long long)least);
}

/* One after another: each member holds its part of the copies, and no more is moved. */
static void follows(const char *const *settings, bool leaves)
{
    struct members members;
    struct members_job job = sharded_make_job(3, 0, settings);
    members_open(&members, &job);
    sharded_await_settled(&members, 0, 1);
    check_moved(shared->told[0].moved, SHARDS); /* the first copies */
    members_start(&members, 3);
    sharded_await_settled(&members, 0, 2);
    check_moved(shared->told[0].moved, 2 * SHARDS / 4);
    members_await(&members, 3, 5);
    if (leaves)
        shared->leavers = 1 << 1;
    else
        members_kill(&members, 1, SIGKILL);
    sharded_await_settled(&members, 0, 3);
    check_moved(leaves ? shared->told[0].handed : shared->told[0].moved, 2 * SHARDS / 4);
    if (leaves)
        assert_int_equal(shared->told[0].moved, 0);
    members_start(&members, 4);
    sharded_await_settled(&members, 0, 4);
    check_moved(shared->told[0].moved, 2 * SHARDS / 4);
    members_await(&members, 4, 5);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 5; i++)
        if (leaves || i != 1)
            sharded_check_member(&members, i, "follows");
    assert_int_equal(shared->told[0].owned + shared->told[2].owned + shared->told[3].owned +
                         shared->told[4].owned,
                     FLOATS);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(shared->told[i].lost, 0);
}

static void least_bytes_are_moved(void **state)
{
    (void)state;
    follows(sharded_tcp, false);
    follows(sharded_shm, true);
}

/* Messages one after another: points between a commit, the change, the refresh, and the next
 * commit. */
static void one_version_wherever_a_member_dies(void **state)
{
    (void)state;
    for (unsigned k = 60; k < 85; k++)
        sharded_kill_at("send", k, 0, 0);
    for (unsigned k = 61; k < 85; k += 4)
        sharded_kill_at("recv", k, 0, 0);
}

/* A node with two of five members goes, each in a pod of its own: each shard has its second copy on
 * the other node. */
static void a_whole_node_is_lost(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = sharded_make_job(4, 0, sharded_tcp);
    job.hosts = 4;
    job.domains = 2;
    if (!hosts_open(5))
        TEST_SKIP("no network namespaces here");
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_start(&members, 4);
    members_await(&members, 4, 3);
    members_kill(&members, 1, SIGKILL);
    members_kill(&members, 3, SIGKILL);
    members_await(&members, 0, 10);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 5; i += 2) {
        sharded_check_member(&members, i, "node lost");
        assert_int_equal(shared->told[i].lost, 0);
    }
}

/* Without replicas exactly what the lost member owned is lost; all members say so alike. */
static void lost_ranges_are_named(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = sharded_make_job(3, SHOAL_STATE_NO_REPLICAS, sharded_shm);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_kill(&members, 1, SIGKILL);
    members_await(&members, 0, 5);
    members_start(&members, 3);
    members_await(&members, 3, 3);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++)
        if (i != 1)
            sharded_check_member(&members, i, "lost");
    for (uint32_t i = 0; i < 3; i += 2) {
        assert_int_equal(shared->told[i].lost, 1);
        assert_true(shared->told[i].lost_elements >= shared->told[1].owned);
        assert_true(shared->told[i].lost_elements <= shared->told[1].owned + SMALL);
    }
    assert_int_equal(shared->told[3].lost, 0);
}

/* Two of four members go at once, so neither is there to give what the other had: what they held
 * together is lost, a sixth of all. What one of them had a copy of, and a member that is left the
 * other, is not. */
static void both_copies_are_gone(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = sharded_make_job(4, 0, sharded_tcp);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_kill(&members, 1, SIGSTOP);
    members_kill(&members, 3, SIGSTOP);
    members_kill(&members, 1, SIGKILL);
    members_kill(&members, 3, SIGKILL);
    members_await(&members, 0, 6);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 4; i += 2) {
        sharded_check_member(&members, i, "both copies");
        assert_int_equal(shared->told[i].lost, 1);
        assert_in_range(shared->told[i].lost_elements, FLOATS / 8, FLOATS / 5);
    }
    assert_int_equal(shared->told[0].lost_elements, shared->told[2].lost_elements);
    assert_int_equal(shared->told[0].owned + shared->told[2].owned, FLOATS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_bytes_are_moved),
        cmocka_unit_test(lost_ranges_are_named),
        cmocka_unit_test(both_copies_are_gone),
        cmocka_unit_test(a_whole_node_is_lost),
        cmocka_unit_test(one_version_wherever_a_member_dies),
    };
    return cmocka_run_group_tests_name("sharded_state", tests, NULL, NULL);
}
