/*
 * Scripts: collectives that all ranks of a cluster call, with operands and results that are known.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "sim/cluster.h"

/* A reduction that is associative but does not commute: x -> a x + b, packed in a u64. Created on
 * every rank by script_make_op. */
#define SCRIPT_AFFINE SHOAL_OP_USER_FIRST

/* One collective, as every rank is to call it. */
struct script_op {
    enum shoal_collective collective;
    enum shoal_dtype dtype;
    uint32_t op, root;
    size_t count;
    bool in_place;
    uint64_t salt; /* of the operands */
};

/* One rank's call of it. */
struct script_call {
    struct script_op op; /* as this rank calls it */
    struct shoal_request *request;
    uint8_t *send, *recv; /* equal, or one inside the other, when in place */
    uint8_t *store[2];
    uint64_t start_ns, deadline_ns;
    bool gave_up;
    enum shoal_status status; /* of the start, if that failed; else of the request */
    char text[SHL_ENGINE_TEXT];
};

void script_make_op(struct cluster *cluster);

/* script_random - any legal collective; `exact`: only types and operands whose result is known. */
struct script_op script_random(struct cluster *cluster, size_t count_max);

/* script_start - allocate and fill the rank's buffers and start the request. */
void script_start(struct cluster *cluster, uint32_t rank, const struct script_op *op,
                  uint64_t timeout_ns, struct script_call *call);

/* script_settled - has it an outcome? Raises the time-out, as a blocked caller would, when due. */
bool script_settled(struct cluster *cluster, uint32_t rank, struct script_call *call);

/* script_run - all ranks that have not crashed call `ops[rank]`, each after a delay by chance of at
 * most spread_ns, and wait. Fails the test when that takes longer than limit_ns. */
void script_run(struct cluster *cluster, const struct script_op *ops, uint64_t spread_ns,
                uint64_t timeout_ns, uint64_t limit_ns, struct script_call *calls);

/* script_verify - the rank's result is what the operands of `size` ranks give. */
void script_verify(struct cluster *cluster, uint32_t rank, const struct script_call *call);

/* script_verify_equal - allreduce and broadcast, allgather: the same bits on both. */
void script_verify_equal(struct cluster *cluster, const struct script_call *a,
                         const struct script_call *b);

void script_free(struct script_call *call);

#endif
