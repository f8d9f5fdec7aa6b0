/*
 * Bare sockets over loopback between two processes: what carries bytes when nothing is made of
 * them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_BENCH_TCP_PAIR_H
#define SHL_BENCH_TCP_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Two ends, which do not block. Ends the process where there is none, as all here do. */
void tcp_pair_connect(int fds[2]);

/* What a send or a receive moved. */
size_t tcp_pair_moved(ssize_t result);

/* One process's part of a transfer: `bytes` out, or in, or both at once, over all streams. */
struct tcp_pair_transfer {
    const int *fds; /* by stream */
    int streams;
    bool sends, receives;
    const uint8_t *out;
    uint8_t *in;
    size_t bytes;
};

/* tcp_pair_run - polls until all of it is moved. */
void tcp_pair_run(const struct tcp_pair_transfer *transfer);

#endif
