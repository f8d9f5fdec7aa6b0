/*
 * Communicators, requests and cached plans: the engine's objects.
 *
 * Invariant: `ops` lists every request that has a sequence number and is not complete, in order of
 * that number; `active` of them have started, `queued` have not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_COMM_H
#define SHL_ENGINE_COMM_H

#include "device/reduce.h"
#include "engine/engine.h"

#include <shoal/reshard.h>

#define SHL_COMM_WINDOW SHL_GROUP_OPS /* operations of one communicator that run at a time */
#define SHL_COMM_REQUESTS 32          /* allocated with the communicator; more on demand */
#define SHL_COMM_PLANS 64             /* cached */
#define SHL_COMM_USER_OPS 64

enum shl_request_state {
    SHL_REQUEST_QUEUED,   /* has its number, waits for the window */
    SHL_REQUEST_GATHER,   /* group: waits for the others' phase 0 */
    SHL_REQUEST_MOVE,     /* group: moves data directly */
    SHL_REQUEST_SCHEDULE, /* executes a schedule */
    SHL_REQUEST_STOPPED,  /* given up; waits for the verdict */
    SHL_REQUEST_DONE
};

/* How a group operation moves its data; the same on every member. */
enum shl_group_mode {
    SHL_GROUP_INLINE, /* in the slots */
    SHL_GROUP_DIRECT, /* through mappings of each other's buffers */
    SHL_GROUP_PULL,   /* with process_vm_readv */
    SHL_GROUP_WINDOW, /* through shared memory that stays in the cache */
    SHL_GROUP_STREAM, /* through shared memory that is written past the cache */
    SHL_GROUP_STAGED  /* by a schedule over messages */
};

struct shl_group_run {
    enum shl_group_mode mode;
    unsigned phase;             /* waited for, or being worked on */
    bool posted;                /* phase 0 is published */
    enum shl_group_mode way;    /* member 0: what it published for ordinary buffers */
    uint32_t cursor;            /* of a window's others */
    struct shl_group_look look; /* of shl_group_gathered */
    uint32_t member;            /* of the data movement */
    uint64_t at;                /* its position, in elements */
    uint64_t begin_ns;          /* member 0: when all were there */
};

struct shl_exec;
struct shl_ways; /* ways.h */

/*
 * What a caller has to do beside its operation. In shared memory the line that shows this rank's
 * part takes as long to get away as some hundred instructions, which are free there.
 */
struct shl_beside {
    void *arg;
    /* token. Once, before anything is written into its buffers: others can see this rank's part,
     * where that does not let them write; or it could not be started. */
    void (*posted)(void *arg);
    /* token. At most once, after that: it takes more than a moment. */
    void (*waits)(void *arg);
};

struct shoal_request {
    struct shl_list link; /* in comm->ops, or comm->free_requests */
    struct shoal_comm *comm;
    struct shoal_call call;
    struct shl_signature signature;
    uint64_t seq;
    uint64_t start_ns;    /* 0: nobody has looked at the clock for it yet */
    uint64_t timeout_ns;  /* of the operation; UINT64_MAX: none */
    uint64_t deadline_ns; /* 0: nobody has looked at the clock for it yet */
    uint64_t why_ns;      /* when to ask why, next */
    unsigned why_count;
    enum shl_request_state state;
    enum shoal_status status;
    bool detached;  /* destroy frees it on completion */
    bool waited;    /* a blocked caller drives it */
    bool disagrees; /* a message with another signature came */
    struct shl_group_run group;
    const struct shl_beside *beside; /* not told of its posting yet; NULL: nobody is to be told */
    struct shl_exec *exec;
    struct shl_plan *plan; /* its own, freed on completion; NULL: found by the call */
    char *text;            /* verdict, SHL_ENGINE_TEXT bytes; allocated with the request */
};

/* Where a step's spans lie, in bytes from the start of their buffers. */
struct shl_bound {
    uint64_t dst, src, src2;
    uint64_t bytes; /* of each */
};

/* A schedule bound to a call shape, and instances of its execution. */
struct shl_plan {
    enum shoal_collective collective;
    uint32_t root, elem_bytes;
    uint64_t count;
    bool commutes;
    uint64_t used; /* for eviction */
    struct shl_choice choice;
    struct shl_schedule *schedule;
    struct shl_bound *bound; /* by step */
    uint64_t scratch_bytes;
    struct shl_list idle; /* struct shl_exec.link */
    uint32_t busy;        /* instances in use */
    uint64_t bytes_sent, bytes_reduced;
};

