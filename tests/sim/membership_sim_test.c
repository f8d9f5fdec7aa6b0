/*
 * The membership core under thousands of seeded schedules of faults. What must hold at each step is
 * checked by the world; here are the schedules, and that the job goes on when faults cease.
 *
 * SHOAL_TEST_SEED repeats one schedule; SHOAL_SIM_SCHEDULES sets how many run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_world.h"

#include <stdlib.h>

static uint64_t bit(uint32_t life)
{
    return 1ull << life;
}

static uint32_t alive_members(struct world *world, bool that_may_write)
{
    const struct shl_record *record = &world->store.record;
    uint32_t count = 0;
    for (uint32_t i = 0; world->store.has_record && i < record->view.count; i++) {
        uint64_t id = record->view.at[i].id;
        bool writes = record->phase != SHL_PHASE_PREPARED ||
                      shl_members_find(&record->next, id) != SHL_MEMBER_NONE;
        count += world->lives[world_life_of(world, id)]->running && (writes || !that_may_write);
    }
    return count;
}

/* The policy lets those who are left go on. */
static bool can_go_on(struct world *world)
{
    uint32_t alive = alive_members(world, false);
    if (!world->store.has_record || world->store.record.phase == SHL_PHASE_FORMING)
        return false;
    if (alive < world->options.min || !alive_members(world, true))
        return false;
    return world->options.policy == SHL_PARTITION_ANY ||
           2 * alive >= world->store.record.view.count;
}

/* ---- faults --------------------------------------------------------------------------------- */

static void cut(struct world *world, uint32_t a, uint32_t b, bool both, uint64_t ns)
{
    world->cut_until_ns[a][b] = world->now_ns + ns;
    if (both)
        world->cut_until_ns[b][a] = world->now_ns + ns;
}

static void partition(struct world *world, uint64_t ns)
{
    uint64_t side = world_random(world, 1u << world->options.slots);
    for (uint32_t a = 0; a < world->options.slots; a++)
        for (uint32_t b = 0; b < world->options.slots; b++)
            if ((side >> a & 1) != (side >> b & 1))
                cut(world, a, b, false, ns);
}

static void one_fault(struct world *world)
{
    uint32_t slot = (uint32_t)world_random(world, world->options.slots);
    uint32_t other = (uint32_t)world_random(world, world->options.slots);
    struct world_life *life = world_in_slot(world, slot);
    uint64_t ns = (30 + world_random(world, 700)) * WORLD_MS;
    switch (world_random(world, 9)) {
    case 0:
    case 1:
        /* Without a majority the job rightly ends; most schedules should go on. */
        if (life && life->core && 2 * alive_members(world, false) > world->store.record.view.count)
            world_crash(world, life->number);
        break;
    case 2:
        if (life)
            life->stopped_until_ns = world->now_ns + ns;
        break;
    case 3:
        if (slot != other)
            cut(world, slot, other, false, ns);
        break;
    case 4:
        if (slot != other)
            cut(world, slot, other, true, ns);
        break;
    case 5:
        partition(world, ns);
        break;
    case 6:
        world->store.down_until_ns = world->now_ns + ns;
        break;
    case 7:
        world->store_cut_until_ns[slot] = world->now_ns + ns;
        break;
    default:
        if (life && life->epoch && alive_members(world, false) > world->options.min + 1)
            shl_membership_leave(life->core, world->now_ns);
        else if (!life && !world->options.no_restart && world->current[slot] == WORLD_LIVES_MAX)
            world_start(world, slot, 0, 0);
    }
}

/* Somebody cannot finish its step. */
static void one_wish(struct world *world)
{
    struct world_life *life =
        world_in_slot(world, (uint32_t)world_random(world, world->options.slots));
    if (!life || !life->epoch || life->fenced_for || world->options.loose || !life->in_step ||
        life->commit_open || life->stopped_until_ns > world->now_ns)
        return;
    world->wishes++;
    life->gives_up = true;
    shl_membership_decide(life->core, world->now_ns);
}

