/*
 * The membership core in single stories: one kind of trouble each, and what becomes of it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_acts.h"

/* Steps need no store; it is asked for nothing while nobody fails, joins or leaves. */
static void steps_go_on_without_a_store(void **state)
{
    (void)state;
    struct world_options options = world_plain(4);
    struct world *world = world_formed(&options);
    world->store.down_until_ns = UINT64_MAX;
    uint64_t steps = world->steps_done;
    world_run_for(world, 10000);
    WORLD_CHECK(world, world->steps_done > steps + 100 && world->commits == 1, "stopped\n");
    for (uint32_t i = 0; i < 4; i++)
        WORLD_CHECK(world, world->lives[i]->running, "life %u ended\n", i);
    world_close(world);
}

static void check_all_ended(struct world *world, uint64_t except, enum shoal_status status)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (!(except & world_bit(i)))
            WORLD_CHECK(world, world->lives[i]->ended && world->lives[i]->status == status,
                        "life %u: ended %d, status %d\n", i, world->lives[i]->ended,
                        (int)world->lives[i]->status);
}

static void a_failure_without_a_store_is_the_same_error_on_all(void **state)
{
    (void)state;
    struct world_options options = world_plain(4);
    options.no_restart = true;
    struct world *world = world_formed(&options);
    world->store.down_until_ns = UINT64_MAX;
    world_crash(world, 1);
    world_run_for(world, 6000);
    check_all_ended(world, world_bit(1), SHOAL_ERR_STORE);
    world_close(world);
}

static void a_failure_waits_for_the_store(void **state)
{
    (void)state;
    struct world_options options = world_plain(4);
    options.no_restart = true;
    struct world *world = world_formed(&options);
    world->store.down_until_ns = world->now_ns + 3 * WORLD_SECOND;
    world_crash(world, 0);
    world_run_for(world, 4000);
    uint64_t steps = world->steps_done;
    world_run_for(world, 1000);
    world_check_alive(world, steps);
    world_close(world);
}

/* Epochs of the store that began anew lie above all that anybody has seen; host_publish checks. */
static void a_lost_journal_ends_the_old_life_and_repeats_no_epoch(void **state)
{
    (void)state;
    struct world_options options = world_plain(3);
    struct world *world = world_formed(&options);
    for (unsigned i = 0; i < 3; i++) { /* some epochs to stay above of */
        struct world_life *life = NULL;
        while (!life)
            life = world_in_slot(world, (uint32_t)world_random(world, 3));
        world_crash(world, life->number);
        world_run_for(world, 1500);
    }
    uint64_t before = world->store.record.epoch;
    uint32_t old = world->life_count;
    world_store_lose(world);
    for (uint32_t i = 0; i < 3; i++) { /* one failure shows it to all others */
        struct world_life *life = world_in_slot(world, i);
        if (life) {
            world_crash(world, life->number);
            break;
        }
    }
    for (uint32_t i = 0; i < 3; i++)
        if (world->current[i] == WORLD_LIVES_MAX)
            world_start(world, i, WORLD_MS, before);
    world_run_for(world, 8000);
    for (uint32_t i = 0; i < old; i++)
        WORLD_CHECK(world, !world->lives[i]->running, "life %u lives on\n", i);
    WORLD_CHECK(world, world->store.record.view_epoch > before, "epoch %llu after %llu\n",
                (unsigned long long)world->store.record.view_epoch, (unsigned long long)before);
    world_close(world);
}

static void the_majority_goes_on(void **state)
{
    (void)state;
    struct world_options options = world_plain(5);
    options.no_restart = true;
    struct world *world = world_formed(&options);
    for (uint32_t a = 0; a < 5; a++)
        for (uint32_t b = 0; b < 5; b++)
            if ((a < 2) != (b < 2))
                world_cut(world, a, b, false, 3 * WORLD_SECOND);
    world_run_for(world, 2000);
    WORLD_CHECK(world, world->store.record.view.count == 3, "%u members\n",
                world->store.record.view.count);
    world_run_for(world, 4000);
    uint64_t steps = world->steps_done;
    world_run_for(world, 1000);
    world_check_alive(world, steps);
    check_all_ended(world, world_lives_of(world, &world->store.record.view), SHOAL_ERR_EPOCH);
    world_close(world);
}

