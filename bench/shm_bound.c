/*
 * What an allreduce inside one host can cost on this machine: float32 sums written by hand, with
 * nothing of Shoal but its kernels. The yardstick for the shared-memory paths.
 *
 *   exchange   each rank writes its input beside a flag, reads all others', reduces everything
 *   mapped     every rank sees all buffers: reduces its slice from all inputs into all outputs
 *   mapped-nt  the same with streaming stores
 *   pull       ordinary buffers, process_vm_readv: pulls and reduces its slice, then pulls results
 *   staged     ordinary buffers, copied through windows of shared memory that stay in the cache
 *   staged-nt  the same with streaming stores into the results
 *   stream-in  and into the windows too: where cores share no near cache, lines that another core
 *              has just written come slowly
 *
 * All ranks run the same number of operations of each method and size; rounds of the methods
 * alternate, so that what disturbs the machine disturbs all. Buffers rotate through an arena, as in
 * allreduce_bench. Every method's result is checked once a size.
 *
 * Without -n it runs for 2 and for 4 ranks.
 *
 *     build/bench/shm_bound [-n ranks] [-b bytes] [-e bytes] [-f factor] [-r rounds]
 *                           [-R rotation bytes] [-c]      (-c: comma-separated values)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/reduce.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RANKS_MAX 16
#define ROUNDS_MAX 101
#define LINE_PAIR 128
#define EXCHANGE_BYTES 65536
#define EXCHANGE_SLOTS 4
#define WINDOW_BYTES (256u << 10) /* of the message, staged at a time */
#define PULL_BYTES (64u << 10)    /* pulled at a time: stays in the cache until it is reduced */
#define ROUND_NS 2000000          /* a round repeats short operations for about so long */
#define LARGE_BYTES (16u << 20)   /* from here on fewer rounds */
#define LARGE_ROUNDS 5
#define SPINS 200 /* before a waiter yields */

enum method { EXCHANGE, MAPPED, MAPPED_NT, PULL, STAGED, STAGED_NT, STREAM_IN, METHODS };

static const char *const method_names[METHODS] = {"exchange", "mapped",    "mapped-nt", "pull",
                                                  "staged",   "staged-nt", "stream-in"};

/* One writer each, a pair of lines apart. */
struct flag {
    _Alignas(LINE_PAIR) _Atomic uint64_t value;
    uint8_t payload[LINE_PAIR - 8]; /* small inputs share the line of the flag */
};

struct shared {
    struct flag barrier[RANKS_MAX];
    struct flag exchange[RANKS_MAX][EXCHANGE_SLOTS];
    pid_t pids[RANKS_MAX];
    uint64_t private_in[RANKS_MAX], private_out[RANKS_MAX]; /* addresses there */
    _Atomic uint64_t count;                                 /* operations of the next round */
    _Alignas(4096) uint8_t slots[RANKS_MAX][EXCHANGE_SLOTS][EXCHANGE_BYTES];
    uint8_t window[RANKS_MAX][2][WINDOW_BYTES]; /* inputs, by owner of the copy */
    uint8_t result[RANKS_MAX][2][WINDOW_BYTES]; /* sums, by owner of the slice */
};

struct options {
    uint32_t ranks, rounds, factor;
    uint64_t first_bytes, last_bytes, rotate_bytes;
    bool csv;
};

static struct options options = {.ranks = 0,
                                 .rounds = 9,
                                 .factor = 2,
                                 .first_bytes = 8,
                                 .last_bytes = 256u << 20,
                                 .rotate_bytes = 32u << 20};
static struct shared *shared;
static uint32_t rank;
static bool crowded; /* more ranks than processors: a waiter yields at once */
static const struct shl_reducer *sum;
static uint64_t arena_bytes;
static uint8_t *mapped_in[RANKS_MAX], *mapped_out[RANKS_MAX]; /* shared */
static uint8_t *private_in, *private_out;
static float *bounce[RANKS_MAX];

