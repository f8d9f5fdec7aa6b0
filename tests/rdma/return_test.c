/*
 * Ways to peers that are looked for by several rails at once, and rails that come back after they
 * failed: who is waited for, who is trusted, and what is tried again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/in_place_world.h"

#include "core/log.h"
#include "core/sys.h"
#include "support/temp.h"
#include "support/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define PEERS 5                       /* of rank 0 of 8 that are no neighbours */
#define WAIT_NS UINT64_C(30000000000) /* no test takes so long that does not hang */

/* ---- the kernel's answers -------------------------------------------------------------------- */

static struct {
    pthread_mutex_t gate; /* while it is locked, pairs of rails[held] connect nobody */
    pthread_t tester;     /* but those of this thread */
    uint32_t held;        /* rails, as bits */
    uint32_t unheld;      /* so many of a rank, first, are not held */
    atomic_uint asked[WORLD_RANKS_MAX]; /* connecting by rank, in other threads */
    atomic_uint begun;                  /* connecting by rank 0 and a rail that is held */
    int errors[RAILS];                  /* what becomes of connecting by rail; 0: it works */
    uint32_t dead;                      /* rails, as bits, by which nothing arrives */
    atomic_uint written;                /* messages, or parts of them, by these */
} kernel = {.gate = PTHREAD_MUTEX_INITIALIZER};

static struct world *world;
static const struct ibv_context *contexts[WORLD_RANKS_MAX][RAILS]; /* of all ranks that are open */

/* The rail of a pair; RAILS: of a rank that is still to be open. */
static uint32_t rail_of(const struct ibv_qp *qp, uint32_t *rank)
{
    for (*rank = 0; *rank < WORLD_RANKS_MAX; ++*rank)
        for (uint32_t rail = 0; rail < RAILS; rail++)
            if (contexts[*rank][rail] == qp->context)
                return rail;
    return RAILS;
}

static int connect_in_time(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    uint32_t rank, rail = rail_of(qp, &rank);
    if (attr->qp_state != IBV_QPS_RTR || pthread_equal(pthread_self(), kernel.tester) ||
        rail == RAILS)
        return verbs->modify_qp(qp, attr, mask);
    uint32_t number = kernel.asked[rank]++;
    if (kernel.held >> rail & 1 && number >= kernel.unheld) {
        kernel.begun += rank == 0;
        pthread_mutex_lock(&kernel.gate);
        pthread_mutex_unlock(&kernel.gate);
    }
    return kernel.errors[rail] ? kernel.errors[rail] : verbs->modify_qp(qp, attr, mask);
}

static int post_in_vain(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    uint32_t rank, rail = rail_of(qp, &rank);
    if (kernel.dead >> rail & 1) {
        kernel.written += chain->num_sge > 0;
        break_pair(qp);
    }
    return verbs->post_send(qp, chain, bad);
}

static struct shl_verbs_sys table;

static void open_ranks(uint32_t size)
{
    table = *shl_verbs;
    table.modify_qp = connect_in_time;
    table.post_send = post_in_vain;
    shl_verbs = &table;
    kernel.tester = pthread_self();
    kernel.held = kernel.dead = 0;
    kernel.begun = kernel.written = 0;
    kernel.unheld = 0;
    for (uint32_t rank = 0; rank < WORLD_RANKS_MAX; rank++)
        kernel.asked[rank] = 0;
    memset(kernel.errors, 0, sizeof(kernel.errors));
    memset(contexts, 0, sizeof(contexts));
    world = world_open(&adapter, size, 1);
    for (uint32_t rank = 0; rank < size; rank++) {
        world->ranks[rank].t->register_bytes = 64 * KIB;
        for (uint32_t rail = 0; rail < RAILS; rail++)
            contexts[rank][rail] = world->ranks[rank].t->rails[rail].context;
    }
}

/* ---- looking for ways ------------------------------------------------------------------------ */

static void exchange(uint32_t a, uint32_t b, uint64_t seq)
{
    const struct message_plan there = {.from = a, .to = b, .seq = seq, .bytes = 40000};
    const struct message_plan back = {.from = b, .to = a, .seq = seq, .msg = 1, .bytes = 100};
    message_exchange(world, &there);
    message_exchange(world, &back);
}

