/*
 * A deterministic world for the membership core: virtual workers that run operations in steps, a
 * network and a store that misbehave, all on one virtual clock and one seed.
 *
 * The workers' data path is a model of what the engine promises (completion round, kept copies,
 * kept inputs, fences), so outcomes that members agree on are checked on real results: the result
 * of an operation is the set of lives that contributed.
 *
 * Invariant: everything follows from the seed. A broken check ends the test and prints it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SIM_MEMBERSHIP_WORLD_H
#define SIM_MEMBERSHIP_WORLD_H

#include "elastic/membership/membership.h"
#include "support/random.h"
#include "support/test.h"

#define WORLD_SLOTS_MAX 8u
#define WORLD_LIVES_MAX 64u
#define WORLD_OPS 1024u /* of each life are remembered and compared */
#define WORLD_EPOCHS 4096u
#define WORLD_STEPS 8192u
#define WORLD_MS 1000000ull
#define WORLD_SECOND (1000 * WORLD_MS)

/* Rules that a test breaks on purpose, so that it is known that the checks see it. */
enum world_broken_rule {
    WORLD_RULES_KEPT,
    WORLD_NO_FENCE,          /* operations go on after the report */
    WORLD_NO_ROUND,          /* operations return when held, and no copy is kept */
    WORLD_NO_STEP_RETENTION, /* a step that is redone takes what is held for good */
    WORLD_FORWARD_BY_CALL,   /* a result is forwarded by who has it only when its program calls */
    WORLD_SETTLED_BY_JOINER, /* a joiner says that all have what is still on its way to some */
    WORLD_NO_STATEMENTS      /* a deadline is told to a program although another has the result */
};

struct world_options {
    uint64_t seed;
    uint32_t slots, start, min, max;
    enum shl_step_mode mode;
    enum shl_partition_policy policy;
    bool loose;      /* operations outside of steps; commits only mark boundaries */
    bool by_number;  /* loose: programs commit at certain numbers, so that a joiner that comes
                        between  others is in step; and nobody holds a commit before its round */
    bool optimistic; /* operations return with a kept copy, before the completion round */
    bool bad_paths;  /* messages are lost, repeated and late, answers of the store too */
    bool no_restart; /* whoever is gone stays away */
    bool told;       /* prints what happens, for a seed that is repeated */
    enum world_broken_rule broken;
    bool drivers_die; /* a writer often crashes as its write lands */
};

struct world_op {
    uint64_t seq;
    uint64_t epoch; /* of what was heard: inputs and holders */
    bool begun, contributed, held, returned, settled, failed, commit;
    bool told;            /* that its deadline passed */
    bool stopped, uneven; /* in this epoch: given up here; another has the result */
    uint64_t stated;      /* lives that said which of both */
    uint64_t result;      /* lives that contributed */
    uint64_t inputs, holders;
    uint64_t wanted;
};

/* One life of a worker. It stays for the checks when it is over. */
struct world_life {
    struct world *world;
    uint32_t number, slot;
    uint64_t id, floor;
    bool running, ended; /* ended: the core said so */
    enum shoal_status status;
    uint64_t stopped_until_ns, wake_ns;
    struct shl_membership *core;

    /* The view in force. */
    uint64_t epoch, fenced_for; /* fenced_for: proposal; 0: not fenced */
    uint64_t members, veterans; /* lives of the view; those that were in the view before */
    uint64_t decided;           /* operations up to here are the veterans' business */
    uint64_t published_ns;

    /* The program and its operations. */
    uint64_t started, settled, step, step_last, step_first, in_step;
    uint32_t unreturned;
    bool commit_open, boundary_due;
    bool gives_up; /* it cannot finish its step */
    bool mute;     /* it computes, and calls nothing */
    struct world_op ops[WORLD_OPS];

    uint64_t heard_ns[WORLD_LIVES_MAX];
    uint64_t suspected; /* lives */
};

struct world_store {
    uint64_t incarnation, version;
    uint8_t *bytes;
    size_t size;
    uint64_t down_until_ns;
    struct shl_record record; /* decoded */
    bool has_record;
};

struct world_view {
    uint64_t incarnation, epoch, hash;
};

enum world_event_kind {
    WORLD_START,
    WORLD_MESSAGE,
    WORLD_DATA,
    WORLD_REQUEST,
    WORLD_ANSWER,
    WORLD_WAKE,
    WORLD_FENCED,
    WORLD_DETECT,
    WORLD_LOST, /* a connection broke */
    WORLD_APP,
    WORLD_BOUNDARY,
    WORLD_CAUGHT_UP
};

enum world_data_kind { WORLD_INPUT, WORLD_HELD, WORLD_SETTLED, WORLD_FORWARDED, WORLD_STATED };

