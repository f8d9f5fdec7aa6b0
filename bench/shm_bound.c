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
 *   stream     and into the windows too: where cores share no near cache, lines that another core
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
#include "shm_bound.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct bound bound = {.options = {.rounds = 9,
                                  .factor = 2,
                                  .first_bytes = 8,
                                  .last_bytes = 256u << 20,
                                  .rotate_bytes = 32u << 20}};

void bound_die(const char *what)
{
    fprintf(stderr, "shm_bound: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- set-up --------------------------------------------------------------------------------- */

static void *map_memory(uint64_t bytes, int flags)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bound_die("mmap");
    return p;
}

static void pin(void)
{
    cpu_set_t all, one;
    int wanted = (int)bound.rank, cpu = 0;
    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        return;
    bound.crowded = bound.options.ranks > (uint32_t)CPU_COUNT(&all);
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
    bound.shared->pids[bound.rank] = getpid();
    bound.private_in = map_memory(bound.arena_bytes, MAP_PRIVATE);
    bound.private_out = map_memory(bound.arena_bytes, MAP_PRIVATE);
    bound.shared->private_in[bound.rank] = (uint64_t)(uintptr_t)bound.private_in;
    bound.shared->private_out[bound.rank] = (uint64_t)(uintptr_t)bound.private_out;
    for (uint32_t i = 0; i < bound.options.ranks; i++)
        bound.bounce[i] = map_memory(BOUND_PULL_BYTES, MAP_PRIVATE);
    memset(bound.private_in, 0, bound.arena_bytes);
    memset(bound.private_out, 0, bound.arena_bytes);
    memset(bound.mapped_in[bound.rank], 0, bound.arena_bytes);
    memset(bound.mapped_out[bound.rank], 0, bound.arena_bytes);
    bound_measure();
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
            bound.options.ranks = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            bound.options.first_bytes = parse_bytes(optarg);
            break;
        case 'e':
            bound.options.last_bytes = parse_bytes(optarg);
            break;
        case 'f':
            bound.options.factor = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            bound.options.rounds = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'R':
            bound.options.rotate_bytes = parse_bytes(optarg);
            break;
        case 'c':
            bound.options.csv = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && bound.options.ranks <= BOUND_RANKS_MAX && bound.options.rounds >= 1 &&
           bound.options.rounds <= BOUND_ROUNDS_MAX && bound.options.factor >= 2 &&
           bound.options.first_bytes >= 4 && bound.options.first_bytes % 4 == 0;
}

/* One process a rank, this one too. Does not return. */
static void measure(uint32_t ranks)
{
    bound.options.ranks = ranks;
    bound.shared = map_memory(sizeof(*bound.shared), MAP_SHARED);
    for (uint32_t i = 0; i < ranks; i++) {
        bound.mapped_in[i] = map_memory(bound.arena_bytes, MAP_SHARED);
        bound.mapped_out[i] = map_memory(bound.arena_bytes, MAP_SHARED);
    }
    for (bound.rank = ranks - 1; bound.rank > 0; bound.rank--) {
        pid_t pid = fork();
        if (pid < 0)
            bound_die("fork");
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
    bound.sum = shl_reducer_get(SHOAL_F32, SHOAL_SUM);
    bound.arena_bytes = bound.options.rotate_bytes > bound.options.last_bytes
                            ? bound.options.rotate_bytes
                            : bound.options.last_bytes;
    if (bound.options.ranks)
        measure(bound.options.ranks);
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
