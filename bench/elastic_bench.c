/*
 * What an elastic world costs while nothing fails: the same processes have a communicator and a
 * world, and the same allreduce takes turns in both, size by size.
 *
 *     elastic_bench SHOAL [RANKS [ROUNDS [MAX_BYTES]]]
 *
 * SHOAL is the program, for its coordinator. Local ranks, one a core where there are enough of
 * them. Columns: microseconds a call, medians over rounds, of the communicator and the world, out
 * of place, within retained steps (without their commits), and in place; each followed by the
 * median of the ratios within a round; then what a copy of the input takes on all ranks at once,
 * and what the world takes longer in place in such copies. SHOAL_TRANSPORT and the other settings
 * count as everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator.h"
#include "figures.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <shoal/shoal.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RANKS_MAX 64
#define ROUNDS_MAX 101
#define SLICE_US 30000.0 /* of one measurement */
#define OPS_A_STEP 16

enum measure { FIXED, ELASTIC, IN_STEP, FIXED_IN_PLACE, ELASTIC_IN_PLACE, COPY, MEASURES };

struct bench {
    uint32_t ranks, rounds, rank;
    size_t max_bytes;
    struct shoal_comm *comm;
    struct shoal_world *world;
    float *send, *recv;
};

static double now_us(void)
{
    return figures_now_s() * 1e6;
}

static double over_ranks(const struct bench *bench, double mine, uint32_t op)
{
    double all = 0;
    figures_need(shoal_allreduce(bench->comm, &mine, &all, 1, SHOAL_F64, op) == SHOAL_OK,
                 "combine");
    return all;
}

/* ---- one measurement ------------------------------------------------------------------------ */

static void call(const struct bench *bench, enum measure what, size_t count)
{
    bool in_place = what == FIXED_IN_PLACE || what == ELASTIC_IN_PLACE;
    const float *send = in_place ? bench->recv : bench->send;
    enum shoal_status status = SHOAL_OK;
    if (what == COPY)
        memcpy(bench->recv, bench->send, count * sizeof(float));
    else if (what == FIXED || what == FIXED_IN_PLACE)
        status = shoal_allreduce(bench->comm, send, bench->recv, count, SHOAL_F32, SHOAL_SUM);
    else
        status =
            shoal_world_allreduce(bench->world, send, bench->recv, count, SHOAL_F32, SHOAL_SUM);
    figures_need(status == SHOAL_OK, "allreduce");
    __asm__ volatile("" ::: "memory");
}

/* Microseconds of the calls alone. */
static double run(const struct bench *bench, enum measure what, size_t count, uint64_t calls)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    double total_us = 0;
    for (uint64_t done = 0; done < calls;) {
        uint64_t until = what == IN_STEP && calls - done > OPS_A_STEP ? done + OPS_A_STEP : calls;
        if (what == IN_STEP)
            figures_need(shoal_step_begin(bench->world, &step) == SHOAL_OK, "step");
        figures_need(shoal_barrier(bench->comm) == SHOAL_OK, "barrier");
        double start_us = now_us();
        for (; done < until; done++)
            call(bench, what, count);
        total_us += now_us() - start_us;
        if (what == IN_STEP)
            figures_need(shoal_step_commit(bench->world, 0) == SHOAL_OK, "commit");
    }
    return total_us;
}

static uint64_t choose_calls(const struct bench *bench, size_t count)
{
    run(bench, FIXED, count, 3);
    double once_us = over_ranks(bench, run(bench, FIXED, count, 3), SHOAL_MAX) / 3;
    double calls = SLICE_US / (once_us > 0.1 ? once_us : 0.1);
    return calls < 3 ? 3 : calls > 50000 ? 50000 : (uint64_t)calls;
}

/* ---- the table ------------------------------------------------------------------------------ */

static double ratio(double taken_us[][ROUNDS_MAX], uint32_t rounds, enum measure a, enum measure b)
{
    double ratios[ROUNDS_MAX];
    for (uint32_t i = 0; i < rounds; i++)
        ratios[i] = taken_us[a][i] / taken_us[b][i];
    return figures_median(ratios, rounds);
}

static void print_row(const struct bench *bench, size_t bytes, double taken_us[][ROUNDS_MAX])
{
    double more[ROUNDS_MAX];
    uint32_t n = bench->rounds;
    for (uint32_t i = 0; i < n; i++)
        more[i] = (taken_us[ELASTIC_IN_PLACE][i] - taken_us[FIXED_IN_PLACE][i]) / taken_us[COPY][i];
    double out = ratio(taken_us, n, ELASTIC, FIXED), step = ratio(taken_us, n, IN_STEP, FIXED);
    double in = ratio(taken_us, n, ELASTIC_IN_PLACE, FIXED_IN_PLACE);
    double us[MEASURES];
    for (uint32_t what = 0; what < MEASURES; what++)
        us[what] = figures_median(taken_us[what], n);
    printf("%10zu %10.2f %10.2f %6.3f %10.2f %6.3f %10.2f %10.2f %6.3f %10.2f %6.2f\n", bytes,
           us[FIXED], us[ELASTIC], out, us[IN_STEP], step, us[FIXED_IN_PLACE], us[ELASTIC_IN_PLACE],
           in, us[COPY], figures_median(more, n));
    fflush(stdout);
}

