/*
 * The operations, blocking and as requests.
 *
 * Every rank of a communicator calls the same operations in the same order with the same count,
 * dtype, op and root; a difference is SHOAL_ERR_MISMATCH on every rank. Buffers may have any
 * alignment and counts may exceed 2^31. send == recv (for allgather and reduce_scatter: the
 * caller's own block of the larger buffer, as in NCCL) means in place. Zero counts are legal and
 * still synchronise. A blocking call is start + wait with the communicator's default deadline, and
 * aborts the operation on all ranks when that passes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_COLLECTIVES_H
#define SHOAL_COLLECTIVES_H

#include <shoal/comm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * shoal_allreduce - combine `count` elements per rank; every rank gets the result.
 *
 * send, recv  count elements each
 * Owns        borrows both buffers until the call returns
 * Errors      SHOAL_ERR_MISMATCH, _TIMEOUT, _ABORTED (communicator usable), _PEER (it is not);
 *             after an error the contents of recv are undefined
 * Threads     any; the order of calls on one communicator must be the same on every rank
 */
SHOAL_API enum shoal_status shoal_allreduce(struct shoal_comm *comm, const void *send, void *recv,
                                            size_t count, enum shoal_dtype dtype, uint32_t op);

/* ---- what follows is as in shoal_allreduce where nothing else is said ---- */

/* shoal_broadcast - copy `count` elements from send on `root` to recv on every rank. */
SHOAL_API enum shoal_status shoal_broadcast(struct shoal_comm *comm, const void *send, void *recv,
                                            size_t count, enum shoal_dtype dtype, uint32_t root);

/* shoal_reduce - combine `count` elements per rank into recv on `root`; recv is unused elsewhere
 * and may be NULL there. */
SHOAL_API enum shoal_status shoal_reduce(struct shoal_comm *comm, const void *send, void *recv,
                                         size_t count, enum shoal_dtype dtype, uint32_t op,
                                         uint32_t root);

/* shoal_reduce_scatter - combine size * recv_count elements; rank r gets block r of recv_count. */
SHOAL_API enum shoal_status shoal_reduce_scatter(struct shoal_comm *comm, const void *send,
                                                 void *recv, size_t recv_count,
                                                 enum shoal_dtype dtype, uint32_t op);

/* shoal_allgather - concatenate send_count elements of every rank in rank order into recv, which
 * holds size * send_count. */
SHOAL_API enum shoal_status shoal_allgather(struct shoal_comm *comm, const void *send, void *recv,
                                            size_t send_count, enum shoal_dtype dtype);

/* shoal_barrier - return after every rank has called it. */
SHOAL_API enum shoal_status shoal_barrier(struct shoal_comm *comm);

/* ---- requests --------------------------------------------------------------------------- */

/* One operation, as the start call and shoal_plan take it. Unused fields are ignored. */
struct shoal_call {
    size_t struct_size;
    enum shoal_collective collective;
    enum shoal_dtype dtype;
    uint32_t op;
    uint32_t root;
    size_t count; /* as in the blocking call: count, recv_count or send_count */
    const void *send;
    void *recv;
    uint32_t timeout_ms; /* deadline from the start on: whoever waits for the operation then gives
                            it up on every rank with SHOAL_ERR_TIMEOUT, as a blocking call does.
                            0: none; UINT32_MAX: the communicator's default */
};

/*
 * shoal_start - begin an operation and return at once.
 *
 * Owns     borrows both buffers until the request completes or its abort has returned
 * Errors   of the call only (SHOAL_ERR_INVALID ...); *request is untouched then
 * Threads  any
 */
SHOAL_API enum shoal_status shoal_start(struct shoal_comm *comm, const struct shoal_call *call,
                                        struct shoal_request **request);

/*
 * shoal_start_wait - begin an operation and drive it for at most wait_ms, in one call.
 *
 * For callers that must look up now and then, such as interpreters, which handle signals between
 * calls. When the operation is over by then its outcome is returned, and *request is NULL. Else
 * SHOAL_IN_PROGRESS is returned, and *request is as shoal_start would have left it.
 */
SHOAL_API enum shoal_status shoal_start_wait(struct shoal_comm *comm, const struct shoal_call *call,
                                             uint32_t wait_ms, struct shoal_request **request);

/* shoal_request_test - drive progress once; SHOAL_IN_PROGRESS, or the operation's outcome, which
 * may be asked for again. Threads: any, as in all calls on a request but destroy. */
SHOAL_API enum shoal_status shoal_request_test(struct shoal_request *request);

/*
 * shoal_request_wait - drive progress until done or for timeout_ms (UINT32_MAX: no limit of the
 * caller's). SHOAL_IN_PROGRESS when the time passed: the request goes on and keeps the buffers.
 * SHOAL_ERR_TIMEOUT when the operation's own deadline (shoal_call) passed.
 */
SHOAL_API enum shoal_status shoal_request_wait(struct shoal_request *request, uint32_t timeout_ms);

/* shoal_request_abort - give the operation up on every rank. After it returns the buffers are the
 * caller's again and no peer writes into them. */
SHOAL_API enum shoal_status shoal_request_abort(struct shoal_request *request);

/* shoal_request_destroy - release the handle; NULL is legal. An unfinished operation is aborted
 * first. No other call on the request may be under way. */
SHOAL_API enum shoal_status shoal_request_destroy(struct shoal_request *request);

/* ---- user-defined reductions ------------------------------------------------------------- */

/*
 * out[i] = a[i] op b[i] for count elements; a belongs to lower ranks than b. out may equal a or b.
 * Called from whichever thread drives progress; it must not call Shoal.
 */
typedef void (*shoal_reduce_fn)(const void *a, const void *b, void *out, size_t count,
                                enum shoal_dtype dtype, void *user);

struct shoal_op_options {
    size_t struct_size;
    shoal_reduce_fn function;
    void *user;
    int commutes; /* 0: operands are combined strictly in rank order */
};

/* shoal_op_create - register a reduction on a communicator; every rank creates its operations in
 * the same order and gets the same id. At most 64; released with the communicator. */
SHOAL_API enum shoal_status shoal_op_create(struct shoal_comm *comm,
                                            const struct shoal_op_options *options, uint32_t *op);

/* ---- insight ------------------------------------------------------------------------------ */

/* How an operation would be, or was, carried out. Strings live as long as the communicator. */
struct shoal_plan_info {
    size_t struct_size;
    const char *algorithm;  /* e.g. "ring" */
    const char *transport;  /* "shm", "tcp", "verbs"; "mixed", or "self" for one rank */
    double predicted_us;    /* by the cost model; 0 when unknown */
    uint64_t bytes_sent;    /* by this rank */
    uint64_t bytes_reduced; /* by this rank */
};

/* shoal_plan - how a call would be carried out; nothing is sent. Without buffers (both NULL)
 * ordinary memory is assumed. */
SHOAL_API enum shoal_status shoal_plan(struct shoal_comm *comm, const struct shoal_call *call,
                                       struct shoal_plan_info *info);

#ifdef __cplusplus
}
#endif
#endif
