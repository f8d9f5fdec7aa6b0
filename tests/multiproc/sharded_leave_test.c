/*
 * Members with sharded state leave: they hand over what they hold first, wherever one dies
 * meanwhile, and stay for as long as that cannot be done.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/sharded_model.h"
#include "support/test.h"

/* Without replicas nothing is lost either, though two leave together. */
static void leavers_hand_over(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = sharded_make_job(4, SHOAL_STATE_NO_REPLICAS, sharded_tcp);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    shared->leavers = 1 << 1 | 1 << 2;
    sharded_await_left(&members, 1);
    sharded_await_left(&members, 2);
    members_await(&members, 0, 3);
    shared->leavers |= 1 << 0;
    sharded_await_left(&members, 0);
    members_await(&members, 3, 3);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++) {
        sharded_check_member(&members, i, "leave");
        assert_int_equal(shared->told[i].lost, 0);
        assert_int_equal(members.shared->reports[i].left, i != 3);
    }
    assert_int_equal(shared->told[3].owned, FLOATS);
    assert_true(shared->told[3].handed >= 3 * SHARDS / 4 * SHARD_BYTES);
    sharded_end();
}

/* Before, while and after it hands over. */
static void one_version_when_a_leaver_dies(void **state)
{
    (void)state;
    for (unsigned k = 60; k < 120; k += 4)
        sharded_kill_at("send", k, 0, 3);
}

/* Nobody else has what it had not handed over: nothing stale takes its place. */
static void no_stale_state_when_a_leaver_dies(void **state)
{
    (void)state;
    for (unsigned k = 84; k < 94; k++)
        sharded_kill_at("send", k, SHOAL_STATE_NO_REPLICAS, 3);
}

/* All want to leave in the same step: the others' parts go to one of them, which leaves last. */
static void the_last_to_leave_has_it_all(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = sharded_make_job(4, SHOAL_STATE_NO_REPLICAS, sharded_tcp);
    uint32_t with_all = 0;
    shared->leave_at = 3;
    shared->leave_then = 15;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 4; i++)
        sharded_await_left(&members, i);
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++) {
        sharded_check_member(&members, i, "all leave");
        assert_int_equal(shared->told[i].lost, 0);
        with_all += shared->told[i].kept == FLOATS;
    }
    assert_int_equal(with_all, 1);
    sharded_end();
}

/* One that stays has no room for what it is to take over: it goes on, and whoever wants to leave
 * does so once there is room. */
static void leavers_wait_for_memory(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = sharded_make_job(3, SHOAL_STATE_NO_REPLICAS, sharded_tcp);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    shared->lacks = 0 + 1;
    members_await(&members, 0, 2);
    shared->leavers = 1 << 1;
    members_await(&members, 0, 8); /* each commit tries it again */
    assert_false(members.shared->reports[1].done);
    shared->lacks = 0;
    sharded_await_left(&members, 1);
    members_await(&members, 0, 3);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 3; i++) {
        sharded_check_member(&members, i, "no memory");
        assert_int_equal(shared->told[i].lost, 0);
    }
    assert_int_equal(shared->told[0].owned + shared->told[2].owned, FLOATS);
    sharded_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leavers_hand_over),
        cmocka_unit_test(one_version_when_a_leaver_dies),
        cmocka_unit_test(no_stale_state_when_a_leaver_dies),
        cmocka_unit_test(the_last_to_leave_has_it_all),
        cmocka_unit_test(leavers_wait_for_memory),
    };
    return cmocka_run_group_tests_name("sharded_leave", tests, NULL, NULL);
}