static void one_way_cuts_end_in_one_view(void **state)
{
    (void)state;
    for (uint32_t a = 0; a < 4; a++) {
        for (uint32_t b = 0; b < 4; b++) {
            struct world_options options = world_plain(4);
            options.no_restart = true;
            if (a == b)
                continue;
            struct world *world = world_formed(&options);
            uint64_t epoch = world->store.record.epoch;
            world_cut(world, a, b, false, 2 * WORLD_SECOND);
            world_run_for(world, 1000);
            WORLD_CHECK(world, world->store.record.epoch == epoch + 1, "more than one proposal\n");
            WORLD_CHECK(world, world->store.record.view.count == 3, "more than one evicted\n");
            world_close(world);
        }
    }
}

/* Whoever notices first is one voice against one. It must not even be proposed to go in place of
 * the stopped one: a proposal already kills those on the same host whom it leaves out. */
static void the_stopped_one_goes_whoever_notices_first(void **state)
{
    (void)state;
    for (uint32_t pair = 0; pair < 9; pair++) {
        struct world_options options = world_plain(3);
        uint32_t stopped = pair / 3, first = pair % 3;
        options.no_restart = true;
        if (stopped == first)
            continue;
        struct world *world = world_formed(&options);
        const struct shl_record *record = &world->store.record;
        world_cut(world, stopped, first, false, 4 * WORLD_SECOND);
        world_run_for(world, 80);
        world_in_slot(world, stopped)->stopped_until_ns = world->now_ns + 4 * WORLD_SECOND;
        for (uint32_t ms = 0; ms < 2000; ms++) {
            world_run_for(world, 1);
            WORLD_CHECK(world,
                        record->phase != SHL_PHASE_PREPARED ||
                            world_lives_of(world, &record->next) == (7 & ~world_bit(stopped)),
                        "%u noticed first that %u is stopped\n", first, stopped);
        }
        WORLD_CHECK(world, record->view.count == 2, "nobody went\n");
        world_close(world);
    }
}

/* All members live, and the next view has the same. */
static void a_step_is_given_up_for_one_that_cannot_finish_it(void **state)
{
    (void)state;
    for (unsigned mode = SHL_STEP_RETAIN; mode <= SHL_STEP_ABORT; mode++) {
        struct world_options options = world_plain(4);
        options.mode = mode;
        struct world *world = world_formed(&options);
        uint32_t views = world->commits;
        for (uint32_t i = 0; i < 200; i++) {
            world_wish(world);
            world_run_for(world, 10);
        }
        uint64_t steps = world->steps_done;
        world_run_for(world, 1000);
        world_check_alive(world, steps);
        WORLD_CHECK(world, world->wishes > 20 && world->commits > views + 20, "%u wishes\n",
                    world->wishes);
        WORLD_CHECK(world, world->store.record.view.count == 4 && !world->evictions, "lost one\n");
        world_close(world);
    }
}

static void too_small_a_world_waits_and_fails(void **state)
{
    (void)state;
    struct world_options options = world_plain(3);
    options.min = 3;
    options.no_restart = true;
    struct world *world = world_formed(&options);
    world_crash(world, 2);
    world_run_for(world, 2000);
    WORLD_CHECK(world, world->lives[0]->running && world->commits == 1, "did not wait\n");
    world_run_for(world, 4000);
    check_all_ended(world, world_bit(2), SHOAL_ERR_EPOCH);
    world_close(world);
}

