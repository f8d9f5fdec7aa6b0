/*
 * Inside of a node. All of it belongs to the node's thread, but for what `lock` guards and atomics.
 *
 *   node.c     life, calls of other threads, the core's host
 *   peer.c     members: who is dialled, who is let in, who is let go
 *   link.c     frames to and from one member
 *   detect.c   beats and silence
 *   listen.c   where it listens
 *   register.c requests to the store and their answers
 *   calls.c    what other threads want of it
 *   mail.c     what owners of nodes write to each other
 *   kill.c     ending an evicted process on this host
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_NODE_INTERNAL_H
#define SHL_ELASTIC_NODE_INTERNAL_H

#include "control/control.h"
#include "control/listener.h"
#include "elastic/node/address.h"
#include "elastic/node/node.h"
#include "elastic/store/store.h"

#include <pthread.h>
#include <stdatomic.h>

#define SHL_NODE_MS 1000000ull
#define SHL_NODE_EVICTED 256       /* of whom it is remembered */
#define SHL_NODE_STRANGERS 128     /* sessions with members that no record has yet */
#define SHL_NODE_TX_MAX (8u << 20) /* bytes that wait for one member; more breaks its session */
#define SHL_NODE_HEADER_BYTES 12

enum shl_node_frame {
    SHL_NODE_BEAT = 1,       /* u64 epoch, u64 started */
    SHL_NODE_MEMBERSHIP = 2, /* membership/message.h */
    SHL_NODE_BLOB = 3,       /* u64 epoch, blob */
    SHL_NODE_DONE = 4,       /* u64 epoch: the sender needs nothing more of this view */
    SHL_NODE_MAIL = 5        /* of the owner; empty: nobody reads what came last */
};

struct shl_node_buffer {
    uint8_t *data;
    size_t at, end, capacity; /* at..end: not sent yet, or read so far */
};

struct shl_node_peer {
    struct shl_list link; /* in node->peers */
    struct shl_node *node;
    uint64_t id;
    bool has_address;
    bool in_view;   /* of the view in force */
    bool in_record; /* or of the next one */
    bool suspected; /* told the core */
    bool is_spared; /* silent, but starved of CPU: logged once */
    bool broke;     /* its connection is of no use: see shl_node_settle */
    bool stalls;    /* what it was sent last needed to be repeated, and a new one is dialled */
    bool doomed;    /* to be freed by shl_node_settle */
    bool spoke;     /* by the last session */
    bool refuses;   /* the last dial ended with nobody listening */
    struct shl_dial_target target;
    struct shl_dialler dialler;
    struct shl_timer retry;
    uint32_t backoff_ms;      /* before the next dial; 0: it spoke since */
    struct shl_watch watch;   /* fd -1: not connected */
    uint64_t session;         /* number of the last one */
    int pidfd;                /* of a member on this host; -1 */
    struct shl_watch process; /* the same descriptor, until the process ends */
    uint64_t heard_ns;
    uint64_t seen_epoch, seen_started; /* of its last beat */
    struct shl_node_buffer tx, rx;
    uint8_t *blob;
    size_t blob_bytes;
    uint64_t blob_epoch; /* 0: none */
    uint64_t done_epoch; /* of the view that it needs nothing more of; 0: none */
    char why[160];       /* its connection broke */
};

struct shl_node_answer {
    struct shl_list link;
    struct shl_store_answer answer;
    uint8_t bytes[];
};

struct shl_node {
    struct shl_node_owner owner;
    const struct shl_config *config;
    struct shl_member self;
    uint64_t host, domain; /* node/address.h */
    struct shl_key key;
    uint8_t job_hash[16];
    bool loopback_only;
    struct shl_loop loop;
    struct shl_listener listener;
    struct shl_membership *core;
    struct shl_list peers;
    uint32_t peer_count;
    uint64_t evicted[SHL_NODE_EVICTED];
    uint32_t evicted_next;
    uint64_t sessions;    /* that there were, with all peers */
    bool members_changed; /* peers no longer match the record */
    bool ended;
    uint64_t view_epoch;
    struct shl_timer tick_timer, beat_timer;
    uint64_t beat_due_ns;
    bool beat_half;
    uint8_t *blob; /* own */
    size_t blob_bytes;
    uint64_t blob_epoch;
    uint64_t done_epoch; /* of the view that this one needs nothing more of; 0: none */

    struct shl_store *store;
    uint64_t oom_kills; /* shl_topology_oom_kills when it began */

    pthread_t thread;
    bool running;
    _Atomic uint64_t wanted, epoch, started;
    _Atomic uint32_t learns; /* enum shl_step_mode */
    pthread_mutex_t lock;
    pthread_cond_t done; /* a call was served */
    bool stop;
    bool serving; /* the thread takes calls */
    struct shl_list calls, answers;
};

/* node.c: run `function` in the node's thread and wait for it. false: the node does not run. */
bool shl_node_call(struct shl_node *node, void (*function)(struct shl_node *node, void *arg),
                   void *arg);

/* peer.c */
struct shl_node_peer *shl_node_peer_find(struct shl_node *node, uint64_t id);
/* After events: connections that broke, members that came or went. May call the core. */
void shl_node_settle(struct shl_node *node);
void shl_node_peer_dial(struct shl_node_peer *peer);
/* Its packets get no answer: one of the two dials another connection, which takes its place. */
void shl_node_peer_refresh(struct shl_node_peer *peer);
void shl_node_peer_suspect(struct shl_node_peer *peer, const char *why);
enum shl_welcome shl_node_peer_admit(void *arg, const struct shl_hello *hello, bool local);
void shl_node_peer_accepted(void *arg, int fd, const struct shl_hello *hello, bool local);
void shl_node_peers_free(struct shl_node *node);

/* link.c */
void shl_node_link_init(struct shl_node_peer *peer);
/* false: it could not be watched, and is closed. */
bool shl_node_link_attach(struct shl_node_peer *peer, int fd);
void shl_node_link_detach(struct shl_node_peer *peer);
/* Lost when there is no connection. Never calls the core. */
void shl_node_link_send(struct shl_node_peer *peer, enum shl_node_frame kind, const void *head,
                        size_t head_bytes, const void *body, size_t body_bytes);
void shl_node_link_read(struct shl_node_peer *peer);
/* Give memory back that mail took, when there is none. */
void shl_node_link_shrink(struct shl_node_peer *peer);
void shl_node_link_free(struct shl_node_peer *peer);
void shl_node_link_tell(struct shl_node_peer *peer);      /* the own blob */
void shl_node_link_tell_done(struct shl_node_peer *peer); /* the own epoch that is done, if any */

/* detect.c */
void shl_node_detect_start(struct shl_node *node);

/* mail.c */
void shl_node_mail_read(struct shl_node_peer *peer, const uint8_t *data, size_t bytes);

/* listen.c */
enum shoal_status shl_node_listen(struct shl_node *node);

/* register.c */
void shl_node_store_request(void *arg, const struct shl_store_request *request);
void shl_node_store_answer(void *arg, const struct shl_store_answer *answer); /* any thread */
void shl_node_store_deliver(struct shl_node *node);

/* kill.c */
int shl_node_pidfd_of(int fd); /* of the process at the other end of a Unix socket; -1 */

#endif
