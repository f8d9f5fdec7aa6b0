/*
 * Two ranks over verbs for tests that look into the transport: on Soft-RoCE in the guest, and
 * elsewhere over the stand-in of support/verbs_soft.h. Three rails; device n's port is v<n>.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef RDMA_IN_PLACE_WORLD_H
#define RDMA_IN_PLACE_WORLD_H

#include "conformance/control_world.h"
#include "conformance/message.h"
#include "core/config.h"
#include "core/memory.h"
#include "transport/verbs/verbs_link.h"

#include <stdatomic.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define PIECES_MAX 64
#define RAILS 3

extern bool real; /* devices; else the stand-in */
/* Only on Soft-RoCE, and not with rdma_cm: once a port was down, the kernel's 6.1 connects nobody
 * by it. */
extern bool ports_can_flap;
extern const struct shl_verbs_sys *verbs; /* without our hooks */
extern struct shl_memory *memories[WORLD_RANKS_MAX];
extern const struct conformance_adapter adapter;
extern struct shl_config configs[WORLD_RANKS_MAX]; /* of the ranks; changed by `adjust` */
extern void (*adjust)(void);                       /* NULL: nothing is changed */
extern void (*adjust_world)(struct world *world);  /* likewise, for the rest of a rank */
extern uint32_t qps; /* direct queue pairs a rail: SHOAL_TEST_QPS, or 1 */

/* What the transport asks of verbs. */
struct seen {
    atomic_uint registered, deregistered; /* ranks open in threads of their own */
    atomic_uint dmabufs;                  /* of `registered` */
    atomic_uint relaxed;                  /* of `registered`: with relaxed ordering */
    bool no_relaxed;                      /* which no device has */
    bool no_dmabuf;                       /* none can be registered as such */
    uint64_t dmabuf_offset;               /* of the latest, */
    int dmabuf_error;                     /* and why it was refused; 0: it was not */
    const struct ibv_pd *refused;         /* no memory is registered in this domain */
    const struct ibv_qp *held;            /* what is posted here waits in the following */
    struct ibv_send_wr late[PIECES_MAX];
    struct ibv_sge late_pieces[PIECES_MAX];
    unsigned late_count;
};
extern struct seen seen;

/* begin - before the tests; set_up - before each of them. */
void begin(void);
int set_up(void **state);

struct shl_verbs_link *link_of(struct world *world, uint32_t rank, uint32_t peer);

/* A message from rank 0 to rank 1. */
struct parcel {
    struct message message;
    uint8_t *from, *to; /* instead of the message's own buffers */
    uint64_t bytes;
};

uint8_t byte_of(const struct parcel *parcel, uint64_t at);
void parcel_post(struct world *world, uint32_t msg, struct parcel *parcel);
void parcel_check(struct world *world, struct parcel *parcel);
/* Post, run and check. */
void parcel_move(struct world *world, uint32_t msg, struct parcel *parcel);

/* has_begun(struct life) - both ends have direct pairs of that life. */
struct life {
    struct world *world;
    uint64_t count;
};
bool has_begun(void *arg);
bool link_is_lost(void *link);
bool nobody_is_lost(const struct world *world);

void break_pair(struct ibv_qp *qp);
/* Ranks 0 and 1 do not try again rails that failed, but when a test wants it. */
void hold_retries(struct world *world);
/* The first rail by which the link writes in place. */
uint32_t first_rail(const struct shl_verbs_link *link);

#endif
