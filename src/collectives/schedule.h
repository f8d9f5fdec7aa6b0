/*
 * Schedules: an algorithm as data. Path: collectives/<algorithm>.c builds, engine executes.
 *
 * A schedule is what one rank does in one collective: a flat array of steps without pointers. It
 * is a pure function of (algorithm, rank count, rank, root, host map, chunk count), independent of
 * element count, dtype and transport; offsets are in units that the executor resolves.
 *
 * Units. Data are divided into `blocks` (allreduce: as many as the algorithm wants, usually one a
 * rank; broadcast and reduce: the same, often 1; reduce-scatter and allgather: one a rank, in rank
 * order) and every block into `chunks` chunks. Unit u is chunk u % chunks of block u / chunks. A
 * span is a run of units of one buffer; neighbouring units are contiguous in memory, so a span is
 * one range of bytes. INPUT and OUTPUT have blocks * chunks units each, except that
 * reduce-scatter's OUTPUT and allgather's INPUT hold one block (units 0..chunks-1). SCRATCH has
 * scratch_units units, laid out like blocks that are never cut short. See shl_layout for element
 * offsets.
 *
 * Lengths. Late units may be cut short or empty, so a span's length in elements follows from the
 * units of the larger buffer that its data are, or will be part of: span.like names the first. For
 * INPUT and OUTPUT it says nothing new; for SCRATCH it may be any unit with the same chunk number.
 * All spans of a step, and both ends of a message, have the same like and count.
 *
 * Explicit spans. The two buffers of a reshard have no units in common. Its schedules have
 * `extents`: those of step i are extents[i], in elements, its spans only name the buffers, and the
 * paragraphs on units, lengths and in place do not hold. tests/unit/collectives/reshard_test.c
 * proves them.
 *
 * Order. Steps wait for the steps they name (always earlier ones in the array) and may otherwise
 * run in any order. Every hazard on a step's spans (read after write, write after read, write
 * after write; in place too) is among its deps: schedule_builder.c finds them. RECV_REDUCE combines
 * src with the message into dst. INPUT is never written.
 *
 * Matching. The k-th SEND in array order to a peer matches the k-th RECV or RECV_REDUCE in array
 * order from that rank at the peer.
 *
 * Unused buffers. Reduce touches OUTPUT only at the root, broadcast INPUT only there.
 *
 * In place. When the caller's buffers are the same, INPUT and OUTPUT alias (allgather: INPUT is
 * block `rank` of OUTPUT; reduce-scatter: OUTPUT is block `rank` of INPUT). Every schedule must be
 * correct both ways; shl_schedule_check proves it for both.
 *
 * Agreement. Completion at any rank must depend, through messages, on every rank's start: so no
 * rank returns OK unless all called with the same signature. Also proved by the checker; broadcast
 * and reduce reach it by a closing round of zero-unit messages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SCHEDULE_H
#define SHL_COLLECTIVES_SCHEDULE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shl_buffer { SHL_INPUT, SHL_OUTPUT, SHL_SCRATCH };

enum shl_step_kind {
    SHL_STEP_SEND,        /* src -> peer */
    SHL_STEP_RECV,        /* peer -> dst */
    SHL_STEP_RECV_REDUCE, /* dst = src op message */
    SHL_STEP_REDUCE,      /* dst = src op src2 */
    SHL_STEP_COPY,        /* dst = src */
    SHL_STEP_KIND_COUNT
};

enum shl_step_flags {
    /* The message (RECV_REDUCE) or src2 (REDUCE) holds lower ranks than src: it is operand a. */
    SHL_STEP_SWAP = 1,
    /* dst holds the contributions of all ranks after this step: AVG divides here. */
    SHL_STEP_FINAL = 2
};

struct shl_span {
    uint32_t first; /* unit */
    uint32_t count; /* units; 0: a zero-byte token */
    uint32_t like;  /* unit of the larger buffer with whose data, so length, the span begins */
    uint8_t buffer; /* enum shl_buffer */
};

struct shl_step {
    uint8_t kind;  /* enum shl_step_kind */
    uint8_t flags; /* enum shl_step_flags */
    uint32_t peer; /* rank in the communicator; SEND, RECV, RECV_REDUCE */
    uint32_t msg;  /* number of this message among those from sender to receiver; set by finish */
    struct shl_span dst, src, src2;
    uint32_t first_dep; /* index into deps */
    uint32_t dep_count;
    uint32_t first_next; /* index into nexts: steps that wait for this one; set by finish */
    uint32_t next_count;
};

/* Where a step's spans begin in their buffers, and their length; in elements. */
struct shl_extent {
    uint64_t dst, src, count;
};

#define SHL_RESHARD 64u /* stands beside the members of enum shoal_collective */