static void die(const char *what)
{
    fprintf(stderr, "shm_bound: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- waiting ------------------------------------------------------------------------------------
 */

static void wait_for(const _Atomic uint64_t *flag, uint64_t value)
{
    for (unsigned spins = 0; atomic_load_explicit(flag, memory_order_acquire) < value; spins++) {
        if (crowded || spins > SPINS)
            sched_yield();
#if defined(__x86_64__)
        else
            __builtin_ia32_pause();
#endif
    }
}

static void barrier(void)
{
    static uint64_t turn;
    turn++;
    atomic_store_explicit(&shared->barrier[rank].value, turn, memory_order_release);
    for (uint32_t i = 0; i < options.ranks; i++)
        wait_for(&shared->barrier[i].value, turn);
}

/* ---- slices -------------------------------------------------------------------------------------
 */

/* Bytes [*from, *to) of `bytes` belong to rank r; whole elements, whole lines where there are
 * enough. */
static void slice_of(uint64_t bytes, uint32_t r, uint64_t *from, uint64_t *to)
{
    uint64_t unit = bytes >= (uint64_t)LINE_PAIR * options.ranks ? LINE_PAIR : sizeof(float);
    uint64_t units = bytes / unit;
    *from = units * r / options.ranks * unit;
    *to = r + 1 == options.ranks ? bytes : units * (r + 1) / options.ranks * unit;
}

/* ---- methods ------------------------------------------------------------------------------------
 */

static void run_exchange(uint64_t at, uint64_t bytes)
{
    static uint64_t turn;
    unsigned slot = (unsigned)(++turn % EXCHANGE_SLOTS);
    struct flag *mine = &shared->exchange[rank][slot];
    const void *inputs[RANKS_MAX];
    bool small = bytes <= sizeof(mine->payload);
    memcpy(small ? mine->payload : shared->slots[rank][slot], private_in + at, bytes);
    atomic_store_explicit(&mine->value, turn, memory_order_release);
    for (uint32_t i = 0; i < options.ranks; i++) {
        const struct flag *flag = &shared->exchange[i][slot];
        wait_for(&flag->value, turn);
        inputs[i] = small ? flag->payload : shared->slots[i][slot];
    }
    /* Slots come again after four turns, and nobody is more than one turn ahead. */
    sum->many(private_out + at, inputs, options.ranks, bytes / sizeof(float));
}

static void run_mapped(uint64_t at, uint64_t bytes, bool nontemporal)
{
    const void *inputs[RANKS_MAX];
    void *outputs[RANKS_MAX];
    uint64_t from, to;
    slice_of(bytes, rank, &from, &to);
    barrier(); /* inputs are ready, outputs are free */
    for (uint32_t i = 0; i < options.ranks; i++) {
        inputs[i] = mapped_in[i] + at + from;
        outputs[i] = mapped_out[i] + at + from;
    }
    sum->push(outputs, options.ranks, inputs, options.ranks, (to - from) / sizeof(float),
              nontemporal);
    barrier();
}

static void pull(uint32_t from_rank, uint64_t address, void *to, uint64_t bytes)
{
    struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)address, bytes};
    if (process_vm_readv(shared->pids[from_rank], &local, 1, &remote, 1, 0) != (ssize_t)bytes)
        die("process_vm_readv");
}

static void pull_and_reduce(uint64_t at, uint64_t bytes)
{
    const void *inputs[RANKS_MAX];
    for (uint32_t i = 0; i < options.ranks; i++) {
        inputs[i] = i == rank ? (const void *)(private_in + at) : bounce[i];
        if (i != rank)
            pull(i, shared->private_in[i] + at, bounce[i], bytes);
    }
    sum->many(private_out + at, inputs, options.ranks, bytes / sizeof(float));
}

