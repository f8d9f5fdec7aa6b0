/*
 * Watching the ranks: their output, their exits, the user's signals, and the end.
 *
 * The first rank that fails is named; the others get a grace period to notice and end by
 * themselves, since their own messages say more than ours could; then SIGTERM, then SIGKILL.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "run.h"

#include "core/sys.h"
#include "shoal_tools.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND 1000000000ull

static uint64_t after_s(double seconds)
{
    return shl_now_ns() + (uint64_t)(seconds * 1e9);
}

/* ---- the kernel's OOM killer ------------------------------------------------------------- */

uint64_t run_oom_kills(void)
{
    char line[PATH_MAX], path[PATH_MAX + 64] = "";
    unsigned long long kills = 0;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, "0::", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.events", line + 3);
        }
    if (file)
        fclose(file);
    file = path[0] ? fopen(path, "re") : NULL;
    while (file && fgets(line, sizeof(line), file))
        (void)sscanf(line, "oom_kill %llu", &kills);
    if (file)
        fclose(file);
    return kills;
}

/* ---- ends -------------------------------------------------------------------------------- */

static void signal_all(struct run *run, int number)
{
    for (uint32_t i = 0; i < run->count; i++)
        if (run->ranks[i].pid)
            kill(run->ranks[i].pid, number);
}

static void escalate(struct run *run)
{
    bool first = run->escalation == 0;
    run->escalation = first ? 1 : 2;
    run->escalate_ns = first ? after_s(run->grace_s) : 0;
    if (run->running)
        shoal_tool_error("run", "%u of %u local ranks still run; sending %s", run->running,
                         run->count, first ? "SIGTERM" : "SIGKILL");
    signal_all(run, first ? SIGTERM : SIGKILL);
}

static void name_failure(struct run *run, const struct run_rank *rank, int status)
{
    double age_s = (double)(shl_now_ns() - run->begun_ns) / (double)SECOND;
    run->failed = true;
    if (WIFEXITED(status)) {
        run->exit_status = WEXITSTATUS(status);
        shoal_tool_error("run", "rank %u exited with status %d after %.3g s", rank->rank,
                         run->exit_status, age_s);
    } else {
        int number = WTERMSIG(status);
        uint64_t kills = run_oom_kills();
        run->exit_status = 128 + number;
        shoal_tool_error("run", "rank %u was ended by signal %d (%s) after %.3g s%s", rank->rank,
                         number, strsignal(number), age_s,
                         number == SIGKILL && kills > run->oom_kills
                             ? "; the kernel killed a process of this cgroup for want of memory: "
                               "raise its limit (memory.max) or use less"
                             : "");
    }
    if (!run->escalate_ns && run->escalation == 0)
        run->escalate_ns = after_s(run->grace_s);
}

static void reap(struct run *run)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        for (uint32_t i = 0; i < run->count; i++) {
            struct run_rank *rank = &run->ranks[i];
            if (rank->pid != pid)
                continue; /* or an orphan that came to us */
            rank->pid = 0;
            run->running--;
            bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            if (run->elastic)
                run_elastic_ended(run, rank, status);
            else if (!good && !run->failed && !run->interrupted && run->escalation == 0)
                name_failure(run, rank, status);
        }
    }
}

/* ---- events ------------------------------------------------------------------------------ */

static void on_user_signal(struct run *run, const struct signalfd_siginfo *info)
{
    int number = (int)info->ssi_signo;
    if (run->interrupted || run->escalation) { /* the user insists */
        run->escalation = 2;
        run->escalate_ns = 0;
        signal_all(run, SIGKILL);
        return;
    }
    run->interrupted = true;
    if (!run->failed)
        run->exit_status = 128 + number;
    run->escalate_ns = after_s(run->grace_s);
    run->escalation = 1;
    /* A terminal has sent it to the ranks itself: they are in our process group. */
    if (info->ssi_code != SI_KERNEL)
        signal_all(run, number);
}

static void read_signals(struct run *run)
{
    struct signalfd_siginfo info;
    while (read(run->signal_fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            on_user_signal(run, &info);
    reap(run);
}

static void read_output(struct run *run)
{
    for (uint32_t i = 0; i < run->count; i++) {
        char prefix[24];
        snprintf(prefix, sizeof(prefix), "[%u] ", run->ranks[i].rank);
        for (int j = 0; j < 2; j++)
            if (!run->output_gone && !run_stream_read(&run->ranks[i].streams[j], prefix))
                run->output_gone = true;
    }
    if (run->output_gone && !run->failed && run->escalation == 0) {
        run->failed = true;
        run->exit_status = 128 + SIGPIPE;
        escalate(run);
    }
}

static void check_time(struct run *run)
{
    uint64_t now = shl_now_ns();
    if (run->timeout_s > 0 && !run->failed && !run->interrupted &&
        now >= run->begun_ns + (uint64_t)(run->timeout_s * 1e9)) {
        run->failed = true;
        run->exit_status = RUN_EXIT_TIMEOUT;
        shoal_tool_error("run", "the job did not end within %.3g s", run->timeout_s);
        escalate(run);
    }
    if (run->escalate_ns && now >= run->escalate_ns)
        escalate(run);
    if (now >= run_elastic_due(run))
        run_elastic_restart(run);
}

static int wait_ms(const struct run *run)
{
    uint64_t due = run->escalate_ns ? run->escalate_ns : UINT64_MAX, now = shl_now_ns();
    if (run->timeout_s > 0 && !run->failed && !run->interrupted) {
        uint64_t end = run->begun_ns + (uint64_t)(run->timeout_s * 1e9);
        due = end < due ? end : due;
    }
    uint64_t restart = run_elastic_due(run);
    due = restart < due ? restart : due;
    if (due == UINT64_MAX)
        return -1;
    uint64_t ms = due > now ? (due - now + 999999) / 1000000 : 0;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

int run_watch(struct run *run)
{
    struct pollfd *fds = calloc(1 + 2 * (size_t)run->count, sizeof(*fds));
    if (!fds) {
        shoal_tool_error("run", "out of memory");
        signal_all(run, SIGKILL);
        return SHOAL_EXIT_FAILURE;
    }
    while (run->running || run_elastic_due(run) != UINT64_MAX) {
        nfds_t count = 1;
        fds[0] = (struct pollfd){.fd = run->signal_fd, .events = POLLIN};
        for (uint32_t i = 0; i < run->count && !run->output_gone; i++)
            for (int j = 0; j < 2; j++)
                if (run->ranks[i].streams[j].from >= 0)
                    fds[count++] =
                        (struct pollfd){.fd = run->ranks[i].streams[j].from, .events = POLLIN};
        (void)poll(fds, count, wait_ms(run));
        read_output(run);
        read_signals(run);
        check_time(run);
    }
    read_output(run); /* what the last ones said before they ended */
    for (uint32_t i = 0; i < run->count; i++) {
        char prefix[24];
        snprintf(prefix, sizeof(prefix), "[%u] ", run->ranks[i].rank);
        run_stream_end(&run->ranks[i].streams[0], prefix);
        run_stream_end(&run->ranks[i].streams[1], prefix);
    }
    free(fds);
    return run->exit_status;
}

/* Processes that ranks started and left behind have become our children. */
void run_reap_orphans(void)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)getpid());
    for (int round = 0; round < 100; round++) {
        FILE *file = fopen(path, "re");
        long pid;
        bool any = false;
        while (file && fscanf(file, "%ld", &pid) == 1) {
            any = true;
            kill((pid_t)pid, SIGKILL);
        }
        if (file)
            fclose(file);
        if (!any || waitpid(-1, NULL, 0) < 0)
            return;
    }
}
