/*
 * How long changes of an elastic job take, from outside: what its members know, and when, and their
 * correct results.
 *
 *     recovery_bench SHOAL [RANKS [TIMES [BYTES [kill|stop|scale]]]]
 *
 * SHOAL is the program, for its coordinator. Members are processes of this host that do allreduces
 * without a pause, and a step after every 20. With `kill` and `stop` one gets that signal, and is
 * replaced once all others have a result without it; with `scale` half of the members found the
 * job, the other half is started at once, and leaves. "Known to all" is when the last of the others
 * says in its log that it lost somebody; a member stands still from one of its results to the next.
 * SHOAL_TRANSPORT and the other settings count as everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator.h"
#include "figures.h"

#include <fcntl.h>
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
#define TIMES_MAX 1000
#define OPS_A_STEP 20
#define PATIENCE_S 30
#define SAID_BYTES 4096

struct report {
    _Atomic uint64_t epoch;   /* of the last correct result */
    _Atomic uint32_t size;    /* its contributors */
    _Atomic double since_s;   /* when the first one of this epoch was there */
    _Atomic double longest_s; /* between two results, since this was set to 0 */
    _Atomic int failed;
};

/* What a member writes to its standard error. */
struct voice {
    int fd;
    double lost_s; /* when it first said that somebody is lost, since this was set to 0 */
    char said[SAID_BYTES];
};

struct bench {
    uint32_t ranks, founders, times;
    size_t count;
    const char *what;
    char store[128];
    pid_t coordinator;
    pid_t pids[RANKS_MAX];
    struct voice voices[RANKS_MAX];
    struct report *reports;
    _Atomic int *leave; /* those that are not founders */
};

/* ---- a member ---------------------------------------------------------------------------------
 */

static bool reduce(struct shoal_world *world, struct report *report, float *send, float *recv,
                   size_t count, double *last_s)
{
    struct shoal_op_info info = {.struct_size = sizeof(info)};
    if (shoal_world_allreduce(world, send, recv, count, SHOAL_F32, SHOAL_SUM) != SHOAL_OK ||
        shoal_world_last(world, &info) != SHOAL_OK)
        return false;
    double at_s = figures_now_s(), pause_s = at_s - *last_s;
    if (*last_s > 0 && pause_s > report->longest_s)
        report->longest_s = pause_s;
    *last_s = at_s;
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

static void run_member(const struct bench *bench, uint32_t slot)
{
    struct shoal_context *context;
    struct shoal_world *world = NULL;
    struct shoal_view view = {.struct_size = sizeof(view)};
    struct shoal_world_options options = {
        .struct_size = sizeof(options), .store = bench->store, .world_start = bench->founders};
    struct report *report = &bench->reports[slot];
    float *send = malloc(bench->count * sizeof(*send)),
          *recv = malloc(bench->count * sizeof(*recv));
    double last_s = 0;
    for (size_t i = 0; i < bench->count; i++)
        send[i] = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool good = shoal_context_create(NULL, &context) == SHOAL_OK &&
                shoal_world_join(context, &options, &world) == SHOAL_OK;
    while (good) { /* what is timed is outside of steps; those let members in and out */
        struct shoal_step step = {.struct_size = sizeof(step)};
        for (int i = 0; i < OPS_A_STEP && good; i++)
            good = reduce(world, report, send, recv, bench->count, &last_s);
        if (slot >= bench->founders && *bench->leave)
            good = good && shoal_leave(world, 0) == SHOAL_OK;
        good = good && shoal_step_begin(world, &step) == SHOAL_OK &&
               shoal_step_commit(world, 0) == SHOAL_OK;
    }
    if (world && shoal_world_view(world, &view) == SHOAL_OK && view.left)
        _exit(0);
    fprintf(stderr, "a member ends: %s\n", shoal_last_error());
    report->failed = 1;
    _exit(1);
}

static void start_member(struct bench *bench, uint32_t slot)
{
    struct voice *voice = &bench->voices[slot];
    int ends[2];
    memset(&bench->reports[slot], 0, sizeof(bench->reports[slot]));
    if (voice->fd > 0)
        close(voice->fd);
    figures_need(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    bench->pids[slot] = fork();
    if (bench->pids[slot] == 0) {
        dup2(ends[1], 2);
        run_member(bench, slot);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *voice = (struct voice){.fd = ends[0]};
}

/* ---- the bench --------------------------------------------------------------------------------
 */

/* Takes what members have written, and notes who has lost somebody. */
static void listen_to(struct bench *bench, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct voice *voice = &bench->voices[i];
        ssize_t bytes = read(voice->fd, voice->said, sizeof(voice->said) - 1);
        if (bytes <= 0)
            continue;
        voice->said[bytes] = '\0';
        if (voice->lost_s <= 0 && strstr(voice->said, " is lost, "))
            voice->lost_s = figures_now_s();
    }
}

/* All of the first `count` but `without` have a result of `size` contributors in a later epoch; the
 * time of the last. */
static double await(struct bench *bench, uint32_t count, uint32_t without, uint32_t size,
                    uint64_t after)
{
    double end_s = figures_now_s() + PATIENCE_S, last_s = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct report *report = &bench->reports[i];
        if (i == without)
            continue;
        do {
            listen_to(bench, count);
            if (report->failed || figures_now_s() > end_s)
                return 0;
            usleep(200);
        } while (report->epoch <= after || report->size != size);
        if (report->since_s > last_s)
            last_s = report->since_s;
    }
    return last_s;
}

/* Who heard of it no sooner than from the new view, knows it since its result in that. */
static double known_to_all(const struct bench *bench, uint32_t without)
{
    double last_s = 0;
    for (uint32_t i = 0; i < bench->ranks; i++) {
        double known_s = bench->reports[i].since_s, lost_s = bench->voices[i].lost_s;
        if (lost_s > 0 && lost_s < known_s)
            known_s = lost_s;
        if (i != without && known_s > last_s)
            last_s = known_s;
    }
    return last_s;
}

/* Of those who found the job, or are no replacement. */
static double stood_still(const struct bench *bench, uint32_t count, uint32_t without)
{
    double longest_s = 0;
    for (uint32_t i = 0; i < count; i++)
        if (i != without && bench->reports[i].longest_s > longest_s)
            longest_s = bench->reports[i].longest_s;
    return longest_s;
}

static void forget(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->ranks; i++) {
        bench->reports[i].longest_s = 0;
        bench->voices[i].lost_s = 0;
    }
}