/* With a spare one that waits, a full world of least size replaces a lost member at once. */
static void a_spare_takes_the_place(void **state)
{
    (void)state;
    for (unsigned mode = SHL_STEP_RETAIN; mode <= SHL_STEP_ABORT; mode++) {
        struct world_options options = world_plain(4);
        options.mode = mode;
        options.start = options.min = options.max = 3;
        options.no_restart = true;
        struct world *world = world_formed(&options);
        uint32_t gone = world_life_of(world, world->store.record.view.at[1].id);
        world_crash(world, gone);
        world_run_for(world, 1000);
        uint64_t steps = world->steps_done;
        world_run_for(world, 1000);
        world_check_alive(world, steps);
        WORLD_CHECK(world, world->store.record.view.count == 3, "no spare\n");
        world_close(world);
    }
}

/* In a full world of least size with a spare one, the first life has returned what another has not,
 * and a third is lost; then the first may be lost too, before or after what it forwards has come.
 * Returns in how many of the stories the checks fail. */
static uint32_t spares_come_with_results(enum world_broken_rule rule, uint32_t *forwarded,
                                         uint32_t *failed)
{
    uint32_t found = 0;
    *forwarded = *failed = 0;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct world_options options = world_plain(5);
        options.seed = seed;
        options.start = options.min = options.max = 3;
        options.loose = options.by_number = options.optimistic = options.no_restart = true;
        options.broken = rule;
        struct world *world = world_formed(&options);
        const struct shl_record *record = &world->store.record;
        uint32_t source = world_life_of(world, record->view.at[0].id);
        uint32_t gone = world_life_of(world, record->view.at[1].id);
        uint32_t lacks = world_life_of(world, record->view.at[2].id);
        uint64_t epoch = record->view_epoch;
        world_cut(world, world->lives[gone]->slot, world->lives[lacks]->slot, false,
                  400 * WORLD_MS);
        world_run(world, world->now_ns + (1 + seed % 9) * WORLD_MS);
        world_crash(world, gone);
        for (uint32_t ms = 0; seed % 2 && ms < 2000 && record->view_epoch == epoch; ms++)
            world_run_for(world, 1);
        if (seed % 2) {
            world_run(world, world->now_ns + seed % 8 * WORLD_MS / 4);
            world_crash(world, source);
        }
        world_run_for(world, 2000);
        uint64_t steps = world->steps_done;
        world_run_for(world, 1000);
        world_check_alive(world, steps);
        WORLD_CHECK(world, record->view.count == 3, "%u members\n", record->view.count);
        *forwarded += world->forwarded;
        *failed += world->failures;
        found += world->troubles > 0;
        world_close(world);
    }
    return found;
}

static void a_spare_comes_while_a_result_is_forwarded(void **state)
{
    uint32_t forwarded, failed;
    (void)state;
    assert_int_equal(spares_come_with_results(WORLD_RULES_KEPT, &forwarded, &failed), 0);
    assert_true(forwarded > 10 && failed > 10);
    assert_true(spares_come_with_results(WORLD_SETTLED_BY_JOINER, &forwarded, &failed) > 0);
}

static void joins_and_leaves_abort_nothing(void **state)
{
    (void)state;
    for (unsigned loose = 0; loose < 2; loose++) {
        struct world_options options = world_plain(6);
        options.mode = SHL_STEP_ABORT;
        options.loose = loose;
        options.start = 2;
        struct world *world = world_formed(&options);
        world_run_for(world, 500);
        WORLD_CHECK(world, world->store.record.view.count == 6, "not all came in\n");
        for (uint32_t i = 0; i < 4; i++) {
            shl_membership_leave(world_in_slot(world, i)->core, world->now_ns);
            if (i % 2)
                world_run_for(world, 500);
        }
        WORLD_CHECK(world, world->store.record.view.count == 2 && world->leaves == 4,
                    "%u members, %u left\n", world->store.record.view.count, world->leaves);
        WORLD_CHECK(world, !world->retries && !world->failures && !world->redone,
                    "something was aborted\n");
        world_close(world);
    }
}

/* Some were not heard for a moment, too short for a change: who is calm again answers those that
 * may not know it, and soon nobody says anything. */
