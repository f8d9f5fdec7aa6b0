/*
 * What copies of sharded state cost a step: the same steps without copies, with copies that are
 * refreshed within the commit, and in the background, in turns, beside what it takes to copy as
 * many bytes, and to exchange as many by bare sockets.
 *
 *     state_bench SHOAL [RANKS [ROUNDS [MIB [host|device [REPLICATED_MIB]]]]]
 *
 * SHOAL is the program, for its coordinator. MIB: of the sharded array, of all ranks together.
 * REPLICATED_MIB: of an array that every rank has all of, as of parameters, beside it; none is the
 * default.
 * A line for each time that a rank computes in a step, which it does in its registers, or sleeps
 * meanwhile, as where a device computes (`device`). Columns, of medians over rounds: computation;
 * bytes that a rank refreshes; milliseconds to copy these, on all ranks at once, and to exchange
 * them over loopback by bare sockets, in pairs of ranks, both ways at once (0: not measured, as it
 * is only with SHOAL_TRANSPORT=tcp and an even number of ranks); of a step without copies, and of
 * one with copies: what that takes longer, in such copies and in such exchanges, and its share of
 * the step; and nanoseconds of computation for each byte that is refreshed. SHOAL_TRANSPORT and the
 * other settings count as everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator.h"
#include "figures.h"
#include "tcp_pair.h"

#include <shoal/shoal.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RANKS_MAX 64
#define ROUNDS_MAX 51
#define STEPS 5 /* of a round that count */
#define WARM 2
#define RANGES_MAX 512

enum mode { WITHOUT, WITHIN, BACKGROUND, COPY, LINK, MODES };

static const double compute_ms[] = {0, 5, 20, 80};

struct bench {
    uint32_t ranks, rounds, rank;
    size_t bytes;      /* of the array */
    size_t replicated; /* bytes of the other; 0: there is none */
    bool sleeps;
    int link; /* a bare socket to another rank; -1: none */
    struct shoal_world *world;
    uint8_t *array, *copy, *parameters;
    uint64_t refreshed; /* by this rank in a step */
};

static double now_ms(void)
{
    return figures_now_s() * 1e3;
}

static double over_ranks(const struct bench *bench, double mine)
{
    double all = 0;
    figures_need(shoal_world_allreduce(bench->world, &mine, &all, 1, SHOAL_F64, SHOAL_AVG) ==
                     SHOAL_OK,
                 "combine");
    return all;
}

/* ---- one measurement ------------------------------------------------------------------------ */

static struct shoal_state *open_state(const struct bench *bench, enum mode mode)
{
    struct shoal_state *state;
    struct shoal_state_options options = {.struct_size = sizeof(options),
                                          .replicas = mode == WITHOUT ? SHOAL_STATE_NO_REPLICAS : 1,
                                          .background = mode == BACKGROUND};
    struct shoal_state_array array = {.struct_size = sizeof(array),
                                      .name = "moments",
                                      .data = bench->array,
                                      .count = bench->bytes,
                                      .dtype = SHOAL_U8,
                                      .kind = SHOAL_STATE_SHARDED};
    figures_need(shoal_state_create(bench->world, &options, &state) == SHOAL_OK, "state");
    figures_need(shoal_state_add(state, &array) == SHOAL_OK, "array");
    array.name = "parameters";
    array.data = bench->parameters;
    array.count = bench->replicated;
    array.kind = SHOAL_STATE_REPLICATED;
    if (bench->replicated)
        figures_need(shoal_state_add(state, &array) == SHOAL_OK, "parameters");
    return state;
}

static void compute(const struct bench *bench, double ms)
{
    double end_ms = now_ms() + ms;
    struct timespec rest = {.tv_nsec = (long)(ms * 1e6)};
    if (bench->sleeps)
        nanosleep(&rest, NULL);
    while (now_ms() < end_ms)
        for (volatile unsigned i = 0; i < 1000; i++)
            ;
}