struct shl_user_op {
    shoal_reduce_fn function;
    void *user;
    bool commutes;
};

struct shoal_comm {
    struct shl_list link; /* in engine->comms */
    struct shl_engine *engine;
    struct shl_world *world;       /* elastic/world.h; counted */
    struct shoal_context *context; /* api/context.h */
    uint32_t id, rank, size;
    uint32_t *members; /* world rank by rank */
    uint32_t *rank_of; /* rank by world rank; UINT32_MAX: no member */
    struct shl_host_map hosts;
    uint32_t *host_of;
    uint64_t op_timeout_ms;

    uint64_t next_seq;
    uint32_t drivers; /* callers inside of shl_request_drive */
    struct shl_list ops;
    uint32_t active, queued;
    bool starting; /* in start_queued of request.c */
    struct shl_list free_requests;

    struct shl_group *group;  /* NULL: not all members share memory */
    struct shl_group *joined; /* not enabled yet */
    uint64_t slots_offset;
    bool slots_reserved;
    struct shl_transport *group_transport;
    uint8_t *bounce; /* for pulls: bounce_bytes for each member */
    size_t bounce_bytes;
    const void **inputs; /* of the operation that moves, by member; NULL: pull from in_address */
    void **outputs;
    uint64_t *in_address, *out_address;
    const void **piece_inputs; /* of one piece of it */
    void **piece_outputs;
    uint64_t stream_bytes;   /* from here results bypass the cache */
    struct shl_ways *ways;   /* what ways of moving ordinary buffers took */
    void *window;            /* mine; window.c */
    void **windows;          /* by member, as mapped here */
    uint64_t window_touched; /* bytes of each that have pages here */
    uint64_t window_last;    /* progress that ends the last operation that used them */
    bool window_crowded;     /* some member has more local ranks than cores */
    bool window_cut;         /* operations were cut off without a verdict: others may still read */

    struct shl_plan *plans[SHL_COMM_PLANS]; /* plan_count of them, in no order */
    size_t plan_count, plan_last;
    uint64_t plan_clock;
    struct shl_user_op user_ops[SHL_COMM_USER_OPS];
    uint32_t user_op_count;

    uint64_t *told_seq; /* next operation of each rank, as it last told; why.c */
    uint64_t told_ns, asked_ns;
    uint64_t *left_seq; /* by rank: first operation it takes no part in; UINT64_MAX: none yet */
    struct shl_list incidents; /* incident.c */
    bool uneven;               /* an operation failed here that others have finished */
    enum shoal_status broken;  /* SHOAL_OK while usable */
    uint64_t broken_from;      /* operations from this number on cannot be called */
    char broken_text[SHL_ENGINE_TEXT];

    uint32_t origin_id; /* what it was split from, and by which operation; 0: by none */
    uint64_t origin_seq;
    uint32_t splits; /* of this one, under way here */
};

/* ---- comm.c ------------------------------------------------------------------------------- */

struct shl_comm_options {
    uint32_t id;
    const uint32_t *members; /* world ranks, in order */
    uint32_t size, rank;
    uint64_t op_timeout_ms;
    uint32_t origin_id;  /* the communicator that was split, */
    uint64_t origin_seq; /* by this operation; 0: by none */
};

enum shoal_status shl_comm_create(struct shl_engine *engine, const struct shl_comm_options *options,
                                  struct shoal_comm **comm);
/* Join the shared-memory group; collective in two steps: reserve, exchange the offsets, join. */
bool shl_comm_can_group(const struct shoal_comm *comm);
enum shoal_status shl_comm_reserve_group(struct shoal_comm *comm, uint64_t *slots_offset,
                                         uint64_t *window_offset);
enum shoal_status shl_comm_join_group(struct shoal_comm *comm, const uint64_t *slots_offsets,
                                      const uint64_t *window_offsets);
/* Use the group, or leave it when a member could not join. The next operation goes by it. */
void shl_comm_enable_group(struct shoal_comm *comm, bool enable);
/* Hosts by rank, numbered by first appearance, once they are known. */
void shl_comm_set_hosts(struct shoal_comm *comm, const uint32_t *host_of);
void shl_comm_free(struct shoal_comm *comm); /* aborts what is left locally */
struct shoal_comm *shl_comm_find(struct shl_engine *engine, uint32_t id);
const struct shl_user_op *shl_comm_user_op(const struct shoal_comm *comm, uint32_t op);

