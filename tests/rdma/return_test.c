/*
 * Rails that come back after they failed: who is trusted, and what is tried again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/way_world.h"

#include "core/sys.h"
#include "support/test.h"

#define WAIT_NS UINT64_C(30000000000) /* no test takes so long that does not hang */

static bool has_left(uint32_t rails)
{
    for (uint32_t end = 0; end < 2; end++) {
        const struct shl_verbs_direct *direct = &link_of(world, end, 1 - end)->direct;
        for (uint32_t rail = 0; rail < RAILS; rail++)
            if (!direct->up || direct->reset_wanted ||
                (direct->lanes[rail].qp == NULL) != (rails >> rail & 1))
                return false;
    }
    return true;
}

/* has_left_of(rails) - both ends do without these rails, as bits, and have all others. */
static bool has_left_of(void *arg)
{
    return has_left(*(uint32_t *)arg);
}

static void retry_now(uint32_t rank)
{
    link_of(world, rank, 1 - rank)->move.retry_ns = shl_now_ns();
}

/* Two ranks that have lost rails for writing in place, and do not try them again on their own. */
static void lose(uint32_t rails)
{
    open_ranks(2);
    hold_retries(world);
    for (uint32_t rail = 0; rail < RAILS; rail++)
        if (rails >> rail & 1)
            shl_verbs_rail_fail(link_of(world, 0, 1), rail, "as a test wants it");
    world_run(world, has_left_of, &rails);
}

static bool has_proved_all(void *arg)
{
    return !link_of(arg, 0, 1)->direct.unproved && !link_of(arg, 1, 0)->direct.unproved;
}

static void a_rail_that_failed_is_tried_again(void **state)
{
    uint32_t none = 0, two = 1u << 2;
    (void)state;
    for (uint32_t rank = 0; rank < 2; rank++) { /* whoever has seen it fail tries */
        lose(two);
        if (rank == 1) {
            link_of(world, 0, 1)->direct.bad = 0;
            link_of(world, 1, 0)->direct.bad = two;
        }
        retry_now(rank);
        world_run(world, has_left_of, &none);
        world_run(world, has_proved_all, world);
        struct parcel parcel = {.bytes = 8 * MIB};
        parcel_move(world, 1, &parcel);
        CHECK(world, link_of(world, 0, 1)->direct.lanes[2].requested > 1);
        CHECK(world, nobody_is_lost(world));
        world_close(world);
    }
}