static void run_pull(uint64_t at, uint64_t bytes)
{
    uint64_t from, to;
    slice_of(bytes, rank, &from, &to);
    barrier();
    for (; from < to; from += PULL_BYTES)
        pull_and_reduce(at + from, to - from < PULL_BYTES ? to - from : PULL_BYTES);
    barrier();
    for (uint32_t k = 1; k < options.ranks; k++) {
        uint32_t other = (rank + k) % options.ranks;
        slice_of(bytes, other, &from, &to);
        if (to > from)
            pull(other, shared->private_out[other] + at + from, private_out + at + from, to - from);
    }
    barrier();
}

/* Everything of the window but the own slice goes where its owner finds it. */
static void stage_in(uint64_t at, uint64_t bytes, unsigned side, bool nontemporal)
{
    uint64_t from, to;
    slice_of(bytes, rank, &from, &to);
    shl_copy(shared->window[rank][side], private_in + at, from, nontemporal);
    shl_copy(shared->window[rank][side] + to, private_in + at + to, bytes - to, nontemporal);
}

static void reduce_slice(uint64_t at, uint64_t bytes, unsigned side, bool nontemporal)
{
    const void *inputs[RANKS_MAX];
    uint64_t from, to;
    slice_of(bytes, rank, &from, &to);
    for (uint32_t i = 0; i < options.ranks; i++)
        inputs[i] = i == rank ? private_in + at + from : shared->window[i][side] + from;
    sum->many(shared->result[rank][side] + from, inputs, options.ranks, (to - from) / 4);
    shl_copy(private_out + at + from, shared->result[rank][side] + from, to - from, nontemporal);
}

static void stage_out(uint64_t at, uint64_t bytes, unsigned side, bool nontemporal)
{
    for (uint32_t k = 1; k < options.ranks; k++) {
        uint32_t other = (rank + k) % options.ranks;
        uint64_t from, to;
        slice_of(bytes, other, &from, &to);
        shl_copy(private_out + at + from, shared->result[other][side] + from, to - from,
                 nontemporal);
    }
}

static uint64_t window_at(uint64_t bytes, uint64_t index)
{
    uint64_t left = bytes - index * WINDOW_BYTES;
    return left < WINDOW_BYTES ? left : WINDOW_BYTES;
}

/* Two windows alternate, so one barrier a step is enough: in step k, window k is reduced, window
 * k + 1 is brought in and window k - 1 is taken out. */
static void run_staged(uint64_t at, uint64_t bytes, bool nontemporal, bool stream_in)
{
    uint64_t windows = (bytes + WINDOW_BYTES - 1) / WINDOW_BYTES;
    barrier();
    stage_in(at, window_at(bytes, 0), 0, stream_in);
    for (uint64_t k = 0; k <= windows; k++) {
        barrier();
        if (k + 1 < windows)
            stage_in(at + (k + 1) * WINDOW_BYTES, window_at(bytes, k + 1), (k + 1) % 2, stream_in);
        if (k > 0)
            stage_out(at + (k - 1) * WINDOW_BYTES, window_at(bytes, k - 1), (k - 1) % 2,
                      nontemporal);
        if (k < windows)
            reduce_slice(at + k * WINDOW_BYTES, window_at(bytes, k), k % 2, nontemporal);
    }
}

static void run_method(enum method method, uint64_t at, uint64_t bytes)
{
    switch (method) {
    case EXCHANGE:
        run_exchange(at, bytes);
        break;
    case MAPPED:
    case MAPPED_NT:
        run_mapped(at, bytes, method == MAPPED_NT);
        break;
    case PULL:
        run_pull(at, bytes);
        break;
    default:
        run_staged(at, bytes, method != STAGED, method == STREAM_IN);
    }
}

static bool applies(enum method method, uint64_t bytes)
{
    if (method == EXCHANGE)
        return bytes <= EXCHANGE_BYTES;
    return bytes >= 1024; /* below it only the exchange makes sense */
}

