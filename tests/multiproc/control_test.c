/*
 * Control between real processes: floods, deaths, stops, departures.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "multiproc/control_ranks.h"
#include "support/test.h"

#include <signal.h>

#define SECOND 1000000000ull

static const char *const patient[] = {"SHOAL_DEAD_AFTER_MS=20000", NULL};

static uint64_t mask(uint32_t size)
{
    return size == 64 ? UINT64_MAX : (1ull << size) - 1;
}

static void form(struct ranks *ranks)
{
    ranks_launch(ranks);
    ranks_start(ranks);
    ranks_await_started(ranks);
}

static void assert_nobody_lost(const struct ranks *ranks, uint64_t alive)
{
    for (uint32_t rank = 0; rank < ranks->size; rank++)
        for (uint32_t other = 0; other < ranks->size && (alive >> rank & 1); other++)
            if ((alive >> other & 1) && ranks->board->view[rank].lost[other])
                fail_msg("rank %u lost rank %u: %s", rank, other,
                         ranks->board->view[rank].lost_cause[other]);
}

static void every_rank_gets_every_flood_once_in_order(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 8, 13};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ranks ranks = {.size = sizes[i], .settings = patient};
        form(&ranks);
        ranks_flood(&ranks, 50, 100);
        ranks_await_floods(&ranks, mask(ranks.size), mask(ranks.size), 50);
        ranks_flood(&ranks, 54, SHL_CONTROL_PAYLOAD_MAX);
        ranks_await_floods(&ranks, mask(ranks.size), mask(ranks.size), 54);
        assert_nobody_lost(&ranks, mask(ranks.size));
        ranks_finish(&ranks, mask(ranks.size));
    }
}

static void a_killed_rank_is_lost_at_once(void **state)
{
    (void)state;
    for (int over_tcp = 0; over_tcp < 2; over_tcp++) {
        /* So patient that only the closed connection and the refused one can tell. */
        struct ranks ranks = {.size = 8, .settings = patient, .over_tcp = over_tcp};
        form(&ranks);
        uint64_t killed = shl_now_ns();
        ranks_kill(&ranks, 3, SIGKILL);
        uint64_t took = ranks_await_lost(&ranks, mask(8) & ~8ull, 3, killed);
        print_message("killed rank known to all after %.1f ms\n", (double)took / 1e6);
        assert_true(took < 10 * SECOND);
        for (uint32_t rank = 0; rank < 8; rank++)
            if (rank != 3)
                assert_non_null(strstr(ranks.board->view[rank].lost_cause[3], "seen by rank "));
        ranks_flood(&ranks, 20, 300);
        ranks_await_floods(&ranks, mask(8) & ~8ull, mask(8) & ~8ull, 20);
        assert_nobody_lost(&ranks, mask(8) & ~8ull);
        ranks_finish(&ranks, mask(8) & ~8ull);
    }
}

static void a_stopped_rank_is_lost_and_learns_it(void **state)
{
    struct ranks ranks = {.size = 8};
    uint64_t others = mask(8) & ~(1ull << 5);
    (void)state;
    form(&ranks);
    uint64_t stopped = shl_now_ns();
    ranks_kill(&ranks, 5, SIGSTOP);
    uint64_t took = ranks_await_lost(&ranks, others, 5, stopped);
    print_message("stopped rank known to all after %.0f ms\n", (double)took / 1e6);
    for (uint32_t rank = 0; rank < 8; rank++)
        if (rank != 5)
            assert_non_null(strstr(ranks.board->view[rank].lost_cause[5], "no sign of life"));
    ranks_flood(&ranks, 10, 64);
    ranks_await_floods(&ranks, others, others, 10);
    assert_nobody_lost(&ranks, others);
    /* When it goes on it must not believe that all others are lost. */
    ranks_kill(&ranks, 5, SIGCONT);
    ranks_await_lost(&ranks, 1ull << 5, 5, stopped);
    ranks_finish(&ranks, mask(8));
}