struct shl_schedule {
    uint32_t rank_count, rank, root;
    uint32_t collective; /* enum shoal_collective, or SHL_RESHARD */
    uint32_t blocks, chunks, scratch_units;
    uint32_t step_count, dep_count;
    struct shl_step *steps;
    uint32_t *deps;  /* step indices, all smaller than the step's own */
    uint32_t *nexts; /* the inverse, dep_count entries */
    const struct shl_algorithm *algorithm;
    struct shl_extent *extents; /* explicit spans, by step; NULL: in units */
    uint64_t scratch_elems;     /* with extents */
};

/* Hosts of a communicator: host_of[rank], hosts numbered by first appearance. */
struct shl_host_map {
    uint32_t rank_count, host_count;
    const uint32_t *host_of;
    const struct shl_host_index *index; /* rank_map.h; NULL: made anew by every build needing it */
};

/* What a builder is given. */
struct shl_shape {
    uint32_t rank_count, rank, root, chunks;
    const struct shl_host_map *hosts; /* NULL: every rank its own host */
};

struct shl_builder; /* schedule_builder.h */
struct shl_price;   /* cost.h */
struct shl_time;

struct shl_algorithm {
    const char *name; /* "ring" */
    enum shoal_collective collective;
    const char *source; /* paper or text it is taken from */
    bool in_rank_order; /* combines strictly in rank order: legal for ops that do not commute */
    bool needs_hosts;   /* makes sense only with more than one host and more than one rank on one */
    bool pipelined;     /* gains from more than one chunk */
    bool fans_in;       /* many ranks send to one at the same time */
    bool new_partners;  /* every round has other ones, and moves a large part of the data */
    uint32_t ranks_min, ranks_max; /* legal rank counts; max 0: any */
    /* Never called for one rank: then the result is a copy of the input. */
    enum shoal_status (*build)(const struct shl_shape *shape, struct shl_builder *builder);
    struct shl_time (*cost)(const struct shl_price *price); /* cost.h; for 2 ranks or more */
};

/* The registry, from algorithms.def. */
size_t shl_algorithm_count(void);
const struct shl_algorithm *shl_algorithm_at(size_t index);
const struct shl_algorithm *shl_algorithm_find(enum shoal_collective collective, const char *name);

/* shl_algorithm_suits - may the algorithm run on these ranks? */
bool shl_algorithm_suits(const struct shl_algorithm *algorithm, uint32_t rank_count,
                         const struct shl_host_map *hosts);

/* shl_algorithm_legal - SHOAL_ERR_INVALID says why an algorithm does not suit these ranks. */
enum shoal_status shl_algorithm_legal(const struct shl_algorithm *algorithm, uint32_t rank_count,
                                      const struct shl_host_map *hosts);

/* shl_schedule_build - build one rank's schedule. Allocates; freed by shl_schedule_free. */
enum shoal_status shl_schedule_build(const struct shl_algorithm *algorithm,
                                     const struct shl_shape *shape, struct shl_schedule **schedule);
void shl_schedule_free(struct shl_schedule *schedule);

/*
 * Where units lie, for one call. Block b holds elements [b * block_elems, (b+1) * block_elems) cut
 * at `count`; chunk c of it starts at c * chunk_elems. For allreduce, broadcast and reduce
 * block_elems and chunk_elems are rounded up to whole cache lines, so late units may be empty.
 */
struct shl_layout {
    uint64_t count; /* elements in the larger buffer */
    uint64_t block_elems, chunk_elems;
    uint32_t chunks;
};

struct shl_layout shl_layout_make(const struct shl_schedule *schedule, uint64_t call_count,
                                  uint32_t elem_bytes);

/* First element of unit u of a buffer; the end of the buffer for u = number of units. */
uint64_t shl_layout_offset(const struct shl_layout *layout, enum shl_buffer buffer, uint32_t unit);

/* Length of a span in elements; the same at both ends of a message. */
uint64_t shl_layout_length(const struct shl_layout *layout, const struct shl_span *span);

/* ---- selection ---------------------------------------------------------------------------- */

/* Costs between two ranks of one host and of different hosts, and of reducing. Seconds, bytes. */
struct shl_costs {
    double alpha_local_s, beta_local_s_per_byte;
    double alpha_net_s, beta_net_s_per_byte;
    double gamma_s_per_byte;
    uint32_t cores_per_host; /* local ranks beyond it share a core */
    uint32_t net_places;     /* 1: between hosts a large message waits to be told its place */
};

struct shl_choice {
    const struct shl_algorithm *algorithm;
    uint32_t chunks;
    double predicted_s; /* by the model of simulate.h */
};

struct shl_select_query {
    enum shoal_collective collective;
    uint32_t rank_count, root;
    uint64_t bytes; /* of the larger buffer */
    bool commutes;
    const struct shl_host_map *hosts;
    const char *forced; /* SHOAL_ALGORITHM, may be NULL or "" */
};

/* shl_select - the cheapest legal algorithm. Deterministic: the same query and costs give the same
 * choice on every rank. Never depends on the rank. */
enum shoal_status shl_select(const struct shl_select_query *query, const struct shl_costs *costs,
                             struct shl_choice *choice);

#endif
