/*
 * Control between real processes: floods, deaths, stops, departures.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_gets_every_flood_once_in_order),
        cmocka_unit_test(a_killed_rank_is_lost_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