/* Only what was found is trusted again, and not what else had failed. */
static void a_rail_that_is_not_found_is_not_trusted(void **state)
{
    uint32_t none = 0, two = 1u << 2;
    (void)state;
    lose(1u << 1 | two);
    pthread_mutex_lock(&kernel.gate);
    kernel.held = two;
    retry_now(0);
    world_run(world, has_left_of, &two);
    CHECK(world, link_of(world, 0, 1)->direct.bad == two);
    pthread_mutex_unlock(&kernel.gate);
    world_run(world, has_left_of, &none);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

/* A port tells of itself while its rail is about to be used again: that the way is looked for once
 * more takes nothing back. */
static void a_rail_that_returns_is_not_missing(void **state)
{
    uint32_t none = 0, two = 1u << 2;
    (void)state;
    lose(two);
    struct shl_verbs_link *link = link_of(world, 0, 1);
    pthread_mutex_lock(&kernel.gate);
    kernel.held = two;
    shl_verbs_move_found(link, two);
    shl_verbs_seek(link, two);
    CHECK(world, link->direct.returned == two && !link->move.missing);
    world_run(world, has_left_of, &none);
    world_run(world, has_proved_all, world);
    pthread_mutex_unlock(&kernel.gate);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

static bool has_begun_to_ask(void *arg)
{
    (void)arg;
    return kernel.begun > 0;
}

static bool link_is_gone(void *link)
{
    return ((struct shl_verbs_link *)link)->state == SHL_VERBS_GONE;
}

static bool quest_is_over(void *arg)
{
    const struct shl_verbs_link *link = arg;
    return !link->quest || shl_verbs_sought_any(link);
}

static bool may_sleep(void *t)
{
    return world->ops->arm(t, true);
}

/* A peer closes while a way to it is looked for, or pairs are to be made anew. */
static void nobody_is_kept_awake_by_who_has_gone(void **state)
{
    (void)state;
    lose(1u << 2);
    struct shl_verbs_link *link = link_of(world, 0, 1);
    pthread_mutex_lock(&kernel.gate);
    kernel.held = 1u << 2;
    retry_now(0);
    world_run(world, has_begun_to_ask, NULL);
    world->ops->close(world->ranks[1].t);
    world->ranks[1].t = NULL;
    world->ranks[1].crashed = true;
    world_run(world, link_is_gone, link);
    link->direct.reset_wanted = true;
    pthread_mutex_unlock(&kernel.gate);
    world_run(world, quest_is_over, link);
    world_run(world, may_sleep, world->ranks[0].t);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

static bool has_tried(void *arg)
{
    return link_of(world, 0, 1)->direct.life >= *(uint64_t *)arg && has_left(1u << 2);
}

/* The way to the peer is known, and yet nothing arrives: no message is given to the rail. */
static void a_rail_that_does_not_carry_gets_no_message(void **state)
{
    (void)state;
    lose(1u << 2);
    struct shl_verbs_link *link = link_of(world, 0, 1);
    kernel.dead = 1u << 2;
    link->move.pause_ns = 0;
    for (uint32_t i = 1; i <= 3; i++) {
        struct parcel parcel = {.bytes = 8 * MIB};
        uint64_t after = link->direct.life + 2; /* one with the rail, and one without again */
        uint64_t pause_ns = link->move.pause_ns;
        retry_now(0);
        parcel_move(world, i, &parcel);
        world_run(world, has_tried, &after);
        CHECK(world, link->move.pause_ns > pause_ns);
    }
    CHECK(world, kernel.written == 0 && nobody_is_lost(world));
    world_close(world);
}

/* Nor does it make the requests of the others smaller, which would share with it. */
static void a_lane_that_is_not_proved_shares_nothing(void **state)
{
    struct parcel parcel = {.bytes = 8 * MIB};
    (void)state;
    open_ranks(2);
    struct shl_verbs_link *link = link_of(world, 0, 1);
    link->direct.unproved = ((1u << RAILS) - 1) & ~1u;
    parcel_move(world, 1, &parcel);
    CHECK(world, qps > 1 || link->direct.lanes[0].requested == 16); /* of 512 KiB */
    for (uint32_t rail = 1; rail < RAILS; rail++)
        CHECK(world, link->direct.lanes[rail].requested == 0);
    world_close(world);
}

static bool channel_carries(void *arg)
{
    return link_of(arg, 0, 1)->rail == SHL_VERBS_CHANNEL &&
           link_of(arg, 1, 0)->rail == SHL_VERBS_CHANNEL;
}

static bool rail_carries(void *arg)
{
    return link_of(arg, 0, 1)->rail < RAILS && link_of(arg, 1, 0)->rail < RAILS;
}

static void lose_all(void)
{
    open_ranks(2);
    for (uint32_t end = 0; end < 2; end++) /* since when they have carried */
        link_of(world, end, 1 - end)->move.since_ns = 0;
    for (uint32_t rail = 0; rail < RAILS; rail++)
        shl_verbs_rail_fail(link_of(world, 0, 1), rail, "as a test wants it");
}

/* All rails fail for a moment. When the peer is heard by the channel they are tried at once, and
 * not after the first pause. */
static void after_a_short_cut_frames_come_back_at_once(void **state)
{
    (void)state;
    lose_all();
    uint64_t began_ns = link_of(world, 0, 1)->move.retry_ns; /* had it been left to that */
    world_run(world, channel_carries, world);
    CHECK(world, link_of(world, 0, 1)->move.retry_ns < began_ns);
    world_run(world, rail_carries, world);
    exchange(0, 1, 1);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

/* Rails do not carry, though ways are found: frames stay on the channel. */
static void frames_wait_for_a_rail_that_carries(void **state)
{
    uint64_t lives = 3; /* one without pairs, one that tries them, and one without again */
    (void)state;
    open_ranks(2);
    kernel.dead = (1u << RAILS) - 1;
    for (uint32_t rail = 0; rail < RAILS; rail++)
        shl_verbs_rail_fail(link_of(world, 0, 1), rail, "as a test wants it");
    world_run(world, channel_carries, world);
    uint64_t moves = link_of(world, 0, 1)->move.life;
    kernel.written = 0;
    const uint64_t end_ns = shl_now_ns() + WAIT_NS;
    for (uint64_t seq = 1; link_of(world, 0, 1)->direct.life < lives; seq++) {
        CHECK(world, shl_now_ns() < end_ns);
        exchange(0, 1, seq);
    }
    CHECK(world, link_of(world, 0, 1)->move.life == moves && kernel.written == 0);
    kernel.dead = 0;
    retry_now(0);
    world_run(world, rail_carries, world);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

/* Rails fail while their lanes await the peer's, and ways by them are found: frames stay on the
 * channel, since the lanes are to be made anew. */
static void frames_wait_for_lanes_that_failed(void **state)
{
    uint32_t all = (1u << RAILS) - 1;
    (void)state;
    open_ranks(2);
    hold_retries(world);
    struct shl_verbs_link *link = link_of(world, 0, 1);
    uint32_t first = 1u << link->rail;
    for (uint32_t end = 0; end < 2; end++) /* for frames, until the channel carries */
        link_of(world, end, 1 - end)->move.unfit = all;
    shl_verbs_rail_fail(link, link->rail, "as a test wants it");
    world_run(world, channel_carries, world);
    world_run(world, has_left_of, &first);
    shl_verbs_direct_reset(link);
    for (uint32_t rail = 0; rail < RAILS; rail++)
        shl_verbs_rail_fail(link, rail, "as a test wants it");
    CHECK(world, !link->direct.up && link->direct.reset_wanted);
    shl_verbs_move_found(link, all & ~first);
    CHECK(world, link->rail == SHL_VERBS_CHANNEL && link->move.step == SHL_VERBS_SETTLED);
    world_run(world, has_left_of, &all);
    retry_now(0);
    world_run(world, rail_carries, world);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_rail_that_failed_is_tried_again, set_up),
        cmocka_unit_test_setup(a_rail_that_is_not_found_is_not_trusted, set_up),
        cmocka_unit_test_setup(a_rail_that_returns_is_not_missing, set_up),
        cmocka_unit_test_setup(nobody_is_kept_awake_by_who_has_gone, set_up),
        cmocka_unit_test_setup(a_rail_that_does_not_carry_gets_no_message, set_up),
        cmocka_unit_test_setup(a_lane_that_is_not_proved_shares_nothing, set_up),
        cmocka_unit_test_setup(after_a_short_cut_frames_come_back_at_once, set_up),
        cmocka_unit_test_setup(frames_wait_for_a_rail_that_carries, set_up),
        cmocka_unit_test_setup(frames_wait_for_lanes_that_failed, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_return", tests, NULL, NULL);
}