struct world_event {
    uint64_t order;
    enum world_event_kind kind;
    uint32_t to, from; /* lives */
    uint64_t epoch, seq, result, wanted;
    enum world_data_kind data;
    union { /* by kind */
        struct shl_store_request request;
        struct shl_store_answer answer;
    };
    uint8_t *bytes; /* owned */
    size_t size;
    struct world_event *next; /* while it is spare */
};

/* What orders events stands beside them, so that sorting does not touch each. */
struct world_due {
    uint64_t at_ns, order;
    struct world_event *event;
};

/* Who wants to know what happens to lives; NULL: nobody. */
struct world_observer {
    void *arg;
    void (*committed)(void *arg, const struct world_life *life, uint64_t contributors);
    void (*published)(void *arg, const struct world_life *life, const struct shl_record *record,
                      uint64_t members_before); /* 0: its first view */
};

struct world {
    struct world_options options;
    const struct world_observer *observer;
    uint64_t random, now_ns, order, events_run, trace;
    struct world_due *heap;
    size_t heap_count, heap_capacity;
    uint32_t life_count;
    struct world_life *lives[WORLD_LIVES_MAX];
    uint32_t current[WORLD_SLOTS_MAX]; /* life in each slot, or WORLD_LIVES_MAX */
    uint64_t cut_until_ns[WORLD_SLOTS_MAX][WORLD_SLOTS_MAX];
    uint64_t store_cut_until_ns[WORLD_SLOTS_MAX];
    bool calm; /* no more faults of any kind */
    struct world_store store;
    uint32_t view_count;
    struct world_view views[WORLD_EPOCHS];
    uint64_t step_hashes[WORLD_STEPS];
    uint64_t orphans;    /* lives whose job the store has lost, until they know */
    uint64_t steps_done; /* highest step that anybody committed */
    uint32_t troubles;   /* failed checks, when a rule is broken on purpose */
    uint32_t commits, evictions, joins, leaves, failures, retries, redone, forwarded;
    uint32_t wishes;       /* to give a step up */
    uint32_t late, uneven; /* deadlines that passed; of these, while another had the result */
    uint64_t messages;     /* that members sent each other */
};

#define WORLD_CHECK(world, condition, ...)                                                         \
    do {                                                                                           \
        bool world_check_holds = (condition);                                                      \
        if (!world_check_holds && (world)->options.broken) {                                       \
            (world)->troubles++;                                                                   \
        } else if (!world_check_holds) {                                                           \
            print_error("at %.3f ms: ", (double)(world)->now_ns / 1e6);                            \
            print_error(__VA_ARGS__);                                                              \
            fail_msg("not true: %s; repeat with SHOAL_TEST_SEED=%llu", #condition,                 \
                     (unsigned long long)(world)->options.seed);                                   \
        }                                                                                          \
    } while (0)

/* membership_world.c */
struct world *world_open(const struct world_options *options);
void world_close(struct world *world);
void world_run(struct world *world, uint64_t until_ns);
/* All who run share the last view and their cores want nothing; what was sent before `order` has
 * arrived. */
bool world_at_rest(const struct world *world, uint64_t order);
uint64_t world_random(struct world *world, uint64_t below);
struct world_event *world_event(struct world *world, enum world_event_kind kind, uint32_t to,
                                uint64_t delay_ns);
/* A new life in an empty slot. */
void world_start(struct world *world, uint32_t slot, uint64_t delay_ns, uint64_t floor);
void world_crash(struct world *world, uint32_t life);
struct world_life *world_in_slot(struct world *world, uint32_t slot); /* running, or NULL */
bool world_link_up(const struct world *world, uint32_t from, uint32_t to);
/* Over a connection of the data path: late while the link is cut, never lost. */
void world_send_data(struct world_life *life, uint32_t to, enum world_data_kind kind, uint64_t seq,
                     uint64_t result, uint64_t wanted);
uint32_t world_life_of(const struct world *world, uint64_t id);
uint64_t world_lives_of(const struct world *world, const struct shl_members *members);

/* One line about what happens, when that is wanted. */
#define WORLD_SAY(world, ...)                                                                      \
    do {                                                                                           \
        if ((world)->options.told) {                                                               \
            print_message("%10.3f ms  ", (double)(world)->now_ns / 1e6);                           \
            print_message(__VA_ARGS__);                                                            \
        }                                                                                          \
    } while (0)

/* membership_store.c */
void world_store_open(struct world *world);
void world_store_request(struct world *world, struct world_event *event);
void world_store_lose(struct world *world); /* the journal is gone */

/* membership_engine.c: the model of the data path. */
void world_engine_publish(struct world_life *life, const struct shl_record *record);
void world_engine_report(struct world_life *life, struct shl_report *report);
void world_engine_data(struct world_life *life, const struct world_event *event);
void world_engine_app(struct world_life *life);
bool world_engine_expire(struct world_life *life); /* of an operation under way, if there is one */
void world_check_outcomes(struct world *world);

#endif