static void print(const struct bench *bench, double *taken_s, const char *what)
{
    uint32_t count = bench->times;
    figures_sort(taken_s, count);
    printf("%-28s %2u ranks %8zu B %4u times: p50 %7.1f  p90 %7.1f  p99 %7.1f  max %7.1f ms\n",
           what, bench->ranks, bench->count * sizeof(float), count, taken_s[count / 2] * 1e3,
           taken_s[count * 9 / 10] * 1e3, taken_s[count * 99 / 100] * 1e3,
           taken_s[count - 1] * 1e3);
}

static double known_s[TIMES_MAX], lost_s[TIMES_MAX], joined_s[TIMES_MAX], still_s[TIMES_MAX],
    left_s[TIMES_MAX];

/* A member is lost, and another takes its place. */
static bool lose_one(struct bench *bench, uint32_t turn, int signal)
{
    uint32_t all = bench->ranks, victim = (turn * 5 + 3) % all, other = victim ? 0 : 1;
    listen_to(bench, all);
    forget(bench);
    uint64_t epoch = bench->reports[other].epoch;
    double start_s = figures_now_s();
    kill(bench->pids[victim], signal);
    double end_s = await(bench, all, victim, all - 1, epoch);
    lost_s[turn] = end_s - start_s;
    known_s[turn] = known_to_all(bench, victim) - start_s;
    kill(bench->pids[victim], SIGKILL);
    waitpid(bench->pids[victim], NULL, 0);
    bench->pids[victim] = 0;
    if (end_s <= 0)
        return false;
    epoch = bench->reports[other].epoch;
    forget(bench);
    start_s = figures_now_s();
    start_member(bench, victim);
    end_s = await(bench, all, all, all, epoch);
    joined_s[turn] = end_s - start_s;
    still_s[turn] = stood_still(bench, all, victim);
    return end_s > 0;
}

