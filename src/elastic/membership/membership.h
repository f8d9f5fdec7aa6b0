/*
 * The membership of one worker in a job: a state machine without clock, thread or socket. Whoever
 * embeds it (the host) feeds it events with the time, and does what it asks through callbacks.
 *
 * Life: start reads the register; the first `world_start` workers gather in it and become the
 * first view, later ones are learners until a step boundary. A member whose peers fail takes part
 * in a view change: suspicions are exchanged, PREPARE(E+1) is written to the register, the members
 * of the next view fence E and acknowledge with what they came to, and the writer commits the next
 * view and the outcome of every interrupted operation in one compare-and-swap. docs/membership.md
 * has the protocol, the invariants and why they hold.
 *
 * Threads  one at a time. Callbacks come from within the calls below and must not call back into
 *          the core, but may be queued.
 * Invariant: views are published in strictly rising epochs, each with the decision about what the
 * view before left open, and after a fence only a publication lets operations go on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_MEMBERSHIP_H
#define SHL_ELASTIC_MEMBERSHIP_MEMBERSHIP_H

#include "core/status.h"
#include "elastic/membership/message.h"
#include "elastic/membership/policy.h"

struct shl_membership;

/* Times, all in nanoseconds; the comments have what SHL_MEMBERSHIP_TIMES sets. */
struct shl_membership_times {
    uint64_t tick_ns;     /* 10 ms: between repetitions of messages while anything is open */
    uint64_t settle_ns;   /* 10 ms: from a suspicion until it is acted on; others may arrive */
    uint64_t backoff_ns;  /* 20 ms: how much later each next member takes over */
    uint64_t stuck_ns;    /* 500 ms: after which a proposal that does not end is superseded */
    uint64_t store_ns;    /* 500 ms: after which a request to the store counts as lost */
    uint64_t poll_ns;     /* 100 ms: between readings of the register while anything is open */
    uint64_t learner_ns;  /* 1 s: after which a silent learner is forgotten */
    uint64_t recovery_ns; /* 30 s: after which a view change that does not end is an error */
    uint64_t join_ns;     /* 60 s: the same for getting in, without what a learner takes for the
                             state */
};

#define SHL_MEMBERSHIP_MS 1000000ull
#define SHL_MEMBERSHIP_TIMES                                                                       \
    {                                                                                              \
        .tick_ns = 10 * SHL_MEMBERSHIP_MS, .settle_ns = 10 * SHL_MEMBERSHIP_MS,                    \
        .backoff_ns = 20 * SHL_MEMBERSHIP_MS, .stuck_ns = 500 * SHL_MEMBERSHIP_MS,                 \
        .store_ns = 500 * SHL_MEMBERSHIP_MS, .poll_ns = 100 * SHL_MEMBERSHIP_MS,                   \
        .learner_ns = 1000 * SHL_MEMBERSHIP_MS, .recovery_ns = 30000 * SHL_MEMBERSHIP_MS,          \
        .join_ns = 60000 * SHL_MEMBERSHIP_MS                                                       \
    }

struct shl_membership_options {
    struct shl_member self;  /* id: 64 random bits, drawn for this life */
    enum shl_step_mode mode; /* counts for the founder; later ones take the register's */
    enum shl_partition_policy policy;
    uint32_t world_start; /* founders of the first view; at least world_min */
    uint32_t world_min, world_max;
    uint64_t epoch_floor; /* highest epoch this worker has ever seen; 0: none */
    struct shl_membership_times times;
};

/* ---- the store ------------------------------------------------------------------------------ */

/* Any linearizable register with versions serves. `version` rises with each write; 0: empty.
 * `incarnation` is drawn at random when a store begins without a journal. */
struct shl_store_request {
    uint64_t id;
    bool swap;            /* else read */
    uint64_t incarnation; /* swap: refused by any other; 0: accepted by all */
    uint64_t version;     /* swap: refused unless it is the register's */
    const void *bytes;    /* swap: valid during the call only */
    size_t size;
};

enum shl_store_result {
    SHL_STORE_OK = 1,       /* read, or written; version is the register's */
    SHL_STORE_CONFLICT = 2, /* not written; version and bytes are the register's */
    SHL_STORE_UNKNOWN = 3   /* no answer: it may or may not have been written, now or later */
};

struct shl_store_answer {
    uint64_t id;
    enum shl_store_result result;
    uint64_t incarnation;
    uint64_t version;
    const void *bytes; /* of a read or a conflict */
    size_t size;
};