static void heal(struct world *world)
{
    world->calm = true;
    world->store.down_until_ns = 0;
    for (uint32_t a = 0; a < world->options.slots; a++) {
        world->store_cut_until_ns[a] = 0;
        for (uint32_t b = 0; b < world->options.slots; b++)
            world->cut_until_ns[a][b] = 0;
    }
    for (uint32_t i = 0; i < world->life_count; i++)
        if (world->lives[i]->stopped_until_ns > world->now_ns)
            world->lives[i]->stopped_until_ns = world->now_ns;
}

static void tell_progress(struct world *world)
{
    for (uint32_t i = 0; i < world->life_count; i++) {
        const struct world_life *life = world->lives[i];
        if (!life->running || !life->epoch)
            continue;
        WORLD_SAY(world,
                  "life %u: epoch %llu, operations %llu begun, %llu settled, %u not "
                  "returned; %llu of step %llu%s%s%s\n",
                  i, (unsigned long long)life->epoch, (unsigned long long)life->started,
                  (unsigned long long)life->settled, life->unreturned,
                  (unsigned long long)life->in_step, (unsigned long long)life->step + 1,
                  life->commit_open ? ", committing" : "", life->fenced_for ? ", fenced" : "",
                  shl_membership_at_boundary(life->core) ? ", at a boundary" : "");
    }
}

/* Steps go on, in one view that all its members share. */
static void check_alive(struct world *world, uint64_t steps_before)
{
    uint64_t epoch = 0, members = 0;
    for (uint32_t i = 0; i < world->life_count; i++) {
        struct world_life *life = world->lives[i];
        if (!life->running || !life->epoch)
            continue;
        WORLD_CHECK(world, !epoch || epoch == life->epoch, "life %u is in epoch %llu, not %llu\n",
                    i, (unsigned long long)life->epoch, (unsigned long long)epoch);
        epoch = life->epoch;
        members |= bit(i);
    }
    WORLD_CHECK(world, epoch == world->store.record.view_epoch, "nobody is in the last view\n");
    for (uint32_t i = 0; i < world->life_count; i++)
        if (members & bit(i))
            WORLD_CHECK(world, world->lives[i]->members == members,
                        "life %u has a member that is gone\n", i);
    tell_progress(world);
    WORLD_CHECK(world, world->steps_done > steps_before, "no step since the faults ceased\n");
}

struct tally {
    uint32_t schedules, live, commits, evictions, leaves, failures, retries, redone, forwarded;
    uint32_t wishes;
};

static void count(struct tally *tally, const struct world *world)
{
    tally->schedules++;
    tally->commits += world->commits;
    tally->evictions += world->evictions;
    tally->leaves += world->leaves;
    tally->failures += world->failures;
    tally->retries += world->retries;
    tally->redone += world->redone;
    tally->forwarded += world->forwarded;
    tally->wishes += world->wishes;
}

static struct world_options any_options(uint64_t seed)
{
    uint64_t random = seed * 2 + 1;
    uint64_t r = shl_test_random(&random);
    uint32_t slots = 2 + (uint32_t)(r % 5);
    return (struct world_options){
        .seed = seed,
        .slots = slots,
        .start = 1 + (uint32_t)(r >> 8) % slots,
        .min = 1,
        .max = slots,
        .mode = r >> 16 & 1 ? SHL_STEP_RETAIN : SHL_STEP_ABORT,
        .policy = (r >> 17 & 7) == 0 ? SHL_PARTITION_ANY : SHL_PARTITION_MAJORITY,
        .loose = r >> 20 & 1,
        .optimistic = r >> 21 & 1,
        .bad_paths = r >> 22 & 1,
        .drivers_die = (r >> 23 & 3) == 0,
    };
}

static void one_schedule(const struct world_options *options, struct tally *tally)
{
    struct world *world = world_open(options);
    world_run(world, 200 * WORLD_MS);
    uint32_t faults = 1 + (uint32_t)world_random(world, 6);
    for (uint32_t i = 0; i < faults; i++) {
        one_fault(world);
        world_run(world, world->now_ns + world_random(world, 300) * WORLD_MS);
        one_wish(world);
    }
    heal(world);
    bool live = can_go_on(world);
    /* What was sent before, and those that the faults took for dead, come to rest. */
    world_run(world, world->now_ns + 4 * WORLD_SECOND);
    uint64_t steps = world->steps_done;
    world_run(world, world->now_ns + WORLD_SECOND);
    if (live) {
        check_alive(world, steps);
        tally->live++;
    }
    count(tally, world);
    world_close(world);
}