static bool is_connected(void *arg)
{
    uint32_t peer = *(uint32_t *)arg;
    const struct shl_verbs_link *a = link_of(world, 0, peer), *b = link_of(world, peer, 0);
    return a->rail < RAILS && b->rail < RAILS && a->direct.up && b->direct.up;
}

static bool has_all_rails(void *arg)
{
    uint32_t peer = *(uint32_t *)arg;
    return is_connected(arg) &&
           shl_verbs_direct_lanes(&link_of(world, 0, peer)->direct) == RAILS * qps;
}

/* The network of a rail answers nobody: links connect by the others meanwhile, more of them than
 * there are threads that wait for it, and get the rail when it answers. */
static void a_rail_that_does_not_answer_delays_nobody(void **state)
{
    (void)state;
    open_ranks(8);
    pthread_mutex_lock(&kernel.gate);
    kernel.held = 1;
    for (uint32_t peer = 2; peer < 2 + PEERS; peer++)
        exchange(0, peer, peer);
    for (uint32_t peer = 2; peer < 2 + PEERS; peer++) {
        world_run(world, is_connected, &peer);
        CHECK(world, link_of(world, 0, peer)->rail != 0 && link_of(world, peer, 0)->rail != 0);
        CHECK(world, !link_of(world, 0, peer)->direct.lanes[0].qp);
    }
    pthread_mutex_unlock(&kernel.gate);
    for (uint32_t peer = 2; peer < 2 + PEERS; peer++)
        world_run(world, has_all_rails, &peer);
    world_close(world);
}

static bool asks_are_begun(void *arg)
{
    return kernel.begun >= *(uint32_t *)arg;
}

/* Who ends its links waits for what the kernel is at, and not for what it was still to be asked. */
static void nothing_more_is_asked_by_who_ends(void **state)
{
    uint32_t threads = 4; /* a rail */
    (void)state;
    open_ranks(8);
    pthread_mutex_lock(&kernel.gate);
    kernel.held = 1;
    for (uint32_t peer = 2; peer < 2 + PEERS; peer++)
        exchange(0, peer, peer);
    world_run(world, asks_are_begun, &threads);
    for (uint32_t peer = 2; peer < 2 + PEERS; peer++)
        world->ops->drop_peer(world->ranks[0].t, peer);
    pthread_mutex_unlock(&kernel.gate);
    world_close(world);
    assert_int_equal(kernel.begun, threads);
}

/* What a quest has found is used although the sign that it has was taken before. */
static void who_has_found_a_way_does_not_sleep(void **state)
{
    struct message message;
    const struct message_plan plan = {.from = 0, .to = 2, .seq = 1, .bytes = 8};
    (void)state;
    open_ranks(4);
    message_make(world, &plan, &message);
    message_post_send(&message);
    message_post_recv(&message);
    struct shl_verbs_link *link = link_of(world, 0, 2);
    CHECK(world, link->quest != NULL || real);
    for (uint64_t end_ns = shl_now_ns() + WAIT_NS; link->quest && !shl_verbs_sought_any(link);) {
        CHECK(world, shl_now_ns() < end_ns); /* nobody polls, who would take it */
        usleep(100);
    }
    if (link->quest) {
        CHECK(world, shl_verbs_seek_hear(world->ranks[0].t) > 0);
        CHECK(world, !world->ops->arm(world->ranks[0].t, true));
    }
    world_run(world, message_done, &message);
    message_verify(&message);
    message_free(&message);
    world_close(world);
}

/* Frames stay on the channel until a lane is proved. Nobody looks again meanwhile, which would take
 * back what was found. */
static void what_was_found_is_not_sought_again(void **state)
{
    uint32_t peer = 2;
    (void)state;
    open_ranks(4);
    pthread_mutex_lock(&kernel.gate);
    kernel.held = (1u << RAILS) - 1;
    kernel.unheld = RAILS;
    exchange(0, peer, 1);
    world_run(world, has_all_rails, &peer);
    CHECK(world, kernel.asked[0] <= RAILS && kernel.asked[peer] <= RAILS);
    CHECK(world, link_of(world, 0, peer)->move.life == 1);
    pthread_mutex_unlock(&kernel.gate);
    world_close(world);
}

