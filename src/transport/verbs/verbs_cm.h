/*
 * Connecting queue pairs by rdma_cm: the only way of iWARP, and elsewhere one that can be asked
 * for.
 *
 * Each rail listens at its address; ports and a nonce of each end are told over the control
 * connection, which is authenticated. The rank with the lower number calls. Call and answer prove
 * by an HMAC over these nonces that their makers know the secret of the job (verbs_proof.h); and
 * the queue pairs that connect are the ones that were told, where rdma_cm names them (iWARP has no
 * numbers). Who can change packets of the fabric could still forge those of a connection that
 * stands: a fabric is trusted that far.
 * A call names one queue pair and one life of it, and each is answered once.
 *
 *   APART -> AWAITED (the pair is made) -> RESOLVING -> ROUTING -> CALLING -> JOINED  (it calls)
 *                                       -> CALLED -> ANSWERING -> JOINED         (it is called)
 *
 * Nothing here waits: every step follows from an event of the library's channel, or a deadline.
 *
 * Invariant: a queue pair is JOINED only with one whose owner knows the secret, over the rail that
 * it is on, and (but for iWARP) with the number that the peer told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_CM_H
#define SHL_TRANSPORT_VERBS_CM_H

#include "core/list.h"
#include "core/status.h"
#include "transport/verbs/verbs_proof.h"
#include "transport/verbs/verbs_wire.h"

#define SHL_VERBS_SAY_NS UINT64_C(300000000) /* in which a peer says why it ended a connection */

struct ibv_qp;
struct rdma_cm_id;
struct rdma_event_channel;
struct shl_transport;
struct shl_verbs_link;

enum shl_verbs_join_state {
    SHL_VERBS_JOIN_APART, /* there is no pair, or it is connected another way */
    SHL_VERBS_JOIN_AWAITED,
    SHL_VERBS_JOIN_RESOLVING,
    SHL_VERBS_JOIN_ROUTING,
    SHL_VERBS_JOIN_CALLING,
    SHL_VERBS_JOIN_CALLED,
    SHL_VERBS_JOIN_ANSWERING,
    SHL_VERBS_JOIN_JOINED,
    SHL_VERBS_JOIN_FAILED /* `cause` says why */
};

/* The connection of one queue pair. */
struct shl_verbs_join {
    struct shl_verbs_link *link;
    struct rdma_cm_id *id; /* NULL: none yet */
    enum shl_verbs_join_state state;
    bool direct; /* else of frames */
    bool begun;  /* the peer's end is known */
    bool calls;  /* and has not been heard of since it was called */
    uint32_t rail, index, life;
    uint32_t told;  /* the peer's pair, as it says over the control connection, once begun */
    uint32_t named; /* the pair that has called, as rdma_cm says */
    uint64_t deadline_ns;
    uint64_t broken_ns; /* since when something is wrong with a joined pair; 0: nothing is */
    char cause[160];
};

/* What an event says, once it is given back to the library. */
struct shl_verbs_cm_event {
    int type, status;
    struct rdma_cm_id *id;
    uint32_t pair;              /* of who calls or answers */
    struct shl_verbs_call call; /* zeros: none came with it */
};

/* The event channel of a transport, its listeners, and ids that could not be destroyed yet. */
struct shl_verbs_cm {
    struct rdma_event_channel *channel;
    struct rdma_cm_id *listeners[SHL_VERBS_RAILS];
    uint16_t ports[SHL_VERBS_RAILS];
    struct shl_list orphans;
    uint64_t strangers; /* calls that were turned down */
};

/* ---- verbs_cm.c: listening, and what the library tells --------------------------------------- */

/* open, close - of a transport whose rails are open; nothing if they connect another way. */
enum shoal_status shl_verbs_cm_open(struct shl_transport *t);
void shl_verbs_cm_close(struct shl_transport *t);

/* The port at which a rail listens; 0: it does not. */
uint16_t shl_verbs_cm_port(const struct shl_transport *t, uint32_t rail);

/* Handle events that are there, but not endlessly many at once; returns their number. */
unsigned shl_verbs_cm_read(struct shl_transport *t);

/* An id, and the pair that it connects, whose destruction would wait for the peer. */
void shl_verbs_cm_orphan(struct shl_transport *t, struct rdma_cm_id *id, struct ibv_qp *qp);

/* ---- verbs_join.c: one pair --------------------------------------------------------------------
 */

/* A new pair, which the peer may call for from now on. */
void shl_verbs_join_await_frames(struct shl_verbs_link *link, uint32_t rail, uint64_t life);
void shl_verbs_join_await_lane(struct shl_verbs_link *link, uint32_t index);
/* The peer has its end, that pair; once a life. */
void shl_verbs_join_begin(struct shl_verbs_join *join, uint32_t peer_pair);
/* The peer calls; false: it may not, and the id is not taken. */
bool shl_verbs_join_called(struct shl_verbs_join *join, const struct shl_verbs_cm_event *event);
void shl_verbs_join_event(struct shl_verbs_join *join, const struct shl_verbs_cm_event *event);
/* 1: joined, or connected another way; 0: not yet; -1: it failed, and its cause says why. */
int shl_verbs_join_outcome(struct shl_verbs_join *join, uint64_t now_ns);
/* End the connection and its pair (NULL: there is none). */
void shl_verbs_join_end(struct shl_verbs_join *join, struct ibv_qp *qp);

/*
 * shl_verbs_join_doubt - a request of a joined pair failed. Ends of a connection see its end before
 * they are told over other ways why it had to end: true: it is waited for that. False: the pair is
 * not connected by rdma_cm, or its link is not up.
 */
bool shl_verbs_join_doubt(struct shl_verbs_join *join, uint64_t now_ns, const char *cause);
/* Has somebody had time to say why a pair broke, and has not? Then its cause, else NULL. */
const char *shl_verbs_join_broken(const struct shl_verbs_join *join, uint64_t now_ns);

#endif
