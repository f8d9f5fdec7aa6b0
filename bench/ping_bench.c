/*
 * What a message of a few bytes takes from one rank to the other, with all that a call costs:
 * broadcasts whose root alternates, so that each rank waits for the other's, and half the time of
 * two. To set beside half a round trip of the wire (rdma_bound, perftest).
 *
 * Two ranks, from the launcher's environment. Rank 0 prints "bytes,us". Values are checked.
 *
 *     shoal run -n 2 -- build/bench/ping_bench [bytes [trips]]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "figures.h"

#include <shoal/shoal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UPS 100
#define ROUNDS 15
#define BYTES_MAX ((size_t)1 << 20)

static uint32_t rank;
static uint8_t *message;

/* There and back. */
static void trip(struct shoal_comm *comm, size_t bytes, uint8_t value)
{
    for (uint32_t root = 0; root < 2; root++) {
        const uint8_t sent = (uint8_t)(value + root);
        memset(message, rank == root ? sent : 0, bytes);
        figures_need(shoal_broadcast(comm, message, message, bytes, SHOAL_U8, root) == SHOAL_OK,
                     "broadcast");
        for (size_t i = 0; i < bytes; i++)
            if (message[i] != sent) {
                fprintf(stderr, "ping_bench: rank %u: byte %zu is wrong\n", rank, i);
                exit(1);
            }
    }
}

static double round_us(struct shoal_comm *comm, size_t bytes, int trips)
{
    double start_s = figures_now_s();
    for (int i = 0; i < trips; i++)
        trip(comm, bytes, (uint8_t)i);
    return (figures_now_s() - start_s) * 1e6 / trips / 2;
}

int main(int argc, char **argv)
{
    const size_t bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 8;
    const int trips = argc > 2 ? atoi(argv[2]) : 200;
    struct shoal_context *context = NULL;
    struct shoal_comm *comm = NULL;
    double rounds[ROUNDS];
    if (argc > 3 || bytes < 1 || bytes > BYTES_MAX || trips < 1) {
        fprintf(stderr, "usage: ping_bench [bytes, at most 1048576 [trips]]\n");
        return 2;
    }
    figures_need(shoal_context_create(NULL, &context) == SHOAL_OK, "context");
    figures_need(shoal_comm_create_from_env(context, &comm) == SHOAL_OK, "communicator");
    rank = shoal_comm_rank(comm);
    message = malloc(bytes);
    if (!message || shoal_comm_size(comm) != 2) {
        fprintf(stderr, "ping_bench: it takes memory, and two ranks\n");
        return 1;
    }
    (void)round_us(comm, bytes, WARM_UPS);
    for (int i = 0; i < ROUNDS; i++)
        rounds[i] = round_us(comm, bytes, trips);
    if (rank == 0)
        printf("%zu,%.3f\n", bytes, figures_median(rounds, ROUNDS));
    free(message);
    shoal_comm_destroy(comm);
    shoal_context_destroy(context);
    return 0;
}