static bool has_no_quest(void *arg)
{
    uint32_t peer = *(uint32_t *)arg;
    return !link_of(world, 0, peer)->quest && !link_of(world, peer, 0)->quest;
}

/* Each rail that finds no way says why. */
static void every_rail_has_its_own_cause(void **state)
{
    struct shl_test_temp temp;
    char path[SHL_TEST_PATH_BYTES], text[8192] = "";
    uint32_t peer = 2;
    (void)state;
    shl_test_temp_create(&temp);
    shl_test_temp_write(&temp, "log", "", 0, path);
    open_ranks(4);
    kernel.errors[1] = ETIMEDOUT;
    kernel.errors[2] = EHOSTUNREACH;
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, path));
    exchange(0, peer, 1);
    world_run(world, is_connected, &peer);
    world_run(world, has_no_quest, &peer);
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, NULL));
    CHECK(world, link_of(world, 0, 2)->rail == 0);
    world_close(world);
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    size_t got = fread(text, 1, sizeof(text) - 1, log);
    fclose(log);
    shl_test_temp_remove(&temp);
    if (got == 0 || !strstr(text, strerror(ETIMEDOUT)) || !strstr(text, strerror(EHOSTUNREACH)))
        fail_msg("the log says: %s", text);
}

/* A link that slept first has carried something when its peer's device has acknowledged it, though
 * nothing has come back. */
static void what_is_acknowledged_was_carried(void **state)
{
    uint32_t peer = 2;
    (void)state;
    open_ranks(4);
    exchange(0, peer, 1);
    world_run(world, has_all_rails, &peer);
    struct shl_verbs_link *link = link_of(world, 0, peer);
    world_settle(world);
    link->proof_received = false;
    for (uint32_t i = 0; i < SHL_VERBS_SIGNAL; i++) {
        const struct message_plan plan = {.from = 0, .to = peer, .seq = 2, .msg = i, .bytes = 8};
        message_exchange(world, &plan);
    }
    world_settle(world);
    CHECK(world, link->proof_received);
    world_close(world);
}

/* ---- coming back ----------------------------------------------------------------------------- */

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

/* ---- the control channel --------------------------------------------------------------------- */

/* After a cut it has to tell what became of the rails, so it may not wait ever longer to repeat. */
static void the_channel_keeps_pace_in_a_cut(void **state)
{
    (void)state;
    open_ranks(2);
    for (uint32_t end = 0; end < 2; end++) {
        int linear = 0;
        socklen_t bytes = sizeof(linear);
        CHECK(world, getsockopt(link_of(world, end, 1 - end)->fd, IPPROTO_TCP,
                                TCP_THIN_LINEAR_TIMEOUTS, &linear, &bytes) == 0);
        CHECK(world, linear == 1);
    }
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_rail_that_does_not_answer_delays_nobody, set_up),
        cmocka_unit_test_setup(nothing_more_is_asked_by_who_ends, set_up),
        cmocka_unit_test_setup(who_has_found_a_way_does_not_sleep, set_up),
        cmocka_unit_test_setup(what_was_found_is_not_sought_again, set_up),
        cmocka_unit_test_setup(every_rail_has_its_own_cause, set_up),
        cmocka_unit_test_setup(what_is_acknowledged_was_carried, set_up),
        cmocka_unit_test_setup(a_rail_that_failed_is_tried_again, set_up),
        cmocka_unit_test_setup(a_rail_that_is_not_found_is_not_trusted, set_up),
        cmocka_unit_test_setup(a_rail_that_returns_is_not_missing, set_up),
        cmocka_unit_test_setup(nobody_is_kept_awake_by_who_has_gone, set_up),
        cmocka_unit_test_setup(a_rail_that_does_not_carry_gets_no_message, set_up),
        cmocka_unit_test_setup(a_lane_that_is_not_proved_shares_nothing, set_up),
        cmocka_unit_test_setup(after_a_short_cut_frames_come_back_at_once, set_up),
        cmocka_unit_test_setup(frames_wait_for_a_rail_that_carries, set_up),
        cmocka_unit_test_setup(frames_wait_for_lanes_that_failed, set_up),
        cmocka_unit_test_setup(the_channel_keeps_pace_in_a_cut, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_return", tests, NULL, NULL);
}