static void a_false_alarm_is_soon_silent(void **state)
{
    (void)state;
    struct world_options options = world_plain(4);
    struct world *world = world_formed(&options);
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t j = 0; j < 4; j++)
            if (i != j)
                shl_membership_suspect(world->lives[i]->core, world->now_ns, world->lives[j]->id);
    world_run_for(world, 3);
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t j = 0; j < 4; j++)
            if (i != j)
                shl_membership_reached(world->lives[i]->core, world->now_ns, world->lives[j]->id);
        world_run_for(world, 1);
    }
    world_run_for(world, 500);
    uint64_t messages = world->messages;
    world_run_for(world, 500);
    WORLD_CHECK(world, world->messages == messages, "%llu messages about nothing\n",
                (unsigned long long)(world->messages - messages));
    WORLD_CHECK(world, world->commits == 1, "a view was made anew\n");
    world_close(world);
}

/* The last one of a job stays, and its wish costs the store nothing. */
static void the_last_member_waits_quietly(void **state)
{
    (void)state;
    struct world_options options = world_plain(2);
    options.no_restart = true;
    struct world *world = world_formed(&options);
    for (uint32_t i = 0; i < 2; i++)
        shl_membership_leave(world->lives[i]->core, world->now_ns);
    world_run_for(world, 500);
    uint32_t views = world->commits;
    uint64_t steps = world->steps_done;
    world_run_for(world, 1000);
    world_check_alive(world, steps);
    WORLD_CHECK(world, world->commits == views && world->leaves == 1, "%u views, %u left\n",
                world->commits - views, world->leaves);
    world_close(world);
}

/* Of a full world of the least size nobody leaves, and its members work on without a change, unless
 * a spare is there. */
static void who_leaves_a_world_of_the_least_size_is_replaced(void **state)
{
    (void)state;
    for (uint32_t spares = 0; spares < 2; spares++) {
        struct world_options options = world_plain(3 + spares);
        options.start = options.min = options.max = 3;
        options.no_restart = true;
        struct world *world = world_formed(&options);
        uint32_t views = world->commits;
        uint64_t steps = world->steps_done;
        uint32_t leaver = world_life_of(world, world->store.record.view.at[0].id);
        shl_membership_leave(world->lives[leaver]->core, world->now_ns);
        world_run_for(world, 1000);
        world_check_alive(world, steps);
        WORLD_CHECK(world, world->store.record.view.count == 3 && world->leaves == spares,
                    "%u members, %u left\n", world->store.record.view.count, world->leaves);
        WORLD_CHECK(world, world->commits == views + spares, "%u views\n", world->commits - views);
        world_close(world);
    }
}

/* Its connection breaks before it acknowledges: the members do not wait for its silence. */
static void a_joiner_that_dies_holds_nobody_up(void **state)
{
    (void)state;
    struct world_options options = world_plain(3);
    options.start = 2;
    options.no_restart = true;
    struct world *world = world_open(&options);
    const struct shl_record *record = &world->store.record;
    while (!world->store.has_record || record->phase != SHL_PHASE_PREPARED)
        world_run(world, world->now_ns + WORLD_MS / 4);
    uint32_t joiner = world_life_of(world, record->next.at[2].id);
    world_crash(world, joiner);
    for (uint32_t i = 0; i < 3; i++)
        if (i != joiner)
            world_event(world, WORLD_LOST, i, WORLD_MS)->from = joiner;
    world_run_for(world, 200);
    uint64_t steps = world->steps_done;
    world_run_for(world, 100);
    world_check_alive(world, steps);
    WORLD_CHECK(world, record->view.count == 2, "%u members\n", record->view.count);
    world_close(world);
}

/* What the first life has returned, the others that run have returned too. Returns how many they
 * had not before. */