static void measure_size(const struct bench *bench, size_t bytes)
{
    static double taken_us[MEASURES][ROUNDS_MAX];
    size_t count = bytes / sizeof(float);
    uint64_t calls = choose_calls(bench, count);
    memset(bench->recv, 0, bytes); /* sums in place stay 0 */
    for (uint32_t round = 0; round < bench->rounds; round++) {
        for (uint32_t i = 0; i < MEASURES; i++) {
            /* Every second round the other way around: whoever is first may find caches colder. */
            enum measure what = (enum measure)(round % 2 ? MEASURES - 1 - i : i);
            double us = run(bench, what, count, calls) / (double)calls;
            taken_us[what][round] = over_ranks(bench, us, SHOAL_AVG);
        }
    }
    if (bench->rank == 0)
        print_row(bench, bytes, taken_us);
}

/* ---- processes ------------------------------------------------------------------------------ */

static void pin(const struct bench *bench)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(all), &all) != 0 || (uint32_t)CPU_COUNT(&all) < bench->ranks)
        return;
    uint32_t left = bench->rank;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && left-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
}

/* The world first: its ranks are those of the communicator, which then serves as a clock for it. */
static void run_rank(struct bench *bench, const char *store, const char *address)
{
    struct shoal_context *context;
    struct shoal_view view = {.struct_size = sizeof(view)};
    struct shoal_world_options world = {
        .struct_size = sizeof(world), .store = store, .world_start = bench->ranks};
    figures_need(shoal_context_create(NULL, &context) == SHOAL_OK, "context");
    figures_need(shoal_world_join(context, &world, &bench->world) == SHOAL_OK, "world");
    figures_need(shoal_world_view(bench->world, &view) == SHOAL_OK, "view");
    bench->rank = view.rank;
    struct shoal_comm_options comm = {.struct_size = sizeof(comm),
                                      .rank = view.rank,
                                      .size = bench->ranks,
                                      .rendezvous = address};
    figures_need(shoal_comm_create(context, &comm, &bench->comm) == SHOAL_OK, "communicator");
    pin(bench);
    bench->send = aligned_alloc(4096, bench->max_bytes + 4096);
    bench->recv = aligned_alloc(4096, bench->max_bytes + 4096);
    figures_need(bench->send && bench->recv, "memory");
    memset(bench->send, 0, bench->max_bytes);
    memset(bench->recv, 0, bench->max_bytes);
    if (bench->rank == 0)
        printf("%10s %10s %10s %6s %10s %6s %10s %10s %6s %10s %6s\n", "bytes", "fixed", "elastic",
               "ratio", "in step", "ratio", "fixed i.p.", "el. i.p.", "ratio", "copy", "copies");
    for (size_t bytes = 8; bytes <= bench->max_bytes; bytes *= bytes < 4096 ? 512 : 16)
        measure_size(bench, bytes);
    figures_need(shoal_comm_destroy(bench->comm) == SHOAL_OK, "end");
    figures_need(shoal_world_destroy(bench->world) == SHOAL_OK, "end");
    shoal_context_destroy(context);
}

/* A loopback port that was free a moment ago. */
static bool free_address(char *address, size_t capacity)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
                getsockname(fd, (struct sockaddr *)&at, &bytes) == 0;
    snprintf(address, capacity, "127.0.0.1:%u", ntohs(at.sin_port));
    if (fd >= 0)
        close(fd);
    return good;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.ranks = 2, .rounds = 7, .max_bytes = 16u << 20};
    char store[128], address[64];
    if (argc < 2)
        return fprintf(stderr, "usage: elastic_bench SHOAL [RANKS [ROUNDS [MAX_BYTES]]]\n"), 2;
    if (argc > 2)
        bench.ranks = (uint32_t)atoi(argv[2]);
    if (argc > 3)
        bench.rounds = (uint32_t)atoi(argv[3]);
    if (argc > 4)
        bench.max_bytes = strtoul(argv[4], NULL, 10) / 4096 * 4096;
    if (bench.ranks < 2 || bench.ranks > RANKS_MAX || !bench.rounds || bench.rounds > ROUNDS_MAX ||
        bench.max_bytes < 4096)
        return fprintf(stderr, "2 to %d ranks, 1 to %d rounds, 4096 bytes\n", RANKS_MAX,
                       ROUNDS_MAX),
               2;
    pid_t coordinator = bench_start_coordinator(argv[1], store, sizeof(store));
    if (coordinator <= 0)
        return fprintf(stderr, "no coordinator\n"), 1;
    if (!free_address(address, sizeof(address)))
        return fprintf(stderr, "no loopback port\n"), 1;
    for (uint32_t i = 0; i < bench.ranks; i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run_rank(&bench, store, address);
            fflush(stdout);
            _exit(0);
        }
    }
    int status, failed = 0;
    for (uint32_t left = bench.ranks; left > 0 && wait(&status) > 0; left--)
        failed |= status != 0;
    kill(coordinator, SIGKILL);
    waitpid(coordinator, NULL, 0);
    return failed;
}
