/*
 * The engine: carries operations out over the transports of one world.
 *
 * Path: api/collectives.c validates -> request.c queues and starts -> group.c (everybody
 * shares memory) or exec.c (a schedule over messages) -> wait.c drives -> request.c completes.
 * Detour on failure: incident.c makes all ranks give the operation up with one verdict.
 *
 * Locking. One progress token (a mutex) guards the engine, its communicators and its transports;
 * functions say `token` when the caller must hold it. Whoever waits drives: the waiting caller
 * holds the token and polls, and lets it go when another thread asks. The service thread takes it
 * only for mail, and while requests are outstanding that nobody waits for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_ENGINE_H
#define SHL_ENGINE_ENGINE_H

#include "collectives/schedule.h"
#include "core/config.h"
#include "core/heap.h"
#include "core/list.h"
#include "core/memory.h"
#include "transport/group.h"
#include "transport/transport.h"

#include <pthread.h>
#include <shoal/collectives.h>
#include <stdatomic.h>

#define SHL_ENGINE_TRANSPORTS 4
#define SHL_ENGINE_NO_ROUTE 0xff
#define SHL_ENGINE_TEXT 512 /* bytes of a verdict line */

/* Types of mail between engines, carried by the control mesh. */
enum shl_mail_type {
    SHL_MAIL_STATEMENT = 1, /* incident.c */
    SHL_MAIL_WHY_ASK = 2,   /* why.c */
    SHL_MAIL_WHY_TELL = 3,
    SHL_MAIL_LEFT = 4, /* leave.c */
    SHL_MAIL_ABORT = 5,
    SHL_MAIL_UNSPLIT = 6
};

/* How mail leaves: the control mesh in production, a queue in the simulator. Delivers to every
 * rank of the world, the sender included, by calling its shl_engine_mail. */
struct shl_engine_bus {
    void *arg;
    enum shoal_status (*flood)(void *arg, uint16_t type, const void *payload, size_t bytes);
};

struct shl_engine_options {
    const struct shl_config *config; /* borrowed, outlives the engine */
    struct shl_heap *heap;           /* borrowed */
    struct shl_memory *memory;       /* borrowed */
    struct shl_control *control;     /* borrowed; handed to transports */
    struct shl_engine_bus bus;
    uint32_t rank, size;
    uint32_t local_ranks; /* of this host; more than cores means yield while spinning */
    uint32_t cores;
    bool threadless; /* no service thread: the simulator polls */
};

struct shl_engine_transport {
    const struct shl_transport_ops *ops;
    struct shl_transport *t;
    struct shl_transport_env env;
    bool *reaches; /* by world rank */
};

struct shl_peer {
    bool told; /* mail_lock: its loss was reported, with this cause, which stays */
    bool lost; /* token: and taken note of */
    char cause[160];
};

struct shl_mail {
    struct shl_list link;
    uint32_t origin;
    uint16_t type;
    size_t bytes;
    uint8_t payload[];
};

struct shl_engine {
    const struct shl_config *config;
    struct shl_heap *heap;
    struct shl_memory *memory;
    struct shl_engine_bus bus;
    uint32_t rank, size;
    uint64_t epoch;
    bool oversubscribed; /* more local ranks than cores: yield while spinning */
    bool threadless;
    uint64_t spin_ns; /* token: how long a wait spins at present; wait.c */
    bool is_cut;      /* token: shl_engine_cut was called */

    pthread_mutex_t token;
    atomic_uint token_wanted; /* threads that wait for the token */
    atomic_bool is_listening; /* a thread sleeps on the descriptors, on behalf of all */
    int doorbell;             /* eventfd: mail, or work for the listener */
    int epoll;
    uint32_t followers;     /* token: threads that sleep until the listener tells them */
    pthread_cond_t changed; /* with token: for followers */