/* It computes, meets the others, and changes what it owns. */
static void one_step(const struct bench *bench, const struct shoal_state *state, double ms)
{
    static struct shoal_state_range ranges[RANGES_MAX];
    struct shoal_step step = {.struct_size = sizeof(step)};
    int64_t one = 1, sum;
    size_t count;
    figures_need(shoal_step_begin(bench->world, &step) == SHOAL_OK, "begin");
    compute(bench, ms);
    figures_need(shoal_world_allreduce(bench->world, &one, &sum, 1, SHOAL_I64, SHOAL_SUM) ==
                     SHOAL_OK,
                 "allreduce");
    figures_need(shoal_state_owned(state, "moments", ranges, RANGES_MAX, &count) == SHOAL_OK,
                 "owned");
    for (size_t r = 0; r < count && r < RANGES_MAX; r++)
        memset(bench->array + ranges[r].first, (int)step.step, ranges[r].count);
    figures_need(shoal_step_commit(bench->world, 1) == SHOAL_OK, "commit");
}

/* Milliseconds of a step. */
static double run_steps(struct bench *bench, enum mode mode, double ms)
{
    struct shoal_state *state = open_state(bench, mode);
    struct shoal_state_info info = {.struct_size = sizeof(info)};
    for (unsigned i = 0; i < WARM; i++)
        one_step(bench, state, ms);
    double begin_ms = now_ms();
    for (unsigned i = 0; i < STEPS; i++)
        one_step(bench, state, ms);
    double taken_ms = (now_ms() - begin_ms) / STEPS;
    figures_need(shoal_state_flush(state) == SHOAL_OK, "flush");
    figures_need(shoal_state_info(state, &info) == SHOAL_OK, "info");
    if (info.refresh_bytes)
        bench->refreshed = info.refresh_bytes;
    shoal_state_destroy(state);
    return taken_ms;
}

static double run_copies(const struct bench *bench)
{
    double begin_ms = now_ms();
    for (unsigned i = 0; i < STEPS; i++) {
        memcpy(bench->copy, bench->array, bench->refreshed);
        __asm__ volatile("" ::: "memory");
    }
    return (now_ms() - begin_ms) / STEPS;
}

/* What the kernel takes to carry them, between buffers that are not in the cache either. */
static double run_link(const struct bench *bench)
{
    struct tcp_pair_transfer transfer = {.fds = &bench->link,
                                         .streams = 1,
                                         .sends = true,
                                         .receives = true,
                                         .out = bench->array,
                                         .in = bench->copy,
                                         .bytes = 1};
    if (bench->link < 0)
        return 0;
    tcp_pair_run(&transfer); /* both are there */
    transfer.bytes = bench->refreshed;
    double begin_ms = now_ms();
    for (unsigned i = 0; i < STEPS; i++)
        tcp_pair_run(&transfer);
    return (now_ms() - begin_ms) / STEPS;
}

/* ---- the table ------------------------------------------------------------------------------ */

static void print_row(const struct bench *bench, double ms, double taken_ms[][ROUNDS_MAX])
{
    uint32_t n = bench->rounds;
    double bytes = (double)bench->refreshed, added[2][ROUNDS_MAX];
    for (unsigned k = 0; k < 2; k++)
        for (uint32_t i = 0; i < n; i++)
            added[k][i] = taken_ms[WITHIN + k][i] - taken_ms[WITHOUT][i];
    double copy_ms = figures_median(taken_ms[COPY], n), link_ms = figures_median(taken_ms[LINK], n),
           without = figures_median(taken_ms[WITHOUT], n);
    printf("%10.1f %10.0f %8.2f %8.2f %8.2f", ms, bytes, copy_ms, link_ms, without);
    for (unsigned k = 0; k < 2; k++) {
        double step_ms = figures_median(taken_ms[WITHIN + k], n),
               more = figures_median(added[k], n);
        printf(" %10.2f %7.2f %7.2f %6.1f%%", step_ms, more / copy_ms,
               link_ms > 0 ? more / link_ms : 0, 100 * more / step_ms);
    }
    printf(" %8.3f\n", ms * 1e6 / bytes);
    fflush(stdout);
}