static void short_stops_are_forgiven(void **state)
{
    struct ranks ranks = {.size = 4,
                          .settings = (const char *const[]){"SHOAL_DEAD_AFTER_MS=2000", NULL}};
    (void)state;
    form(&ranks);
    for (uint32_t round = 1; round <= 4; round++) {
        ranks_kill(&ranks, round % 4, SIGSTOP);
        ranks_flood(&ranks, 10 * round, 64);
        shl_time->sleep_ns(SECOND / 3);
        ranks_kill(&ranks, round % 4, SIGCONT);
        ranks_await_floods(&ranks, mask(4), mask(4), 10 * round);
    }
    assert_nobody_lost(&ranks, mask(4));
    ranks_finish(&ranks, mask(4));
}

/* A thread that spins is to others like one that waits for a CPU: runnable, and silent. */
static void who_gets_no_cpu_is_not_lost(void **state)
{
    struct ranks ranks = {.size = 4,
                          .settings = (const char *const[]){"SHOAL_DEAD_AFTER_MS=300",
                                                            "SHOAL_HEARTBEAT_MS=50", NULL}};
    (void)state;
    form(&ranks);
    ranks.board->busy_ns = SECOND;
    ranks.board->busy = 1ull << 2;
    ranks_flood(&ranks, 10, 64);
    ranks_await_floods(&ranks, mask(4), mask(4), 10);
    assert_int_equal(ranks.board->busy, 0);
    assert_nobody_lost(&ranks, mask(4));
    /* But nobody is waited for without end. */
    uint64_t others = mask(4) & ~4ull, since = shl_now_ns();
    ranks.board->busy_ns = 15 * SECOND;
    ranks.board->busy = 1ull << 2;
    ranks_flood(&ranks, 11, 64);
    ranks_await_lost(&ranks, others, 2, since);
    assert_true(shl_now_ns() - since > 2 * SECOND);
    ranks_kill(&ranks, 2, SIGKILL);
    ranks_finish(&ranks, others);
}

/* As when a virtual machine is paused: silence all around, and one's own clock has jumped. */
static void who_was_absent_himself_accuses_nobody(void **state)
{
    struct ranks ranks = {.size = 4,
                          .settings = (const char *const[]){"SHOAL_DEAD_AFTER_MS=900", NULL}};
    (void)state;
    form(&ranks);
    for (uint32_t rank = 0; rank < 4; rank++)
        ranks_kill(&ranks, rank, SIGSTOP);
    shl_time->sleep_ns(2 * SECOND);
    for (uint32_t rank = 0; rank < 4; rank++)
        ranks_kill(&ranks, rank, SIGCONT);
    ranks_flood(&ranks, 10, 64);
    ranks_await_floods(&ranks, mask(4), mask(4), 10);
    assert_nobody_lost(&ranks, mask(4));
    ranks_finish(&ranks, mask(4));
}

static void who_says_goodbye_is_not_lost(void **state)
{
    struct ranks ranks = {.size = 9};
    (void)state;
    form(&ranks);
    ranks_flood(&ranks, 30, 1000);
    ranks_await_floods(&ranks, mask(9), mask(9), 30);
    ranks_leave(&ranks, 1ull << 0 | 1ull << 4);
    uint64_t rest = mask(9) & ~(1ull << 0 | 1ull << 4);
    ranks_flood(&ranks, 60, 1000);
    ranks_await_floods(&ranks, rest, rest, 60);
    for (uint32_t rank = 0; rank < 9; rank++)
        for (uint32_t other = 0; other < 9; other++)
            assert_int_equal(ranks.board->view[rank].lost[other], 0);
    ranks_finish(&ranks, mask(9));
}