static void schedules_of_faults(void **state)
{
    (void)state;
    const char *given = getenv("SHOAL_SIM_SCHEDULES"), *seed_given = getenv("SHOAL_TEST_SEED");
    uint32_t schedules = given ? (uint32_t)strtoul(given, NULL, 0) : 500;
    struct tally tally = {0};
    if (seed_given)
        schedules = 1;
    for (uint32_t i = 0; i < schedules; i++) {
        struct world_options options =
            any_options(seed_given ? strtoull(seed_given, NULL, 0) : 1 + i);
        options.told = seed_given != NULL;
        one_schedule(&options, &tally);
    }
    print_message("%u schedules, %u could go on and did: %u views, %u evicted, %u left; operations "
                  "%u redone, %u forwarded, %u failed, %u steps retried, %u wishes for that\n",
                  tally.schedules, tally.live, tally.commits, tally.evictions, tally.leaves,
                  tally.redone, tally.forwarded, tally.failures, tally.retries, tally.wishes);
    if (seed_given)
        return;
    assert_true(tally.live > schedules / 2);
    if (schedules >= 500) /* the schedules reach what they are meant to */
        assert_true(tally.evictions && tally.leaves && tally.failures && tally.retries &&
                    tally.redone && tally.forwarded && tally.wishes);
}

/* ---- single stories ------------------------------------------------------------------------- */

static struct world_options plain(uint32_t slots)
{
    return (struct world_options){.seed = 42 + slots,
                                  .slots = slots,
                                  .start = slots,
                                  .min = 1,
                                  .max = slots,
                                  .mode = SHL_STEP_RETAIN,
                                  .policy = SHL_PARTITION_MAJORITY};
}

static void run_for(struct world *world, uint64_t ms)
{
    world_run(world, world->now_ns + ms * WORLD_MS);
}

static struct world *formed(const struct world_options *options)
{
    struct world *world = world_open(options);
    run_for(world, 500);
    WORLD_CHECK(world, world->commits >= 1 && world->steps_done > 10, "not formed\n");
    return world;
}

static void same_seed_same_course(void **state)
{
    (void)state;
    uint64_t traces[2];
    for (unsigned i = 0; i < 2; i++) {
        struct world_options options = any_options(7);
        struct world *world = world_open(&options);
        for (unsigned fault = 0; fault < 5; fault++) {
            one_fault(world);
            run_for(world, 200);
        }
        traces[i] = world->trace ^ world->events_run;
        world_close(world);
    }
    assert_int_equal(traces[0], traces[1]);
}

/* Steps need no store; it is asked for nothing while nobody fails, joins or leaves. */
static void steps_go_on_without_a_store(void **state)
{
    (void)state;
    struct world_options options = plain(4);
    struct world *world = formed(&options);
    world->store.down_until_ns = UINT64_MAX;
    uint64_t steps = world->steps_done;
    run_for(world, 10000);
    WORLD_CHECK(world, world->steps_done > steps + 100 && world->commits == 1, "stopped\n");
    for (uint32_t i = 0; i < 4; i++)
        WORLD_CHECK(world, world->lives[i]->running, "life %u ended\n", i);
    world_close(world);
}

static void check_all_ended(struct world *world, uint64_t except, enum shoal_status status)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (!(except & bit(i)))
            WORLD_CHECK(world, world->lives[i]->ended && world->lives[i]->status == status,
                        "life %u: ended %d, status %d\n", i, world->lives[i]->ended,
                        (int)world->lives[i]->status);
}

static void a_failure_without_a_store_is_the_same_error_on_all(void **state)
{
    (void)state;
    struct world_options options = plain(4);
    options.no_restart = true;
    struct world *world = formed(&options);
    world->store.down_until_ns = UINT64_MAX;
    world_crash(world, 1);
    run_for(world, 6000);
    check_all_ended(world, bit(1), SHOAL_ERR_STORE);
    world_close(world);
}

