/*
 * A world: the ranks that met at one rendezvous, with the control plane and the engine that join
 * them. Communicators hold a reference each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_WORLD_H
#define SHL_ELASTIC_WORLD_H

#include "control/control.h"
#include "core/config.h"
#include "core/heap.h"
#include "core/memory.h"
#include "elastic/rendezvous.h"
#include "engine/comm.h"

#include <stdatomic.h>

struct shl_world_options {
    const struct shl_config *config; /* outlives the world */
    struct shl_heap *heap;           /* outlives the world */
    struct shl_memory *memory;       /* likewise */
    uint32_t rank, size;
    const char *rendezvous;
    const char *job;
    uint64_t init_timeout_ms, op_timeout_ms;

    /* Of a view of an elastic world; all NULL otherwise. */
    void *arg;
    /* Instead of the rendezvous: give my blob, get everyone's. Ends soon after shl_world_cut. */
    enum shoal_status (*exchange)(void *arg, const void *blob, size_t blob_bytes,
                                  uint64_t deadline_ns, struct shl_rendezvous_result *result);
    /* From here on the world may be cut; NULL: from here on no more. */
    void (*exists)(void *arg, struct shl_world *world);
    const struct shl_costs *costs; /* known to rank 0, which tells all; NULL: measured */
};

struct shl_world {
    atomic_uint references;
    struct shl_world_options options;
    struct shl_control *control;
    struct shl_engine *engine;
    struct shl_rendezvous_server *server;  /* on rank 0, when nobody else serves */
    struct shl_control_address *addresses; /* by rank */
    uint64_t oom_kills;                    /* shl_topology_oom_kills when it began */
};

/* Meet the others and form the communicator of all ranks. Blocks until the init timeout. */
enum shoal_status shl_world_join(const struct shl_world_options *options, struct shoal_comm **comm);

/* Drop a communicator's reference and the communicator; the last one takes the world down. */
void shl_world_leave(struct shoal_comm *comm);

/* Give up all that goes on in it, here alone, also while it is being joined: callers return soon,
 * with SHOAL_ERR_ABORTED mostly. Nothing can be done with it afterwards but to leave it. Threads:
 * any.
 */
void shl_world_cut(struct shl_world *world, const char *text);

/* form.c: make a communicator of `members` and learn hosts and groups. Collective over them. */
enum shoal_status shl_world_form(struct shl_world *world, const struct shl_comm_options *options,
                                 struct shoal_comm **comm);

/* This rank takes no part in a communicator that others may be forming. Keeps the error detail. */
void shl_world_say_absent(struct shl_world *world, uint32_t id, uint32_t rank);

/* split.c */
enum shoal_status shl_world_split(struct shoal_comm *parent, uint32_t color, int32_t key,
                                  struct shoal_comm **child);

/* measure.c: find out what messages and reductions cost; all ranks end with the same figures. */
enum shoal_status shl_world_measure(struct shoal_comm *comm);

#endif
