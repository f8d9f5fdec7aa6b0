/*
 * How long a failure takes: from SIGKILL of one member to the next correct allreduce of all others.
 *
 *     recovery_bench SHOAL [RANKS [KILLS [BYTES]]]
 *
 * SHOAL is the program, for its coordinator. Members are processes of this host; the killed one is
 * replaced at the next commit, and once that has joined the next is killed. SHOAL_TRANSPORT and the
 * other settings count as everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator.h"
#include "figures.h"

#include <shoal/shoal.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RANKS_MAX 32
#define KILLS_MAX 1000
#define OPS_A_STEP 20
#define PATIENCE_S 30

struct report {
    _Atomic uint64_t epoch; /* of the last correct result */
    _Atomic uint32_t size;  /* its contributors */
    _Atomic double since_s; /* when the first one of this epoch was there */
    _Atomic int failed;
};

struct bench {
    uint32_t ranks, kills;
    size_t count;
    char store[128];
    pid_t coordinator;
    pid_t pids[RANKS_MAX];
    struct report *reports;
};

/* ---- a member ---------------------------------------------------------------------------------
 */

static bool reduce(struct shoal_world *world, struct report *report, float *send, float *recv,
                   size_t count)
{
    struct shoal_op_info info = {.struct_size = sizeof(info)};
    if (shoal_world_allreduce(world, send, recv, count, SHOAL_F32, SHOAL_SUM) != SHOAL_OK ||
        shoal_world_last(world, &info) != SHOAL_OK)
        return false;
    double at_s = figures_now_s();
    for (size_t i = 0; i < count; i++)
        if (recv[i] != (float)info.contributors)
            return fprintf(stderr, "wrong: %g of %u\n", (double)recv[i], info.contributors), false;
    if (report->epoch == info.epoch)
        return true;
    report->since_s = at_s;
    report->size = info.contributors;
    report->epoch = info.epoch;
    return true;
}

static void run_member(const struct bench *bench, struct report *report)
{
    struct shoal_context *context;
    struct shoal_world *world;
    struct shoal_world_options options = {
        .struct_size = sizeof(options), .store = bench->store, .world_start = bench->ranks};
    float *send = malloc(bench->count * sizeof(*send)),
          *recv = malloc(bench->count * sizeof(*recv));
    for (size_t i = 0; i < bench->count; i++)
        send[i] = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool good = shoal_context_create(NULL, &context) == SHOAL_OK &&
                shoal_world_join(context, &options, &world) == SHOAL_OK;
    while (good) { /* what is timed is outside of steps; those let members in */
        struct shoal_step step = {.struct_size = sizeof(step)};
        for (int i = 0; i < OPS_A_STEP && good; i++)
            good = reduce(world, report, send, recv, bench->count);
        good = good && shoal_step_begin(world, &step) == SHOAL_OK &&
               shoal_step_commit(world, 0) == SHOAL_OK;
    }
    fprintf(stderr, "a member ends: %s\n", shoal_last_error());
    report->failed = 1;
    _exit(1);
}

static void start_member(struct bench *bench, uint32_t slot)
{
    memset(&bench->reports[slot], 0, sizeof(bench->reports[slot]));
    bench->pids[slot] = fork();
    if (bench->pids[slot] == 0)
        run_member(bench, &bench->reports[slot]);
}

/* ---- the bench --------------------------------------------------------------------------------
 */

/* All but `without` have a result of `size` contributors in a later epoch; the time of the last. */
static double await(const struct bench *bench, uint32_t without, uint32_t size, uint64_t after)
{
    double end_s = figures_now_s() + PATIENCE_S, last_s = 0;
    for (uint32_t i = 0; i < bench->ranks; i++) {
        const struct report *report = &bench->reports[i];
        if (i == without)
            continue;
        while (report->epoch <= after || report->size != size) {
            if (report->failed || figures_now_s() > end_s)
                return 0;
            usleep(200);
        }
        if (report->since_s > last_s)
            last_s = report->since_s;
    }
    return last_s;
}

static void print(const struct bench *bench, double *taken_s, uint32_t count, const char *what)
{
    figures_sort(taken_s, count);
    printf("%-28s %2u ranks %8zu B %4u times: p50 %7.1f  p90 %7.1f  p99 %7.1f  max %7.1f ms\n",
           what, bench->ranks, bench->count * sizeof(float), count, taken_s[count / 2] * 1e3,
           taken_s[count * 9 / 10] * 1e3, taken_s[count * 99 / 100] * 1e3,
           taken_s[count - 1] * 1e3);
}

static bool measure(struct bench *bench)
{
    static double killed_s[KILLS_MAX], joined_s[KILLS_MAX];
    uint64_t epoch = 0;
    for (uint32_t i = 0; i < bench->kills; i++) {
        uint32_t victim = (i * 5 + 3) % bench->ranks, other = victim ? 0 : 1;
        if (await(bench, bench->ranks, bench->ranks, epoch) <= 0)
            return false;
        epoch = bench->reports[other].epoch;
        usleep(1000u * (20 + 7 * i % 30));
        double start_s = figures_now_s();
        kill(bench->pids[victim], SIGKILL);
        double end_s = await(bench, victim, bench->ranks - 1, epoch);
        waitpid(bench->pids[victim], NULL, 0);
        if (end_s <= 0)
            return false;
        killed_s[i] = end_s - start_s;
        epoch = bench->reports[other].epoch;
        start_s = figures_now_s();
        start_member(bench, victim);
        end_s = await(bench, bench->ranks, bench->ranks, epoch);
        if (end_s <= 0)
            return false;
        joined_s[i] = end_s - start_s;
    }
    print(bench, killed_s, bench->kills, "killed to next result");
    print(bench, joined_s, bench->kills, "started to first with it");
    return true;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.ranks = 8, .kills = 50, .count = 256};
    if (argc < 2)
        return fprintf(stderr, "usage: recovery_bench SHOAL [RANKS [KILLS [BYTES]]]\n"), 2;
    if (argc > 2)
        bench.ranks = (uint32_t)atoi(argv[2]);
    if (argc > 3)
        bench.kills = (uint32_t)atoi(argv[3]);
    if (argc > 4)
        bench.count = strtoul(argv[4], NULL, 10) / sizeof(float);
    if (bench.ranks < 3 || bench.ranks > RANKS_MAX || !bench.kills || bench.kills > KILLS_MAX ||
        !bench.count)
        return fprintf(stderr, "3 to %d ranks, 1 to %d kills, 4 bytes\n", RANKS_MAX, KILLS_MAX), 2;
    bench.reports = mmap(NULL, RANKS_MAX * sizeof(*bench.reports), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (bench.reports != MAP_FAILED)
        bench.coordinator = bench_start_coordinator(argv[1], bench.store, sizeof(bench.store));
    if (bench.coordinator <= 0)
        return fprintf(stderr, "no coordinator\n"), 1;
    for (uint32_t i = 0; i < bench.ranks; i++)
        start_member(&bench, i);
    bool good = measure(&bench);
    if (!good)
        fprintf(stderr, "a member did not come to a result in %d s\n", PATIENCE_S);
    for (uint32_t i = 0; i < bench.ranks; i++)
        kill(bench.pids[i], SIGKILL);
    kill(bench.coordinator, SIGKILL);
    while (wait(NULL) > 0)
        ;
    return !good;
}