static void a_failure_waits_for_the_store(void **state)
{
    (void)state;
    struct world_options options = plain(4);
    options.no_restart = true;
    struct world *world = formed(&options);
    world->store.down_until_ns = world->now_ns + 3 * WORLD_SECOND;
    world_crash(world, 0);
    run_for(world, 4000);
    uint64_t steps = world->steps_done;
    run_for(world, 1000);
    check_alive(world, steps);
    world_close(world);
}

/* Epochs of the store that began anew lie above all that anybody has seen; host_publish checks. */
static void a_lost_journal_ends_the_old_life_and_repeats_no_epoch(void **state)
{
    (void)state;
    struct world_options options = plain(3);
    struct world *world = formed(&options);
    for (unsigned i = 0; i < 3; i++) { /* some epochs to stay above of */
        struct world_life *life = NULL;
        while (!life)
            life = world_in_slot(world, (uint32_t)world_random(world, 3));
        world_crash(world, life->number);
        run_for(world, 1500);
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
    run_for(world, 8000);
    for (uint32_t i = 0; i < old; i++)
        WORLD_CHECK(world, !world->lives[i]->running, "life %u lives on\n", i);
    WORLD_CHECK(world, world->store.record.view_epoch > before, "epoch %llu after %llu\n",
                (unsigned long long)world->store.record.view_epoch, (unsigned long long)before);
    world_close(world);
}

static void the_majority_goes_on(void **state)
{
    (void)state;
    struct world_options options = plain(5);
    options.no_restart = true;
    struct world *world = formed(&options);
    for (uint32_t a = 0; a < 5; a++)
        for (uint32_t b = 0; b < 5; b++)
            if ((a < 2) != (b < 2))
                cut(world, a, b, false, 3 * WORLD_SECOND);
    run_for(world, 2000);
    WORLD_CHECK(world, world->store.record.view.count == 3, "%u members\n",
                world->store.record.view.count);
    run_for(world, 4000);
    uint64_t steps = world->steps_done;
    run_for(world, 1000);
    check_alive(world, steps);
    check_all_ended(world, world_lives_of(world, &world->store.record.view), SHOAL_ERR_EPOCH);
    world_close(world);
}

static void one_way_cuts_end_in_one_view(void **state)
{
    (void)state;
    for (uint32_t a = 0; a < 4; a++) {
        for (uint32_t b = 0; b < 4; b++) {
            struct world_options options = plain(4);
            options.no_restart = true;
            if (a == b)
                continue;
            struct world *world = formed(&options);
            uint64_t epoch = world->store.record.epoch;
            cut(world, a, b, false, 2 * WORLD_SECOND);
            run_for(world, 1000);
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
        struct world_options options = plain(3);
        uint32_t stopped = pair / 3, first = pair % 3;
        options.no_restart = true;
        if (stopped == first)
            continue;
        struct world *world = formed(&options);
        const struct shl_record *record = &world->store.record;
        cut(world, stopped, first, false, 4 * WORLD_SECOND);
        run_for(world, 80);
        world_in_slot(world, stopped)->stopped_until_ns = world->now_ns + 4 * WORLD_SECOND;
        for (uint32_t ms = 0; ms < 2000; ms++) {
            run_for(world, 1);
            WORLD_CHECK(world,
                        record->phase != SHL_PHASE_PREPARED ||
                            world_lives_of(world, &record->next) == (7 & ~bit(stopped)),
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
        struct world_options options = plain(4);
        options.mode = mode;
        struct world *world = formed(&options);
        uint32_t views = world->commits;
        for (uint32_t i = 0; i < 200; i++) {
            one_wish(world);
            run_for(world, 10);
        }
        uint64_t steps = world->steps_done;
        run_for(world, 1000);
        check_alive(world, steps);
        WORLD_CHECK(world, world->wishes > 20 && world->commits > views + 20, "%u wishes\n",
                    world->wishes);
        WORLD_CHECK(world, world->store.record.view.count == 4 && !world->evictions, "lost one\n");
        world_close(world);
    }
}

static void too_small_a_world_waits_and_fails(void **state)
{
    (void)state;
    struct world_options options = plain(3);
    options.min = 3;
    options.no_restart = true;
    struct world *world = formed(&options);
    world_crash(world, 2);
    run_for(world, 2000);
    WORLD_CHECK(world, world->lives[0]->running && world->commits == 1, "did not wait\n");
    run_for(world, 4000);
    check_all_ended(world, bit(2), SHOAL_ERR_EPOCH);
    world_close(world);
}

/* With a spare one that waits, a full world of least size replaces a lost member at once. */
static void a_spare_takes_the_place(void **state)
{
    (void)state;
    for (unsigned mode = SHL_STEP_RETAIN; mode <= SHL_STEP_ABORT; mode++) {
        struct world_options options = plain(4);
        options.mode = mode;
        options.start = options.min = options.max = 3;
        options.no_restart = true;
        struct world *world = formed(&options);
        uint32_t gone = world_life_of(world, world->store.record.view.at[1].id);
        world_crash(world, gone);
        run_for(world, 1000);
        uint64_t steps = world->steps_done;
        run_for(world, 1000);
        check_alive(world, steps);
        WORLD_CHECK(world, world->store.record.view.count == 3, "no spare\n");
        world_close(world);
    }
}

static void joins_and_leaves_abort_nothing(void **state)
{
    (void)state;
    for (unsigned loose = 0; loose < 2; loose++) {
        struct world_options options = plain(6);
        options.mode = SHL_STEP_ABORT;
        options.loose = loose;
        options.start = 2;
        struct world *world = formed(&options);
        run_for(world, 500);
        WORLD_CHECK(world, world->store.record.view.count == 6, "not all came in\n");
        for (uint32_t i = 0; i < 4; i++) {
            shl_membership_leave(world_in_slot(world, i)->core, world->now_ns);
            if (i % 2)
                run_for(world, 500);
        }
        WORLD_CHECK(world, world->store.record.view.count == 2 && world->leaves == 4,
                    "%u members, %u left\n", world->store.record.view.count, world->leaves);
        WORLD_CHECK(world, !world->retries && !world->failures && !world->redone,
                    "something was aborted\n");
        world_close(world);
    }
}

/* A member stops for about as long as it takes to evict it, and goes on with what it was doing. */
static uint32_t zombies(enum world_broken_rule rule)
{
    uint32_t found = 0;
    for (uint64_t ms = 100; ms < 220; ms++) {
        struct world_options options = plain(4);
        options.seed = ms;
        options.loose = options.optimistic = true;
        options.broken = rule;
        struct world *world = formed(&options);
        world->lives[ms % 4]->stopped_until_ns = world->now_ns + ms * WORLD_MS;
        run_for(world, 600);
        found += world->troubles > 0;
        world_close(world);
    }
    return found;
}

static uint32_t troubles(enum world_broken_rule rule)
{
    struct tally tally = {0};
    uint32_t found = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world_options options = any_options(seed);
        options.broken = rule;
        options.optimistic = true;
        options.mode = SHL_STEP_RETAIN;
        struct world *world = world_open(&options);
        world_run(world, 200 * WORLD_MS);
        for (uint32_t i = 0; i < 6 && !world->troubles; i++) {
            one_fault(world);
            run_for(world, 200);
        }
        found += world->troubles > 0;
        count(&tally, world);
        world_close(world);
    }
    return found;
}

static void broken_rules_are_noticed(void **state)
{
    (void)state;
    assert_int_equal(troubles(WORLD_RULES_KEPT), 0);
    assert_int_equal(zombies(WORLD_RULES_KEPT), 0);
    assert_true(zombies(WORLD_NO_FENCE) > 0);
    assert_true(troubles(WORLD_NO_ROUND) > 0);
    assert_true(troubles(WORLD_NO_STEP_RETENTION) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_course),
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
        cmocka_unit_test(joins_and_leaves_abort_nothing),
        cmocka_unit_test(broken_rules_are_noticed),
        cmocka_unit_test(schedules_of_faults),
    };
    return cmocka_run_group_tests_name("membership_sim", tests, NULL, NULL);
}
