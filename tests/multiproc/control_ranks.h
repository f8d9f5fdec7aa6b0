/*
 * Real processes that each run one rank's control, for tests: started by fork, observed through
 * shared memory.
 *
 * The parent decides (messages, signals) and looks; children only react. Each child floods what it
 * is asked to, and records what its callbacks tell.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MULTIPROC_CONTROL_RANKS_H
#define MULTIPROC_CONTROL_RANKS_H

#include "control/control.h"

#include <stdatomic.h>
#include <sys/types.h>

#define RANKS_MAX 64

/* What one rank shows of itself. Written by its process, read by the test. */
struct rank_view {
    _Atomic int created, started; /* 0: not yet, 1: OK, else the status */
    _Atomic int stopped;
    char detail[512];
    _Atomic uint64_t received[RANKS_MAX]; /* messages from each origin */
    _Atomic uint32_t disorder;            /* messages that came twice, late or damaged */
    _Atomic uint32_t lost[RANKS_MAX];     /* calls of on_lost for each rank */
    _Atomic uint64_t lost_ns[RANKS_MAX];
    char lost_cause[RANKS_MAX][256];
};

/* What the test asks of all ranks. */
struct ranks_board {
    struct shl_control_address addresses[RANKS_MAX];
    struct rank_view view[RANKS_MAX];
    _Atomic uint32_t published;
    _Atomic uint32_t may_start;
    _Atomic uint64_t flood_to; /* each rank floods until it has sent so many */
    _Atomic uint32_t payload_bytes;
    _Atomic uint64_t leave; /* bit mask: these stop, and end */
    /* The control threads of these (bit mask) burn CPU for so long at the next message they get,
     * once: like threads that wait for it. */
    _Atomic uint64_t busy;
    _Atomic uint64_t busy_ns;
};

struct ranks {
    uint32_t size;
    struct ranks_board *board;
    pid_t pids[RANKS_MAX];
    const char *secret;          /* NULL: none */
    const char *const *settings; /* "SHOAL_KEY=value", up to a NULL */
    uint64_t start_ms;           /* deadline of shl_control_start */
    bool over_tcp;               /* no sessions over Unix sockets */
    uint64_t strangers;          /* bit mask: these have another secret */
};

/* ranks_launch - fork them and wait until each has published its address. The test may change
 * board->addresses before ranks_start. Fails the test on any error. */
void ranks_launch(struct ranks *ranks);
void ranks_start(struct ranks *ranks);         /* let them start; does not wait */
void ranks_await_started(struct ranks *ranks); /* all with OK */
/* Wait until start has ended on `rank`, whatever the outcome: 1 for OK, else the status. */
int ranks_await_outcome(struct ranks *ranks, uint32_t rank);
void ranks_leave(struct ranks *ranks, uint64_t who); /* bit mask; waits until they are gone */
void ranks_flood(struct ranks *ranks, uint64_t to, uint32_t payload_bytes);
/* Wait until every rank in `alive` (bit mask) got `count` messages of every rank in `from`. */
void ranks_await_floods(struct ranks *ranks, uint64_t alive, uint64_t from, uint64_t count);
/* Wait until all ranks in `alive` know that `rank` is lost; the time it took from `since_ns`. */
uint64_t ranks_await_lost(struct ranks *ranks, uint64_t alive, uint32_t rank, uint64_t since_ns);
void ranks_kill(struct ranks *ranks, uint32_t rank, int signal);
/* Ask all to stop, reap them; those in `expected` (bit mask) must have ended well. */
void ranks_finish(struct ranks *ranks, uint64_t expected);

#endif