/* ---- measuring ----------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean of `count` operations, in microseconds. */
static double time_round(enum method method, uint64_t bytes, uint64_t count)
{
    uint64_t copies = arena_bytes / bytes;
    barrier();
    uint64_t start_ns = now_ns();
    for (uint64_t i = 0; i < count; i++)
        run_method(method, i % copies * bytes, bytes);
    barrier();
    return (double)(now_ns() - start_ns) / (double)count / 1000;
}

/* Rank 0 says how often, so that all do the same. */
static uint64_t agree_count(double one_us)
{
    if (rank == 0) {
        double count = ROUND_NS / 1000.0 / (one_us > 0.01 ? one_us : 0.01);
        atomic_store(&shared->count, count < 1 ? 1 : (uint64_t)count);
    }
    barrier();
    uint64_t count = atomic_load(&shared->count);
    barrier();
    return count;
}

static void check(enum method method, uint64_t bytes)
{
    bool mapped = method == MAPPED || method == MAPPED_NT;
    uint8_t *in = mapped ? mapped_in[rank] : private_in;
    const float *out = (const float *)(void *)(mapped ? mapped_out[rank] : private_out);
    uint64_t elements = bytes / sizeof(float);
    for (uint64_t i = 0; i < elements; i++)
        ((float *)(void *)in)[i] = (float)(rank + i % 1000);
    memset(mapped ? mapped_out[rank] : private_out, 0xff, bytes);
    barrier();
    run_method(method, 0, bytes);
    barrier();
    float ranks = (float)options.ranks;
    for (uint64_t i = 0; i < elements; i++) {
        if (out[i] != ranks * (float)(i % 1000) + ranks * (ranks - 1) / 2) {
            fprintf(stderr, "shm_bound: %s, %llu bytes: element %llu is %g\n", method_names[method],
                    (unsigned long long)bytes, (unsigned long long)i, (double)out[i]);
            exit(1);
        }
    }
    barrier();
}

struct result {
    double least_us, median_us;
};

static void measure_size(uint64_t bytes, struct result results[METHODS])
{
    static double times[METHODS][ROUNDS_MAX];
    uint64_t counts[METHODS];
    uint32_t rounds = options.rounds;
    if (bytes >= LARGE_BYTES && rounds > LARGE_ROUNDS)
        rounds = LARGE_ROUNDS;
    for (int m = 0; m < METHODS; m++) {
        if (!applies(m, bytes))
            continue;
        check(m, bytes);
        counts[m] = agree_count(time_round(m, bytes, bytes < 65536 ? 20 : 2));
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (int m = 0; m < METHODS; m++) {
            if (applies(m, bytes))
                times[m][round] = time_round(m, bytes, counts[m]);
        }
    }
    for (int m = 0; m < METHODS; m++) {
        qsort(times[m], rounds, sizeof(double), by_value);
        results[m].least_us = times[m][0];
        results[m].median_us = times[m][rounds / 2];
    }
}

static void print_size(uint64_t bytes, const struct result results[METHODS])
{
    if (!options.csv)
        printf("%11llu", (unsigned long long)bytes);
    for (int m = 0; m < METHODS; m++) {
        if (options.csv && applies(m, bytes))
            printf("%u,%llu,%s,%.3f,%.3f\n", options.ranks, (unsigned long long)bytes,
                   method_names[m], results[m].least_us, results[m].median_us);
        else if (!options.csv && applies(m, bytes))
            printf(" %10.2f/%-10.2f", results[m].least_us, results[m].median_us);
        else if (!options.csv)
            printf(" %21s", "-     ");
    }
    if (!options.csv)
        printf("\n");
    fflush(stdout);
}

static void print_head(void)
{
    if (options.csv) {
        printf("ranks,bytes,method,min_us,median_us\n");
        return;
    }
    printf("# allreduce by hand, float32 sum, %u ranks, %u rounds, kernels %s, buffers rotate "
           "through %llu bytes\n# min/median of the rounds, us\n#     bytes",
           options.ranks, options.rounds, sum->isa, (unsigned long long)options.rotate_bytes);
    for (int m = 0; m < METHODS; m++)
        printf(" %21s", method_names[m]);
    printf("\n");
}

