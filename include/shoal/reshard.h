/*
 * Resharding: move a distributed array from one layout to another, each element at most once.
 *
 * A layout says which rank holds which elements of an array of `count`. A rank's buffer holds its
 * elements one after another: ascending, for SHOAL_LAYOUT_SPANS in the order of its spans. A rank
 * may have only input, only output, or neither; whatever stays on its rank is copied there, so no
 * plan moves fewer bytes between ranks. Uses: loading a checkpoint at another number of ranks,
 * handing state over, changing how an optimizer is sharded.
 *
 * Every rank of the communicator calls it, with the same count, dtype and layouts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_RESHARD_H
#define SHOAL_RESHARD_H

#include <shoal/collectives.h>

#ifdef __cplusplus
extern "C" {
#endif

enum shoal_layout_kind {
    SHOAL_LAYOUT_BLOCK = 0,  /* ceil(count / ranks) each; the last have fewer or none */
    SHOAL_LAYOUT_BLOCKS = 1, /* counts[i] each; together they are `count` */
    SHOAL_LAYOUT_CYCLIC = 2, /* runs of `block` elements are dealt out in turn */
    SHOAL_LAYOUT_SPANS = 3   /* as listed */
};

struct shoal_span {
    uint64_t first; /* element */
    uint64_t count;
    uint64_t rank;
};

struct shoal_layout {
    size_t struct_size;
    enum shoal_layout_kind kind;
    uint32_t first_rank;    /* all but SPANS: of the first part; the next rank holds the next one */
    uint32_t ranks;         /* number of parts; 0: all ranks from first_rank on */
    uint64_t block;         /* CYCLIC: elements */
    const uint64_t *counts; /* BLOCKS: one a part */
    const struct shoal_span *spans; /* SPANS: in any order, not overlapping; what none covers is
                                       held by nobody */
    size_t span_count;
};

/*
 * shoal_layout_count - how many elements of an array of `total` a rank of `size` holds.
 * Errors   SHOAL_ERR_INVALID names what is wrong with the layout
 * Threads  any
 */
SHOAL_API enum shoal_status shoal_layout_count(const struct shoal_layout *layout, uint64_t total,
                                               uint32_t rank, uint32_t size, uint64_t *count);

struct shoal_reshard_call {
    size_t struct_size;
    uint64_t count; /* elements of the whole array */
    enum shoal_dtype dtype;
    uint32_t timeout_ms; /* as in struct shoal_call; the blocking form: 0 is the default */
    const struct shoal_layout *from;
    const struct shoal_layout *to;
    const void *send; /* this rank's elements in `from`; may be NULL if it has none */
    void *recv;       /* this rank's elements in `to`; may not overlap with send */
};

/*
 * shoal_reshard - from one layout to another; blocking.
 *
 * Elements that `to` has and `from` has not are an error; those that only `from` has are dropped.
 * Owns     borrows everything until the call returns
 * Errors   SHOAL_ERR_INVALID: a layout, or overlapping buffers. SHOAL_ERR_UNSUPPORTED: so many
 *          small runs that the plan would not be bounded. Else as in shoal_allreduce
 * Threads  any; the order of calls on one communicator must be the same on every rank
 * Cost     plans anew each time, in time and memory of the number of runs; each rank sends what
 *          others get from it in one message a run, or one message a peer when runs are short
 */
SHOAL_API enum shoal_status shoal_reshard(struct shoal_comm *comm,
                                          const struct shoal_reshard_call *call);

/* shoal_reshard_start - begin it and return at once. Layouts are borrowed for the call, buffers
 * until the request completes or its abort has returned. */
SHOAL_API enum shoal_status shoal_reshard_start(struct shoal_comm *comm,
                                                const struct shoal_reshard_call *call,
                                                struct shoal_request **request);

/*
 * shoal_reshard_plan - what it would send; nothing is sent, and the buffers are not looked at.
 * info     algorithm is "spans", predicted_us 0
 */
SHOAL_API enum shoal_status shoal_reshard_plan(struct shoal_comm *comm,
                                               const struct shoal_reshard_call *call,
                                               struct shoal_plan_info *info);

#ifdef __cplusplus
}
#endif
#endif
