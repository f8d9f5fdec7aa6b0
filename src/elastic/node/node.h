/*
 * A node: what one member is to the others. It hosts the membership core in a thread of its own,
 * which listens, keeps an authenticated session with every other member, beats, notices who is
 * lost, and talks with the store. What the core wants of the operations of this member is handed on
 * to whoever owns the node.
 *
 * Sessions. Both sides have proved the job's secret and their ids (control/handshake.h: incarnation
 * is the dialler, epoch the one it means). Messages of the core may be lost with a connection; what
 * a member has to say about its part in a view is said again on every new one.
 *
 * Loss. A member whose process is gone is suspected at once: its connection breaks, and its socket
 * refuses the next. One that says nothing for SHOAL_DEAD_AFTER_MS is suspected then, unless it runs
 * on this host and merely gets no CPU.
 *
 * Threads  callbacks come from the node's thread and must not block or call the node. All functions
 *          but create, start and destroy: any thread but the node's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_NODE_NODE_H
#define SHL_ELASTIC_NODE_NODE_H

#include "core/config.h"
#include "elastic/membership/membership.h"
#include "elastic/rendezvous.h"

struct shl_node;

#define SHL_NODE_ANSWER_MAX 96

/* What came from another owner. */
struct shl_node_letter {
    uint64_t from;
    uint64_t session; /* by which it came: rises with each that this node has, never 0 */
    const void *bytes;
    size_t size;         /* 0: nobody reads what was written there */
    size_t answer_bytes; /* to be written back at once, by the same session; 0: nothing */
    uint8_t answer[SHL_NODE_ANSWER_MAX];
};

struct shl_node_owner {
    void *arg;
    /* As in struct shl_membership_host; answer a fence with shl_node_fenced. */
    void (*fence)(void *arg, const struct shl_record *prepared);
    void (*publish)(void *arg, const struct shl_record *record);
    void (*end)(void *arg, enum shoal_status status, const char *text);
    void (*news)(void *arg); /* see shl_node_blobs, shl_node_all_done and shl_node_learns */
    /* The owner of another node wrote. false: nobody here reads that, which the other gets to know
     * by 0 bytes. NULL: nobody ever does. */
    bool (*mail)(void *arg, struct shl_node_letter *letter);
};

struct shl_node_options {
    const struct shl_config *config;        /* borrowed, outlives the node */
    const char *store, *job;                /* borrowed during create */
    const struct shoal_store *custom_store; /* not NULL: instead of `store`; borrowed likewise */
    enum shl_step_mode mode;
    enum shl_partition_policy policy;
    uint32_t world_start, world_min, world_max;
    uint64_t epoch_floor, recovery_ns, join_ns;
    struct shl_node_owner owner;
};

/* Listens, but nothing happens before start. */
enum shoal_status shl_node_create(const struct shl_node_options *options, struct shl_node **node);
enum shoal_status shl_node_start(struct shl_node *node);
void shl_node_destroy(struct shl_node *node); /* NULL is legal; no callback comes after it */

uint64_t shl_node_id(const struct shl_node *node);

/* The mode of a job's steps once it is known that it goes on without this worker, which is a
 * learner; 0: not yet. Never waits. */
enum shl_step_mode shl_node_learns(const struct shl_node *node);

/* ---- to the core ---------------------------------------------------------------------------- */

void shl_node_fenced(struct shl_node *node, uint64_t epoch, const struct shl_report *report);
void shl_node_suspect(struct shl_node *node, uint64_t id);
/* Have what is open decided about, though nobody is lost (shl_membership_decide). */
void shl_node_decide(struct shl_node *node);
void shl_node_caught_up(struct shl_node *node);
void shl_node_leave(struct shl_node *node);
/* Be a member no more, without anybody's consent: the others take it for lost, and at once. Its
 * views are down (see shl_node_kill). */
void shl_node_resign(struct shl_node *node);
/* true: stopped at this boundary until the next publication. */
bool shl_node_boundary(struct shl_node *node, uint64_t wanted);
/* shl_membership_wanted as of the last event; never waits. */
uint64_t shl_node_wanted(const struct shl_node *node);

/* ---- to the other members ------------------------------------------------------------------- */

/* What beats tell the others. Never waits. */
void shl_node_progress(struct shl_node *node, uint64_t epoch, uint64_t started);
/* A description of transports, and what is told before it: a result that is forwarded. */
#define SHL_NODE_BLOB_EXTRA (64 + 65536)
#define SHL_NODE_BLOB_MAX (SHL_RENDEZVOUS_BLOB_MAX + SHL_NODE_BLOB_EXTRA)

/* Tell the members what this one brings to the view of `epoch`, until the next one. Copies.
 * SHOAL_ERR_NOMEM: nobody was told. */
enum shoal_status shl_node_tell(struct shl_node *node, uint64_t epoch, const void *blob,
                                size_t bytes);
/* What each of `members` brings to the view of `epoch`, in result->blobs, when all have told; else
 * false, and *result is untouched. SHOAL_ERR_NOMEM in *status. */
bool shl_node_blobs(struct shl_node *node, uint64_t epoch, const struct shl_members *members,
                    struct shl_rendezvous_result *result, enum shoal_status *status);

#define SHL_NODE_MAIL_MAX ((1u << 20) + 256)

/*
 * shl_node_mail - write to the owner of another member's or learner's node: head, then body, not
 * empty and up to SHL_NODE_MAIL_MAX together. In order, and lost with the session, whose number is
 * returned; 0: there is none. Whoever writes sees to it that no more than a few of the largest wait
 * for one reader.
 */
uint64_t shl_node_mail(struct shl_node *node, uint64_t to, const void *head, size_t head_bytes,
                       const void *body, size_t body_bytes);

struct shl_node_reach {
    uint64_t id, session; /* as of shl_node_mail */
};

/* The members of the newest view that is known, but for this one, to whom there is a session.
 * Returns how many; at most `capacity`. */
uint32_t shl_node_reached(struct shl_node *node, struct shl_node_reach *reached, uint32_t capacity);

/* Tell the members that this one needs nothing more of the view of `epoch`: it is about to end. */
void shl_node_done(struct shl_node *node, uint64_t epoch);
/* Everybody else in the view has said so too, or is lost. */
bool shl_node_all_done(struct shl_node *node, uint64_t epoch);

/*
 * shl_node_kill - the process of a member on this host, whose memory may be this process's too,
 * ends before this returns, unless its membership is over and so its views are down. false: it
 * cannot be killed, or did not end in time. True also when it is on another host, where fences of
 * epochs suffice.
 */
bool shl_node_kill(struct shl_node *node, uint64_t id, uint64_t deadline_ns);

#endif
