/*
 * `shoal run` as the agent of an elastic pod: workers that fail are started again.
 *
 * A worker that ends with status 0 says that the job is over. One that fails is started again, as a
 * new member, after a back-off that doubles with each time in a row, until there were too many of
 * them; the others go on. The agent's own status is 0 when any of its workers ended with 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "run.h"
#include "shoal_tools.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define BACKOFF_LAST_S 30.0

static void describe(int status, char *text, size_t capacity)
{
    if (WIFEXITED(status))
        snprintf(text, capacity, "exited with status %d", WEXITSTATUS(status));
    else
        snprintf(text, capacity, "was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
}

static bool is_worth_another(const struct run *run, const struct run_rank *rank, int status)
{
    bool could_not_run = WIFEXITED(status) && (WEXITSTATUS(status) == RUN_EXIT_CANNOT_RUN ||
                                               WEXITSTATUS(status) == RUN_EXIT_CANNOT_RUN - 1);
    return !could_not_run && rank->restarts < run->restarts;
}

void run_elastic_ended(struct run *run, struct run_rank *rank, int status)
{
    uint64_t now = shl_now_ns();
    double age_s = (double)(now - rank->born_ns) / 1e9;
    char text[96];
    describe(status, text, sizeof(text));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        run->over = true;
        run->exit_status = 0;
        return;
    }
    if (run->over || run->interrupted || run->escalation)
        return;
    if (age_s >= run->healthy_s)
        rank->restarts = 0;
    if (!is_worth_another(run, rank, status)) {
        run->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        shoal_tool_error("run", "worker %u %s after %.3g s; it is not started again", rank->rank,
                         text, age_s);
        return;
    }
    double wait_s = run->backoff_s;
    for (uint32_t i = 0; i < rank->restarts && wait_s < BACKOFF_LAST_S; i++)
        wait_s *= 2;
    wait_s = wait_s > BACKOFF_LAST_S ? BACKOFF_LAST_S : wait_s;
    rank->restarts++;
    rank->restart_ns = now + (uint64_t)(wait_s * 1e9) + 1;
    shoal_tool_error("run", "worker %u %s after %.3g s; starting it again in %.3g s (%u of %u)",
                     rank->rank, text, age_s, wait_s, rank->restarts, run->restarts);
}

uint64_t run_elastic_due(const struct run *run)
{
    uint64_t due = UINT64_MAX;
    if (!run->elastic || run->over || run->interrupted || run->escalation)
        return due;
    for (uint32_t i = 0; i < run->count; i++)
        if (run->ranks[i].restart_ns && run->ranks[i].restart_ns < due)
            due = run->ranks[i].restart_ns;
    return due;
}

void run_elastic_restart(struct run *run)
{
    uint64_t now = shl_now_ns();
    for (uint32_t i = 0; i < run->count; i++) {
        struct run_rank *rank = &run->ranks[i];
        char prefix[24];
        if (!rank->restart_ns || rank->restart_ns > now)
            continue;
        rank->restart_ns = 0;
        snprintf(prefix, sizeof(prefix), "[%u] ", rank->rank);
        for (int j = 0; j < 2; j++)
            run_stream_end(&rank->streams[j], prefix);
        if (!run_launch(run, rank)) /* as if it had failed at once */
            run_elastic_ended(run, rank, SHOAL_EXIT_FAILURE << 8);
    }
}