    struct shl_engine_transport transports[SHL_ENGINE_TRANSPORTS];
    uint32_t transport_count;
    uint8_t *route; /* transport index by world rank */
    struct shl_peer *peers;
    struct shl_costs costs;

    struct shl_list comms;       /* struct shoal_comm.link */
    struct shl_list ready_execs; /* struct shl_exec.link: steps may start */
    uint32_t outstanding;        /* requests not complete */
    uint32_t waited;             /* of these, driven by a blocked caller */
    uint32_t disagreements;      /* requests whose `disagrees` is set */
    uint32_t comm_counter;       /* for ids of communicators led by this rank */
    uint32_t *gone;              /* ids of destroyed communicators, ascending by destruction */
    uint32_t gone_count;
    size_t gone_capacity;

    pthread_mutex_t mail_lock;
    struct shl_list mail;
    uint32_t losses_told; /* peers told lost */
    atomic_bool has_mail;
    uint32_t losses_taken;   /* token: of these, taken note of */
    struct shl_list orphans; /* mail about communicators that do not exist here yet */
    uint32_t orphan_count;

    pthread_t service;
    atomic_bool service_started, service_stop, service_idle;
    int service_bell; /* eventfd */
};

enum shoal_status shl_engine_create(const struct shl_engine_options *options,
                                    struct shl_engine **engine);

/* Between create and start: open transports, publish their descriptions, attach them. */
enum shoal_status shl_engine_open(struct shl_engine *engine, const struct shl_transport_ops *ops);
enum shoal_status shl_engine_attach(struct shl_engine *engine, uint64_t epoch, uint64_t incarnation,
                                    uint32_t transport, const void *const *blobs,
                                    const size_t *blob_bytes, uint64_t deadline_ns);
enum shoal_status shl_engine_start(struct shl_engine *engine);
void shl_engine_destroy(struct shl_engine *engine); /* no communicator may be left */

/* From the control thread, or the simulator. Never block. */
void shl_engine_mail(struct shl_engine *engine, uint32_t origin, uint16_t type, const void *payload,
                     size_t bytes);
void shl_engine_lost(struct shl_engine *engine, uint32_t rank, enum shoal_status status,
                     const char *cause);

/* ---- token (token.c) ---------------------------------------------------------------------- */

void shl_token_take(struct shl_engine *engine);
void shl_token_give(struct shl_engine *engine);
/* Let another thread have it for a moment if one wants it. */
void shl_token_offer(struct shl_engine *engine);
/* Wake the thread that listens. From any thread. */
void shl_engine_ring(struct shl_engine *engine);
/* token: wake every thread in shl_engine_sleep: something changed that may concern it. */
void shl_engine_wake_all(struct shl_engine *engine);
/* token: after a loop with shl_engine_sleep in it: leave the listening to another thread. */
void shl_engine_stop_driving(struct shl_engine *engine);
/* token: sleep until something happens or `until_ns`; gives the token away meanwhile. */
void shl_engine_sleep(struct shl_engine *engine, uint64_t until_ns);

/* ---- progress (progress.c) ---------------------------------------------------------------- */

/* token: poll transports, mail and operations once; returns the number of things that happened. */
unsigned shl_engine_poll(struct shl_engine *engine);
/* token: the same for operations of shared-memory groups alone. */
unsigned shl_engine_advance_groups(struct shl_engine *engine);
/* token: a request was started that nobody waits for (yet). */
void shl_engine_kick_service(struct shl_engine *engine);
enum shoal_status shl_service_start(struct shl_engine *engine);
void shl_service_stop(struct shl_engine *engine);

static inline const struct shl_transport_ops *shl_engine_ops(const struct shl_engine *engine,
                                                             uint32_t peer)
{
    return engine->transports[engine->route[peer]].ops;
}

static inline struct shl_transport *shl_engine_transport(const struct shl_engine *engine,
                                                         uint32_t peer)
{
    return engine->transports[engine->route[peer]].t;
}

#endif