/* From half of the members to all, and back. */
static bool scale(struct bench *bench, uint32_t turn)
{
    uint32_t half = bench->founders;
    uint64_t epoch = bench->reports[0].epoch;
    *bench->leave = 0;
    forget(bench);
    double start_s = figures_now_s();
    for (uint32_t i = half; i < bench->ranks; i++)
        start_member(bench, i);
    double end_s = await(bench, bench->ranks, bench->ranks, bench->ranks, epoch);
    if (end_s <= 0)
        return false;
    joined_s[turn] = end_s - start_s;
    still_s[turn] = stood_still(bench, half, bench->ranks);
    epoch = bench->reports[0].epoch;
    start_s = figures_now_s();
    *bench->leave = 1;
    end_s = await(bench, half, half, half, epoch);
    left_s[turn] = end_s - start_s;
    for (uint32_t i = half; i < bench->ranks && end_s > 0; i++) {
        waitpid(bench->pids[i], NULL, 0);
        bench->pids[i] = 0;
    }
    return end_s > 0;
}

static bool measure(struct bench *bench)
{
    bool scales = !strcmp(bench->what, "scale"), stops = !strcmp(bench->what, "stop");
    if (await(bench, bench->founders, bench->ranks, bench->founders, 0) <= 0)
        return false;
    for (uint32_t i = 0; i < bench->times; i++) {
        usleep(1000u * (20 + 7 * i % 30));
        if (scales ? !scale(bench, i) : !lose_one(bench, i, stops ? SIGSTOP : SIGKILL))
            return false;
    }
    if (!scales) {
        print(bench, known_s, stops ? "stopped to known to all" : "killed to known to all");
        print(bench, lost_s, stops ? "stopped to next result" : "killed to next result");
    }
    print(bench, joined_s, "started to first with it");
    print(bench, still_s, "others stood still for it");
    if (scales)
        print(bench, left_s, "asked to leave to without it");
    return true;
}

static int start(struct bench *bench, const char *shoal)
{
    size_t bytes = RANKS_MAX * sizeof(*bench->reports) + sizeof(*bench->leave);
    void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    figures_need(shared != MAP_FAILED, "memory");
    bench->reports = shared;
    bench->leave = (_Atomic int *)(bench->reports + RANKS_MAX);
    bench->coordinator = bench_start_coordinator(shoal, bench->store, sizeof(bench->store));
    if (bench->coordinator <= 0)
        return fprintf(stderr, "no coordinator: is %s the program shoal?\n", shoal), 1;
    for (uint32_t i = 0; i < bench->founders; i++)
        start_member(bench, i);
    return 0;
}

static void finish(struct bench *bench, bool good)
{
    for (uint32_t i = 0; i < bench->ranks && !good; i++)
        fprintf(stderr, "member %u: %s\n", i, bench->voices[i].said);
    if (!good)
        fprintf(stderr, "a member did not come to a result in %d s\n", PATIENCE_S);
    for (uint32_t i = 0; i < bench->ranks; i++)
        if (bench->pids[i] > 0)
            kill(bench->pids[i], SIGKILL);
    kill(bench->coordinator, SIGKILL);
    while (wait(NULL) > 0)
        ;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.ranks = 8, .times = 50, .count = 256, .what = "kill"};
    if (argc < 2)
        return fprintf(stderr, "usage: recovery_bench SHOAL "
                               "[RANKS [TIMES [BYTES [kill|stop|scale]]]]\n"),
               2;
    if (argc > 2)
        bench.ranks = (uint32_t)atoi(argv[2]);
    if (argc > 3)
        bench.times = (uint32_t)atoi(argv[3]);
    if (argc > 4)
        bench.count = strtoul(argv[4], NULL, 10) / sizeof(float);
    if (argc > 5)
        bench.what = argv[5];
    bool scales = !strcmp(bench.what, "scale");
    if (bench.ranks < 3 || bench.ranks > RANKS_MAX || !bench.times || bench.times > TIMES_MAX ||
        !bench.count || (!scales && strcmp(bench.what, "kill") && strcmp(bench.what, "stop")))
        return fprintf(stderr, "3 to %d ranks, 1 to %d times, 4 bytes; kill, stop or scale\n",
                       RANKS_MAX, TIMES_MAX),
               2;
    bench.founders = scales ? bench.ranks / 2 : bench.ranks;
    if (start(&bench, argv[1]) != 0)
        return 1;
    bool good = measure(&bench);
    finish(&bench, good);
    return !good;
}
