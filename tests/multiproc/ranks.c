/*
 * See ranks.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/ranks.h"

#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double ranks_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int ranks_sum(struct rank *self)
{
    int32_t mine = (int32_t)self->rank + 1, sum = 0;
    int status = shoal_allreduce(self->comm, &mine, &sum, 1, SHOAL_I32, SHOAL_SUM);
    int32_t right = (int32_t)(self->size * (self->size + 1) / 2);
    return status == SHOAL_OK && sum != right ? SHOAL_ERR_INTERNAL : status;
}

void ranks_tell(struct rank *self, int status)
{
    self->report->status = status;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
}

void ranks_await_stage(struct rank_report *reports, uint32_t count, int stage)
{
    double end = ranks_now_s() + RANKS_SECONDS;
    for (uint32_t i = 0; i < count; i++)
        while (reports[i].stage < stage && ranks_now_s() < end)
            usleep(500);
}

static void run_child(const struct ranks_job *job, uint32_t rank, const char *address,
                      struct rank_report *reports)
{
    struct rank self = {.rank = rank,
                        .size = job->size,
                        .report = &reports[rank],
                        .reports = reports,
                        .arg = job->arg};
    size_t count = 0;
    if (job->before)
        job->before(rank);
    while (job->settings && job->settings[count])
        count++;
    struct shoal_context_options context = {
        .struct_size = sizeof(context), .settings = job->settings, .setting_count = count};
    struct shoal_comm_options comm = {.struct_size = sizeof(comm),
                                      .rank = rank,
                                      .size = job->size,
                                      .rendezvous = address,
                                      .init_timeout_ms = job->init_timeout_ms,
                                      .op_timeout_ms = job->op_timeout_ms};
    double start = ranks_now_s();
    int status = shoal_context_create(&context, &self.context);
    if (status == SHOAL_OK)
        status = shoal_comm_create(self.context, &comm, &self.comm);
    self.report->init_status = status;
    self.report->seconds = ranks_now_s() - start;
    if (status != SHOAL_OK)
        ranks_tell(&self, status);
    else
        job->body(&self);
    shoal_comm_destroy(self.comm);
    if (shoal_context_destroy(self.context) != SHOAL_OK && status == SHOAL_OK)
        fprintf(stderr, "rank %u: %s\n", rank, shoal_last_error());
    fflush(NULL);
    _exit(0);
}

static bool reap(pid_t *pids, uint32_t count, double end_s)
{
    uint32_t left = count;
    while (left > 0 && ranks_now_s() < end_s) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            usleep(1000);
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            if (pids[i] == pid) {
                pids[i] = 0;
                left--;
                if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
                    fail_msg("rank %u died of signal %d", i, WTERMSIG(status));
            }
    }
    return left == 0;
}

struct rank_report *ranks_run(const struct ranks_job *job)
{
    static struct rank_report *reports;
    static unsigned serial;
    pid_t pids[RANKS_MAX] = {0}, alive[RANKS_MAX];
    char address[64];
    size_t bytes = RANKS_MAX * sizeof(*reports);
    uint32_t count = job->absent ? job->absent : job->size;
    if (reports)
        munmap(reports, bytes);
    reports = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(reports != MAP_FAILED);
    snprintf(address, sizeof(address), "@shoal-ranks-%d-%u", (int)getpid(), serial++);
    for (uint32_t i = 0; i < count; i++) {
        pids[i] = alive[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run_child(job, i, address, reports);
        }
    }
    if (job->meanwhile)
        job->meanwhile(job, alive, reports);
    bool ended = reap(pids, count, ranks_now_s() + RANKS_SECONDS);
    for (uint32_t i = 0; i < count && !ended; i++)
        if (pids[i] > 0) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
            fprintf(stderr, "rank %u hung at stage %d\n", i, reports[i].stage);
        }
    assert_true(ended);
    for (uint32_t i = 0; i < count && !job->expect_init_error; i++)
        if (reports[i].init_status != SHOAL_OK)
            fail_msg("rank %u could not join: %s", i, reports[i].text);
    return reports;
}