static uint32_t check_all_have(struct world *world, bool check)
{
    const struct world_life *mute = world->lives[0];
    uint32_t lacking = 0;
    for (uint64_t seq = mute->settled + 1; seq <= mute->started; seq++) {
        const struct world_op *op = &mute->ops[seq % WORLD_OPS];
        for (uint32_t i = 1; op->returned && i < world->life_count; i++) {
            const struct world_op *other = &world->lives[i]->ops[seq % WORLD_OPS];
            if (!world->lives[i]->running || (other->seq == seq && other->returned))
                continue;
            lacking++;
            WORLD_CHECK(world, !check, "life %u has no operation %llu\n", i,
                        (unsigned long long)seq);
        }
    }
    return lacking;
}

/* A deadline of the second life passes; that the first has no part in it is no reason to wait. */
static uint32_t check_deadline(struct world *world)
{
    const struct world_life *life = world->lives[1];
    uint64_t epoch = life->epoch;
    uint32_t told = 0;
    if (!world_engine_expire(world->lives[1])) /* it is at a commit, which has none here */
        return 0;
    world_run_for(world, 100);
    for (uint64_t seq = life->settled + 1; seq <= life->started; seq++)
        told += life->ops[seq % WORLD_OPS].told;
    WORLD_CHECK(world, told && life->epoch == epoch, "%u told, epoch %llu after %llu\n", told,
                (unsigned long long)life->epoch, (unsigned long long)epoch);
    return told;
}

/* One life has returned what another has not, and calls nothing any more; the third dies. Returns
 * in how many of the stories the checks fail; *lacking: operations that were to be forwarded;
 * *told: that were late then. */
static uint32_t one_calls_no_more(enum world_broken_rule rule, uint32_t *lacking, uint32_t *told)
{
    uint32_t found = 0;
    *lacking = *told = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world_options options = world_plain(4);
        options.seed = seed;
        options.loose = options.optimistic = options.no_restart = true;
        options.broken = rule;
        struct world *world = world_formed(&options);
        world_cut(world, 3, 1, false, 400 * WORLD_MS);
        world_run(world, world->now_ns + (1 + seed % 9) * WORLD_MS / 2);
        world->lives[0]->mute = true;
        world_run(world, world->now_ns + WORLD_MS);
        *lacking += check_all_have(world, false);
        world_crash(world, 3);
        world_run_for(world, 600);
        check_all_have(world, true);
        if (!world->troubles)
            *told += check_deadline(world);
        found += world->troubles > 0;
        world_close(world);
    }
    return found;
}

static void who_calls_no_more_keeps_nobody(void **state)
{
    uint32_t lacking, told;
    (void)state;
    assert_int_equal(one_calls_no_more(WORLD_RULES_KEPT, &lacking, &told), 0);
    assert_true(lacking > 10 && told > 10);
    assert_true(one_calls_no_more(WORLD_FORWARD_BY_CALL, &lacking, &told) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_go_on_without_a_store),
        cmocka_unit_test(a_failure_without_a_store_is_the_same_error_on_all),
        cmocka_unit_test(a_failure_waits_for_the_store),
        cmocka_unit_test(a_lost_journal_ends_the_old_life_and_repeats_no_epoch),
        cmocka_unit_test(the_majority_goes_on),
        cmocka_unit_test(one_way_cuts_end_in_one_view),
        cmocka_unit_test(the_stopped_one_goes_whoever_notices_first),
        cmocka_unit_test(a_step_is_given_up_for_one_that_cannot_finish_it),
        cmocka_unit_test(too_small_a_world_waits_and_fails),
        cmocka_unit_test(a_spare_takes_the_place),
        cmocka_unit_test(a_spare_comes_while_a_result_is_forwarded),
        cmocka_unit_test(joins_and_leaves_abort_nothing),
        cmocka_unit_test(a_false_alarm_is_soon_silent),
        cmocka_unit_test(the_last_member_waits_quietly),
        cmocka_unit_test(who_leaves_a_world_of_the_least_size_is_replaced),
        cmocka_unit_test(a_joiner_that_dies_holds_nobody_up),
        cmocka_unit_test(who_calls_no_more_keeps_nobody),
    };
    return cmocka_run_group_tests_name("membership_stories", tests, NULL, NULL);
}
