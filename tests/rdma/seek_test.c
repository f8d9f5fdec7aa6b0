/*
 * Ways to peers that are looked for by several rails at once: who is waited for, what is asked
 * again, and what a way that was found is taken for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/way_world.h"

#include "core/log.h"
#include "core/sys.h"
#include "support/temp.h"
#include "support/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#define PEERS 5                       /* of rank 0 of 8 that are no neighbours */
#define WAIT_NS UINT64_C(30000000000) /* no test takes so long that does not hang */

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
        cmocka_unit_test_setup(the_channel_keeps_pace_in_a_cut, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_seek", tests, NULL, NULL);
}