/* ---- set-up -------------------------------------------------------------------------------------
 */

static void *map_memory(uint64_t bytes, int flags)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

static void pin(void)
{
    cpu_set_t all, one;
    int wanted = (int)rank, cpu = 0;
    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        return;
    crowded = options.ranks > (uint32_t)CPU_COUNT(&all);
    wanted %= CPU_COUNT(&all);
    for (; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && wanted-- == 0)
            break;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one); /* best effort */
}

static void run_rank(void)
{
    pin();
    shared->pids[rank] = getpid();
    private_in = map_memory(arena_bytes, MAP_PRIVATE);
    private_out = map_memory(arena_bytes, MAP_PRIVATE);
    shared->private_in[rank] = (uint64_t)(uintptr_t)private_in;
    shared->private_out[rank] = (uint64_t)(uintptr_t)private_out;
    for (uint32_t i = 0; i < options.ranks; i++)
        bounce[i] = map_memory(PULL_BYTES, MAP_PRIVATE);
    memset(private_in, 0, arena_bytes);
    memset(private_out, 0, arena_bytes);
    memset(mapped_in[rank], 0, arena_bytes);
    memset(mapped_out[rank], 0, arena_bytes);
    if (rank == 0)
        print_head();
    for (uint64_t bytes = options.first_bytes; bytes <= options.last_bytes;
         bytes *= options.factor) {
        struct result results[METHODS];
        measure_size(bytes, results);
        if (rank == 0)
            print_size(bytes, results);
    }
}

static uint64_t parse_bytes(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    return value << shift;
}

static bool parse(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "n:b:e:f:r:R:c")) != -1) {
        switch (option) {
        case 'n':
            options.ranks = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            options.first_bytes = parse_bytes(optarg);
            break;
        case 'e':
            options.last_bytes = parse_bytes(optarg);
            break;
        case 'f':
            options.factor = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            options.rounds = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'R':
            options.rotate_bytes = parse_bytes(optarg);
            break;
        case 'c':
            options.csv = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && options.ranks <= RANKS_MAX && options.rounds >= 1 &&
           options.rounds <= ROUNDS_MAX && options.factor >= 2 && options.first_bytes >= 4 &&
           options.first_bytes % 4 == 0;
}

/* One process a rank, this one too. Does not return. */
static void measure(uint32_t ranks)
{
    options.ranks = ranks;
    shared = map_memory(sizeof(*shared), MAP_SHARED);
    for (uint32_t i = 0; i < ranks; i++) {
        mapped_in[i] = map_memory(arena_bytes, MAP_SHARED);
        mapped_out[i] = map_memory(arena_bytes, MAP_SHARED);
    }
    for (rank = ranks - 1; rank > 0; rank--) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run_rank();
            exit(0);
        }
    }
    run_rank();
    int status, wrong = 0;
    while (wait(&status) > 0)
        wrong |= status;
    exit(wrong != 0);
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        fprintf(stderr, "usage: shm_bound [-n ranks] [-b first bytes] [-e last bytes] [-f factor] "
                        "[-r rounds] [-R rotation bytes] [-c]\n");
        return 2;
    }
    sum = shl_reducer_get(SHOAL_F32, SHOAL_SUM);
    arena_bytes =
        options.rotate_bytes > options.last_bytes ? options.rotate_bytes : options.last_bytes;
    if (options.ranks)
        measure(options.ranks);
    int wrong = 0;
    for (uint32_t ranks = 2; ranks <= 4; ranks *= 2) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            measure(ranks);
        wrong |= pid < 0 || waitpid(pid, &status, 0) < 0 || status;
    }
    return wrong;
}