/* ---- what the core asks of its host ---------------------------------------------------------- */

struct shl_membership_host {
    void *context;
    /* Over an authenticated session, without waiting; may be lost. The address is in the record. */
    void (*send)(void *context, uint64_t to, const void *bytes, size_t size);
    void (*store)(void *context, const struct shl_store_request *request);
    /*
     * Stop posting in the view of `prepared->view_epoch`, let nothing of it arrive in memory that
     * will be used again, then call shl_membership_fenced with prepared->epoch. Members of `view`
     * that are not in `next` and not `leaving` are suspected. Called again when a later proposal
     * supersedes this one.
     */
    void (*fence)(void *context, const struct shl_record *prepared);
    /* `record->view` is in force, with `record->decision`; of the record nothing else counts. The
     * host ends its sessions with whoever is not in the view: that is how an evicted member, which
     * may believe that all is well, comes to ask. */
    void (*publish)(void *context, const struct shl_record *record);
    /* The end of this membership: SHOAL_OK left as asked; SHOAL_ERR_EPOCH evicted, or no view that
     * the policy allows; SHOAL_ERR_STORE the register was not reachable, or was lost;
     * SHOAL_ERR_ABSENT not let in in time. The detail is in shl_error_text. */
    void (*end)(void *context, enum shoal_status status);
    /* Call shl_membership_tick then; replaces the time asked for before. UINT64_MAX: not needed. */
    void (*wake)(void *context, uint64_t at_ns);
};

/* SHOAL_ERR_INVALID for sizes or times that contradict each other, SHOAL_ERR_NOMEM. */
enum shoal_status shl_membership_create(const struct shl_membership_options *options,
                                        const struct shl_membership_host *host,
                                        struct shl_membership **membership);
void shl_membership_destroy(struct shl_membership *membership); /* NULL is legal */

/* ---- events ---------------------------------------------------------------------------------- */

void shl_membership_start(struct shl_membership *m, uint64_t now_ns);
/* `from`: whose session brought it. SHOAL_ERR_INVALID: these bytes are no message of that member;
 * nothing happened, and the session is not to be trusted. */
enum shoal_status shl_membership_receive(struct shl_membership *m, uint64_t now_ns, uint64_t from,
                                         const void *bytes, size_t size);
void shl_membership_answer(struct shl_membership *m, uint64_t now_ns,
                           const struct shl_store_answer *answer);
/* The fence for proposal `epoch` is up. `report` stays true until the next publication. */
void shl_membership_fenced(struct shl_membership *m, uint64_t now_ns, uint64_t epoch,
                           const struct shl_report *report);
/* This worker lost, or heard again from, a member or learner. Of others than the view's members
 * only a learner is forgotten, unless it speaks again very soon: after a publication the host says
 * whom of the new ones it does not reach. */
void shl_membership_suspect(struct shl_membership *m, uint64_t now_ns, uint64_t id);
void shl_membership_reached(struct shl_membership *m, uint64_t now_ns, uint64_t id);
/* This member wants the open operations and steps decided about, although it misses nobody: the
 * next view has the same members. Until the next publication. */
void shl_membership_decide(struct shl_membership *m, uint64_t now_ns);
/* A learner holds the state and can take part from the next step on. */
void shl_membership_caught_up(struct shl_membership *m, uint64_t now_ns);
/* Ends with SHOAL_OK at a boundary at which somebody else stays. The last member of a job does not
 * leave; it ends. */
void shl_membership_leave(struct shl_membership *m, uint64_t now_ns);
/*
 * A step was committed here; `wanted` is the highest shl_membership_wanted that members brought to
 * its last operation. When it is this view's epoch, every member stops at this boundary for a
 * planned change, and the next step begins after the next publication.
 */
void shl_membership_boundary(struct shl_membership *m, uint64_t now_ns, uint64_t wanted);
void shl_membership_tick(struct shl_membership *m, uint64_t now_ns);

/* ---- questions ------------------------------------------------------------------------------- */

/* What this member brings to the operation that commits a step: its epoch when somebody waits to
 * join or leave and the store answers; else 0. */
uint64_t shl_membership_wanted(const struct shl_membership *m, uint64_t now_ns);
/* Stopped at a boundary until the next publication. */
bool shl_membership_at_boundary(const struct shl_membership *m);
/* The newest record known; NULL before the first. Learners find members' addresses there. */
const struct shl_record *shl_membership_record(const struct shl_membership *m);

#endif
