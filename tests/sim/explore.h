/*
 * An explorer of everything that three members can do to each other: the production core of
 * membership, driven through every order of deliveries, with up to a given number of faults at
 * every point of every one of them.
 *
 * A state is copied, one transition is made in the copy, and what comes out is explored unless it
 * was met before. Messages of a pair stay in order, as their session keeps them; all else may
 * happen in any order. Time passes when nothing is under way; that it passes earlier is a fault.
 *
 * The members carry out one operation, and what the engine promises about it is modelled in
 * explore_op.c, so that outcomes are checked on results: the set of members that contributed.
 *
 * Invariant: a state says everything that its future depends on; two with one hash are one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SIM_EXPLORE_H
#define SIM_EXPLORE_H

#include "elastic/membership/internal.h"

#define EXPLORE_NODES 3u
#define EXPLORE_ALL ((1u << EXPLORE_NODES) - 1)
#define EXPLORE_QUEUE 12u
#define EXPLORE_REQUESTS 3u
#define EXPLORE_EPOCHS 24u
#define EXPLORE_MS 1000000ull
#define EXPLORE_OP 6u /* the operation under way; those before it are settled */

enum explore_story {
    EXPLORE_FINAL,      /* an operation outside of steps, returned after its completion round */
    EXPLORE_OPTIMISTIC, /* the same, returned as soon as it is held, with a copy kept */
    EXPLORE_RETAIN,     /* inside a step that is redone */
    EXPLORE_ABORT,      /* inside a step that is given up */
    EXPLORE_LEAVE       /* nothing under way; the last member leaves at a boundary */
};

/* Rules that a test breaks on purpose, so that it is known that the checks see it. */
enum explore_broken { EXPLORE_KEPT, EXPLORE_NO_FENCE, EXPLORE_NO_COPY };

struct explore_options {
    enum explore_story story;
    enum explore_broken broken;
    uint32_t faults;
};

enum explore_stage { EXPLORE_IDLE, EXPLORE_ASKED, EXPLORE_ANSWERED };

struct explore_request {
    enum explore_stage stage;
    bool swap;
    enum shl_store_result result;
    uint64_t id, version;
    uint32_t bytes; /* interned; 0: none */
};

struct explore_node {
    bool alive, ended;
    enum shoal_status status;
    uint64_t epoch, fenced_for, fence_due, wake_ns;
    uint32_t members, veterans;
    uint32_t lost_due; /* members whose loss it is yet to hear of */
    bool tick_due;
    uint64_t boundary_due; /* epoch in which a step ended at a boundary; 0: none */

    /* The operation. Epochs say when it happened, since views make it begin again. */
    bool begun, held, settled, returned, given_up, decided;
    uint64_t contributed, told_held; /* epochs; 0: not */
    uint64_t forwarded;              /* epoch in which a result is on its way here; 0: none */
    uint32_t forwarded_result, result;
};

struct explore_state {
    uint64_t now_ns;
    uint32_t faults, crashed, cuts; /* crashed: a set; cuts: number */
    struct explore_node nodes[EXPLORE_NODES];
    struct explore_request requests[EXPLORE_NODES][EXPLORE_REQUESTS];
    uint32_t channel[EXPLORE_NODES][EXPLORE_NODES][EXPLORE_QUEUE]; /* interned; 0: end */
    bool cut[EXPLORE_NODES][EXPLORE_NODES];                        /* [from][to] */
    uint64_t store_version;
    uint32_t store_bytes;
    uint64_t committed[EXPLORE_EPOCHS]; /* hash of the view and decision of each epoch; 0: none */
    struct shl_membership cores[EXPLORE_NODES];
};

struct explore_result {
    uint64_t states, transitions, ends, violations;
    uint64_t published, redone, forwarded, failed; /* how often a transition did that */
};

/* Explores all; a violation is printed with the transitions that led to it and ends the test,
 * unless a rule is broken: then it ends the exploration. */
void explore_run(const struct explore_options *options, struct explore_result *result);

/* ---- between the files of the explorer ------------------------------------------------------- */

struct explore {
    struct explore_options options;
    struct explore_state *now; /* that the core's callbacks act on */
    struct explore_result result;
    uint64_t *visited; /* hash table of hashes */
    uint64_t visited_capacity;
    const char *violation; /* first thing that is not true */
};

static inline uint32_t explore_bit(uint32_t node)
{
    return 1u << node;
}

static inline bool explore_runs(const struct explore_node *node)
{
    return node->alive && !node->ended;
}

/* Notes the first violation. */
#define EXPLORE_CHECK(x, condition, text)                                                          \
    do {                                                                                           \
        if (!(condition) && !(x)->violation)                                                       \
            (x)->violation = text;                                                                 \
    } while (0)

/* explore_host.c: what the cores ask for, and the register. */
void explore_open(struct explore *x, struct explore_state *state);
uint32_t explore_intern(const void *bytes, size_t size);
const void *explore_bytes(uint32_t id, size_t *size);
uint64_t explore_bytes_hash(uint32_t id); /* of what they say, without numbers of attempts */
void explore_intern_clear(void);
uint32_t explore_members(const struct shl_members *members); /* as a set */
void explore_store_execute(struct explore *x, uint32_t node, uint32_t slot);
void explore_store_answer(struct explore *x, uint32_t node, uint32_t slot);

/* explore_op.c: the operation; in the story of a leave, steps. */
bool explore_step_can(const struct explore *x); /* one that ends at a boundary for all */
void explore_step_do(struct explore *x);
enum explore_op_step { EXPLORE_OP_BEGIN, EXPLORE_OP_HOLD, EXPLORE_OP_SETTLE, EXPLORE_OP_FORWARDED };
bool explore_op_can(const struct explore *x, uint32_t node, enum explore_op_step step);
void explore_op_do(struct explore *x, uint32_t node, enum explore_op_step step);
void explore_op_report(const struct explore *x, uint32_t node, struct shl_report *report);
void explore_op_publish(struct explore *x, uint32_t node, const struct shl_record *record);
void explore_op_check(struct explore *x);

/* explore_hash.c */
uint64_t explore_hash(const struct explore_state *state);
static inline uint64_t explore_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}
uint64_t explore_record_hash(uint64_t hash, const struct shl_record *record);

#endif
