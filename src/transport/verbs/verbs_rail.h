/*
 * What a transport holds of its devices: ports, completion queues, and registrations of memory.
 *
 * Every rail has two protection domains: one for windows, stages and slots, which are the
 * transport's, and one for memory of callers.
 *
 * Invariant: nothing that arrives for frames and windows can touch memory of callers, and nothing
 * that is written in place can touch windows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_RAIL_H
#define SHL_TRANSPORT_VERBS_RAIL_H

#include "core/list.h"
#include "core/memory.h"
#include "transport/verbs/verbs_port.h"
#include "transport/verbs/verbs_sys.h"
#include "transport/verbs/verbs_wire.h"

/* How often completions are looked for, at least, before a pair in ERROR counts as never drained:
 * time alone passes also while this process does not run. */
#define SHL_VERBS_LOOKS 64

struct shl_transport;

/* Memory of a transfer, registered on all rails. */
struct shl_verbs_hold {
    struct shl_list link; /* in holds_free, else alone */
    struct ibv_mr *mr[SHL_VERBS_RAILS];
    bool once; /* for this transfer only */
};

/* A port of a device. */
struct shl_verbs_rail {
    struct shl_verbs_port port;
    struct ibv_context *context;
    struct ibv_pd *pd; /* of callers' memory */
    struct ibv_pd *window_pd;
    struct ibv_mr *pool_mr; /* windows and stages; NULL: no frames have gone by this rail */
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    bool down;         /* the device says so */
    bool no_immediate; /* a write is told of by a send that follows it */
    bool mute; /* it did not tell of all requests of ended pairs in time, nor anything since */
};

/* ---- verbs_device.c: what a transport holds of its device ------------------------------------ */

enum shoal_status shl_verbs_device_open(struct shl_transport *t, uint32_t links);
void shl_verbs_device_close(struct shl_transport *t);

/* The windows' domain and registrations of a rail, made when frames first go by it. */
enum shoal_status shl_verbs_rail_windows(struct shl_transport *t, uint32_t rail);

/* ---- verbs_event.c: what devices tell */

/* Returns their number. */
unsigned shl_verbs_read_events(struct shl_transport *t, uint32_t rail);
void shl_verbs_read_notifications(struct shl_transport *t, uint32_t rail);

/* ---- verbs_memory.c: registrations of callers' memory */

enum shoal_status shl_verbs_memory_open(struct shl_transport *t);
void shl_verbs_memory_close(struct shl_transport *t);
/* Register what peers write to, with relaxed ordering where that is offered: it is read only after
 * a completion, and devices tell of that after all that was written before. NULL: errno says why.
 */
struct ibv_mr *shl_verbs_register(struct ibv_pd *pd, void *start, size_t bytes);
/* Register memory of one transfer, or find that it is; NULL: use windows. `always`: although
 * copying would be faster. */
struct shl_verbs_hold *shl_verbs_hold(struct shl_transport *t, void *data, uint64_t bytes,
                                      bool always);
void shl_verbs_unhold(struct shl_transport *t, struct shl_verbs_hold **hold);

#endif