/* ---- request.c ---------------------------------------------------------------------------- */

/* token */
enum shoal_status shl_request_start(struct shoal_comm *comm, const struct shoal_call *call,
                                    struct shoal_request **request);
/* The same with a plan of its own, which is taken over unless this fails. */
enum shoal_status shl_request_start_planned(struct shoal_comm *comm, const struct shoal_call *call,
                                            struct shl_plan *plan, struct shoal_request **request);
/* The same with something to do beside, which is told of the posting here or later. */
enum shoal_status shl_request_start_beside(struct shoal_comm *comm, const struct shoal_call *call,
                                           const struct shl_beside *beside,
                                           struct shoal_request **request);
void shl_request_complete(struct shoal_request *request, enum shoal_status status,
                          const char *text);
/* Stop touching buffers and peers' memory for it; then it waits for a verdict. */
void shl_request_stop(struct shoal_request *request);
void shl_request_free(struct shoal_request *request);
/* token: nothing is written into its buffers before this. */
static inline void shl_request_tell_posted(struct shoal_request *request)
{
    const struct shl_beside *beside = request->beside;
    request->beside = NULL;
    if (beside)
        beside->posted(beside->arg);
}
struct shoal_request *shl_comm_request(struct shoal_comm *comm, uint64_t seq);
uint64_t shl_call_count_total(const struct shoal_call *call, uint32_t size);
void shl_signature_text(const struct shl_signature *signature, uint64_t seq, char *text,
                        size_t text_bytes);

/* ---- wait.c ------------------------------------------------------------------------------- */

/* token: drive until complete; SHOAL_IN_PROGRESS when the time passed first. */
enum shoal_status shl_request_drive(struct shoal_request *request, uint64_t timeout_ns);

/* token: drive for `wait_ns`, or until the operation's own deadline, when it is given up on all
 * ranks. */
enum shoal_status shl_request_wait(struct shoal_request *request, uint64_t wait_ns);

/* token: the operation's own deadline has passed: give it up on all ranks. Does not wait. */
void shl_request_expire(struct shoal_request *request);

/* Start, drive, and give up on all ranks when the time passes. Takes the token itself. */
enum shoal_status shl_request_run(struct shoal_comm *comm, const struct shoal_call *call,
                                  uint64_t timeout_ns);
/* The same with something to do beside. */
enum shoal_status shl_request_run_beside(struct shoal_comm *comm, const struct shoal_call *call,
                                         const struct shl_beside *beside, uint64_t timeout_ns);
/* The same with a plan of its own, which is taken over in any case. */
enum shoal_status shl_request_run_planned(struct shoal_comm *comm, const struct shoal_call *call,
                                          struct shl_plan *plan, uint64_t timeout_ns);

/* shl_request_allgather - `bytes` of mine from everyone, for what members tell each other beside
 * the program's operations; `all` by rank. Takes the token itself. */
enum shoal_status shl_request_allgather(struct shoal_comm *comm, const void *mine, void *all,
                                        size_t bytes, uint64_t timeout_ns);

/* How long a driver has found nothing to do, and how long it may go on. */
struct shl_idle {
    uint64_t timeout_ns;
    uint64_t deadline_ns; /* 0: the clock has not been looked at yet */
    uint32_t rounds;
    uint64_t since_ns, checked_ns;
};

/* token: nothing happened: relax, yield or sleep. false when the time has passed. */
bool shl_idle_step(struct shl_engine *engine, struct shl_idle *idle);
void shl_idle_end(struct shl_idle *idle); /* something happened */

/* token: long waits ask who is missing; overdue incidents end. Drivers call it now and then. */
void shl_engine_look_after(struct shl_engine *engine, uint64_t now_ns);

/* ---- group.c ------------------------------------------------------------------------------ */

/* token */
unsigned shl_group_advance(struct shoal_request *request);
const char *shl_group_mode_string(enum shl_group_mode mode);
/* Would the call go through the group, and how? -1: no. Buffers NULL: ordinary. */
int shl_group_mode_for(struct shoal_comm *comm, const struct shoal_call *call);

/* ---- plan.c, exec.c ----------------------------------------------------------------------- */

/* token */
enum shoal_status shl_plan_get(struct shoal_comm *comm, const struct shoal_call *call,
                               struct shl_plan **plan);
/* A plan of a schedule with extents; takes the schedule over, also when it fails. Needs no token.
 */
enum shoal_status shl_plan_own(struct shl_schedule *schedule, uint32_t elem_bytes,
                               struct shl_plan **plan);
