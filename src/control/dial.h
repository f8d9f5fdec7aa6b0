/*
 * The dialler: an authenticated connection to one peer, whichever of its addresses answers first.
 *
 * Addresses are tried in order; one that does not answer within SHL_DIAL_STAGGER_MS is joined by
 * the next, at most SHL_DIAL_PARALLEL at once. The first whose peer proves itself is the only one
 * that goes on, so the peer never takes two of them for the connection. When a round fails another
 * follows after a back-off with jitter, until the deadline.
 *
 * A brisk dialler looks for a peer that was there a moment ago, while the network may be cut. TCP
 * would repeat a lost first packet after one second, and then ever more seldom; so instead another
 * attempt is made every SHL_DIAL_BRISK_MS, in place of the second oldest one that got no answer.
 * The oldest is given up after SHL_DIAL_SPARE_MS, or half of it, by chance: an answer may travel
 * longer than the others take turns, and one that was lost is not waited for. Every second attempt
 * goes to the address that last worked.
 *
 * Threads  the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_DIAL_H
#define SHL_CONTROL_DIAL_H

#include "control/handshake.h"
#include "control/listener.h"
#include "control/loop.h"
#include "control/sock.h"

#define SHL_DIAL_CANDIDATES 12
#define SHL_DIAL_PARALLEL 4
#define SHL_DIAL_STAGGER_MS 200
#define SHL_DIAL_BRISK_MS 75
#define SHL_DIAL_BRISK_ANSWER_MS 1000 /* in the handshake, once the peer's host answered */
#define SHL_DIAL_SPARE_MS 2000        /* TCP repeats the first packet once in that time */
/* A peer that fails to prove the secret may be a leftover of a former job that is about to end. */
#define SHL_DIAL_AUTH_PATIENCE_MS 2000

enum shl_dial_outcome {
    SHL_DIAL_CONNECTED,
    SHL_DIAL_REFUSED, /* the peer's host says that nobody listens any more */
    SHL_DIAL_DENIED,  /* the peer answered, and will not have us: status and welcome say why */
    SHL_DIAL_EXPIRED
};

struct shl_dial_target {
    struct shl_sockaddr addresses[SHL_DIAL_CANDIDATES]; /* best first */
    uint32_t count;
};

struct shl_dial_result {
    enum shl_dial_outcome outcome;
    enum shoal_status status;
    uint8_t welcome;   /* enum shl_welcome, 0: none came */
    int fd;            /* CONNECTED only (a probe: -1); the callee's from now on */
    const char *cause; /* of the last failure, names the address */
};

struct shl_dialler;

struct shl_dial_attempt {
    struct shl_dialler *dialler;
    struct shl_watch watch;
    struct shl_handshake handshake;
    struct shl_timer timer;
    uint64_t since_ns;
    uint32_t candidate;
    bool connected;
    bool used;
};

struct shl_dialler {
    struct shl_loop *loop;
    const struct shl_key *key;
    struct shl_hello hello;
    const struct shl_dial_target *target; /* borrowed */
    bool give_up_when_refused;
    bool probe; /* only ask whether somebody listens; no handshake */
    bool brisk;
    uint64_t deadline_ns;
    void *arg;
    void (*done)(void *arg, const struct shl_dial_result *result);

    bool running;
    struct shl_dial_attempt attempts[SHL_DIAL_PARALLEL];
    struct shl_timer timer; /* the next attempt, or the next round */
    uint32_t tried;         /* candidates of this round; brisk: attempts */
    uint32_t refused;       /* a bit for each whose host says that nobody listens */
    uint32_t unreachable;   /* a bit for each without a route: they say nothing about the peer */
    uint32_t first;         /* candidate that last worked; tried first */
    bool worked;            /* `first` has worked once */
    bool first_refused;
    uint64_t denied_since_ns;
    uint64_t spare_until_ns; /* brisk: until then the oldest attempt is not given up */
    uint32_t backoff_ms;
    char cause[448];
};

void shl_dialler_init(struct shl_dialler *dialler, struct shl_loop *loop);
/* shl_dialler_start - the fields up to `done` are set. done is called once, from the loop, and may
 * start the dialler again. */
void shl_dialler_start(struct shl_dialler *dialler);
/* shl_dialler_stop - done will not be called; legal at any time after init. */
void shl_dialler_stop(struct shl_dialler *dialler);

#endif