static void many_ranks_on_few_cores(void **state)
{
    struct ranks ranks = {.size = 64, .settings = patient};
    uint64_t others = mask(64) & ~(1ull << 17 | 1ull << 18);
    (void)state;
    ranks_launch(&ranks);
    uint64_t begun = shl_now_ns();
    ranks_start(&ranks);
    ranks_await_started(&ranks);
    print_message("64 ranks met after %.0f ms\n", (double)(shl_now_ns() - begun) / 1e6);
    ranks_flood(&ranks, 3, 100);
    ranks_await_floods(&ranks, mask(64), mask(64), 3);
    uint64_t killed = shl_now_ns();
    ranks_kill(&ranks, 17, SIGKILL);
    ranks_kill(&ranks, 18, SIGKILL);
    ranks_await_lost(&ranks, others, 17, killed);
    ranks_await_lost(&ranks, others, 18, killed);
    ranks_flood(&ranks, 5, 100);
    ranks_await_floods(&ranks, others, others, 5);
    for (uint32_t rank = 0; rank < 64; rank++)
        for (uint32_t other = 17; other < 19; other++)
            if (others >> rank & 1)
                assert_int_equal(ranks.board->view[rank].lost[other], 1);
    assert_nobody_lost(&ranks, others);
    ranks_finish(&ranks, others);
}

/* ---- starts that fail -------------------------------------------------------------------- */

static void a_rank_that_died_before_the_start_is_named_at_once(void **state)
{
    struct ranks ranks = {.size = 5, .start_ms = 30000};
    (void)state;
    ranks_launch(&ranks);
    ranks_kill(&ranks, 3, SIGKILL);
    ranks_start(&ranks);
    for (uint32_t rank = 0; rank < 5; rank++) {
        if (rank == 3)
            continue;
        assert_int_equal(ranks_await_outcome(&ranks, rank), SHOAL_ERR_PEER);
        assert_non_null(strstr(ranks.board->view[rank].detail, "rank 3"));
    }
    ranks_finish(&ranks, mask(5) & ~8ull);
}

static void a_rank_that_does_not_come_is_named_at_the_deadline(void **state)
{
    struct ranks ranks = {.size = 5, .start_ms = 600};
    (void)state;
    ranks_launch(&ranks);
    ranks_kill(&ranks, 3, SIGSTOP);
    ranks_start(&ranks);
    for (uint32_t rank = 0; rank < 5; rank++) {
        if (rank == 3)
            continue;
        int outcome = ranks_await_outcome(&ranks, rank);
        assert_true(outcome == SHOAL_ERR_ABSENT);
        assert_non_null(strstr(ranks.board->view[rank].detail, "rank 3"));
    }
    ranks_finish(&ranks, mask(5) & ~8ull);
}

static void a_rank_with_another_secret_is_kept_out(void **state)
{
    struct ranks ranks = {
        .size = 3, .start_ms = 30000, .secret = "the secret of this job", .strangers = 1ull << 1};
    (void)state;
    ranks_launch(&ranks);
    ranks_start(&ranks);
    bool named = false;
    for (uint32_t rank = 0; rank < 3; rank++) {
        int outcome = ranks_await_outcome(&ranks, rank);
        if (outcome != SHOAL_ERR_AUTH && outcome != SHOAL_ERR_PEER)
            fail_msg("rank %u: %d %s", rank, outcome, ranks.board->view[rank].detail);
        named |= strstr(ranks.board->view[rank].detail, "did not prove knowledge of the job "
                                                        "secret") != NULL;
    }
    /* Whoever gives up first says why; the others may only see that it is gone then. */
    assert_true(named);
    ranks_finish(&ranks, mask(3));
}

static int quiet(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_gets_every_flood_once_in_order),
        cmocka_unit_test(a_killed_rank_is_lost_at_once),
        cmocka_unit_test(a_stopped_rank_is_lost_and_learns_it),
        cmocka_unit_test(short_stops_are_forgiven),
        cmocka_unit_test(who_gets_no_cpu_is_not_lost),
        cmocka_unit_test(who_was_absent_himself_accuses_nobody),
        cmocka_unit_test(who_says_goodbye_is_not_lost),
        cmocka_unit_test(many_ranks_on_few_cores),
        cmocka_unit_test(a_rank_that_died_before_the_start_is_named_at_once),
        cmocka_unit_test(a_rank_that_does_not_come_is_named_at_the_deadline),
        cmocka_unit_test(a_rank_with_another_secret_is_kept_out),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