void shl_plan_free(struct shl_plan *plan);
enum shoal_status shl_exec_start(struct shoal_request *request);
struct shl_exec *shl_exec_from_link(struct shl_list *link);
void shl_exec_run(struct shl_exec *exec); /* start what is ready */
void shl_exec_release(struct shl_exec *exec);
void shl_exec_free(struct shl_exec *exec);

/* ---- reshard.c ---------------------------------------------------------------------------- */

/* Plan a reshard that has been checked but for its layouts; `call` is what to start it with. Needs
 * no token. */
enum shoal_status shl_reshard_prepare(const struct shoal_comm *comm,
                                      const struct shoal_reshard_call *from,
                                      struct shoal_call *call, struct shl_plan **plan);

/* ---- leave.c ------------------------------------------------------------------------------ */

/* token: give up what is outstanding, on all ranks, and tell them that this one leaves. Waits for
 * their answers, at most for an incident's patience. Then shl_comm_free. */
void shl_comm_leave(struct shoal_comm *comm);
/* token: rank `rank` of a communicator takes no part in operations from `seq` on. */
void shl_engine_say_left(struct shl_engine *engine, uint32_t comm_id, uint32_t rank, uint64_t seq);
/* token: this rank takes no part in what its call `seq` of a communicator would have split off.
 * Others may not know yet that the call failed here. */
void shl_comm_say_unsplit(struct shoal_comm *comm, uint64_t seq, const char *reason);
/* Give everything up here, at once and without a verdict, and allow nothing new: the world is being
 * replaced, and whoever replaces it sees to it that no peer touches memory in use afterwards.
 * Waiting callers return SHOAL_ERR_ABORTED. Takes the token itself. */
void shl_engine_cut(struct shl_engine *engine, const char *text);
/* token: give up every operation that is outstanding on any rank. */
void shl_comm_abort(struct shoal_comm *comm, const char *reason);
void shl_leave_mail(struct shl_engine *engine, uint16_t type, const void *payload, size_t bytes);

/* ---- incident.c, why.c -------------------------------------------------------------------- */

/* token: this rank wants operation `seq` given up. Floods its statement. */
void shl_incident_raise(struct shoal_comm *comm, uint64_t seq, enum shoal_status kind,
                        const char *reason);
/* token: all outstanding operations of a communicator, from this number on. */
void shl_incident_raise_all(struct shoal_comm *comm, uint64_t from, enum shoal_status kind,
                            const char *reason);
/* token: a statement came. */
void shl_incident_mail(struct shl_engine *engine, const void *payload, size_t bytes);
/* token: operation `seq` is about to start here: has it been given up already? True when so; the
 * request is then stopped or complete. */
bool shl_incident_meets(struct shoal_request *request);
/* token: a member takes no part in operations from `seq` on. */
void shl_incident_left(struct shoal_comm *comm, uint32_t rank, uint64_t seq);
/* token: no operation from this number on can be called any more. */
void shl_comm_break(struct shoal_comm *comm, uint64_t from, enum shoal_status status,
                    const char *text);
/* token: keep mail about a communicator that may come to be here. */
void shl_engine_keep_orphan(struct shl_engine *engine, uint32_t comm_id, uint16_t type,
                            const void *payload, size_t bytes);
/* token: a world rank is lost. */
void shl_incident_lost(struct shl_engine *engine, uint32_t world_rank);
void shl_incident_seen(struct shl_engine *engine, uint32_t peer, const struct shl_tag *tag,
                       const struct shl_signature *signature);
/* token: raise what shl_incident_seen found. */
void shl_incident_raise_seen(struct shl_engine *engine);
bool shl_incident_wanted(struct shl_engine *engine, const struct shl_tag *tag);
void shl_incident_free_all(struct shoal_comm *comm);
/* token: a communicator was created: read statements that came before it. */
void shl_incident_adopt_orphans(struct shl_engine *engine);
void shl_incident_check_deadlines(struct shl_engine *engine, uint64_t now_ns);
/* Is there one without a verdict? */
bool shl_engine_has_incident(const struct shl_engine *engine);

void shl_why_mail(struct shl_engine *engine, uint16_t type, const void *payload, size_t bytes);
/* token: `request` has waited long: find out for whom and log it. */
void shl_why_ask(struct shoal_request *request, uint64_t now_ns);
void shl_why_text(struct shoal_comm *comm, char *text, size_t text_bytes);

#endif