static void measure(struct bench *bench, double ms)
{
    static double taken_ms[MODES][ROUNDS_MAX];
    for (uint32_t round = 0; round < bench->rounds; round++)
        for (uint32_t i = 0; i < MODES; i++) {
            /* Every second round the other way around, but for copies, which need to know. */
            enum mode mode = (enum mode)(round % 2 && i < COPY ? COPY - 1 - i : i);
            double mine = mode == COPY   ? run_copies(bench)
                          : mode == LINK ? run_link(bench)
                                         : run_steps(bench, mode, ms);
            taken_ms[mode][round] = over_ranks(bench, mine);
        }
    if (bench->rank == 0)
        print_row(bench, ms, taken_ms);
}

/* ---- processes ------------------------------------------------------------------------------ */

static void run_rank(struct bench *bench, const char *store)
{
    struct shoal_context *context;
    struct shoal_view view = {.struct_size = sizeof(view)};
    struct shoal_world_options world = {.struct_size = sizeof(world),
                                        .store = store,
                                        .world_start = bench->ranks,
                                        .step_mode = SHOAL_STEP_ABORT};
    figures_need(shoal_context_create(NULL, &context) == SHOAL_OK, "context");
    figures_need(shoal_world_join(context, &world, &bench->world) == SHOAL_OK, "world");
    figures_need(shoal_world_view(bench->world, &view) == SHOAL_OK, "view");
    bench->rank = view.rank;
    bench->array = aligned_alloc(4096, bench->bytes);
    bench->copy = aligned_alloc(4096, bench->bytes);
    bench->parameters = calloc(1, bench->replicated + 1);
    figures_need(bench->array && bench->copy && bench->parameters, "memory");
    memset(bench->array, 0, bench->bytes);
    memset(bench->copy, 0, bench->bytes);
    if (bench->rank == 0)
        printf("%10s %10s %8s %8s %8s %10s %7s %7s %7s %10s %7s %7s %7s %8s\n", "compute ms",
               "bytes", "copy ms", "link ms", "without", "within", "copies", "links", "share",
               "background", "copies", "links", "share", "ns/byte");
    for (size_t i = 0; i < sizeof(compute_ms) / sizeof(compute_ms[0]); i++)
        measure(bench, compute_ms[i]);
    figures_need(shoal_world_destroy(bench->world) == SHOAL_OK, "end");
    shoal_context_destroy(context);
}

int main(int argc, char **argv)
{
    static struct bench bench = {.ranks = 2, .rounds = 7, .bytes = 64u << 20};
    char store[128];
    if (argc < 2)
        return fprintf(stderr, "usage: state_bench SHOAL [RANKS [ROUNDS [MIB [host|device "
                               "[REPLICATED_MIB]]]]]\n"),
               2;
    if (argc > 2)
        bench.ranks = (uint32_t)atoi(argv[2]);
    if (argc > 3)
        bench.rounds = (uint32_t)atoi(argv[3]);
    if (argc > 4)
        bench.bytes = strtoul(argv[4], NULL, 10) << 20;
    bench.sleeps = argc > 5 && strcmp(argv[5], "device") == 0;
    bench.replicated = argc > 6 ? strtoul(argv[6], NULL, 10) << 20 : 0;
    if (bench.ranks < 2 || bench.ranks > RANKS_MAX || !bench.rounds || bench.rounds > ROUNDS_MAX ||
        !bench.bytes)
        return fprintf(stderr, "2 to %d ranks, 1 to %d rounds, 1 MiB\n", RANKS_MAX, ROUNDS_MAX), 2;
    const char *transport = getenv("SHOAL_TRANSPORT");
    bool linked = transport && strcmp(transport, "tcp") == 0 && bench.ranks % 2 == 0;
    int ends[RANKS_MAX];
    for (uint32_t i = 0; linked && i < bench.ranks; i += 2)
        tcp_pair_connect(ends + i);
    pid_t coordinator = bench_start_coordinator(argv[1], store, sizeof(store));
    if (coordinator <= 0)
        return fprintf(stderr, "no coordinator\n"), 1;
    for (uint32_t i = 0; i < bench.ranks; i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            bench.link = linked ? ends[i] : -1;
            run_rank(&bench, store);
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
