/*
 * Phases: parts that algorithms are put together from. A phase runs on a team of ranks; what order
 * phases follow in is found from the data they touch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_PHASES_H
#define SHL_COLLECTIVES_PHASES_H

#include "collectives/rank_map.h"
#include "collectives/schedule_builder.h"

/*
 * Phases on parts of the data. Part i is units first + i * units .. + units of the larger buffer,
 * and belongs to member i.
 *
 * A reduce-scatter phase reads this rank's contributions in `from`. Partial results lie in OUTPUT
 * where their part belongs, or, with in_scratch, in scratch, and the result goes to `result`.
 * An allgather phase starts with this member's part in `from` and fills all other parts of OUTPUT.
 */
struct shl_phase {
    struct shl_team team;
    uint32_t first, units;
    uint32_t grain; /* units moved by one message where the phase pipelines; divides units */
    enum shl_buffer from;
    bool backwards; /* a ring turns the other way */
    bool in_scratch;
    struct shl_span result; /* with in_scratch: `units` units for this member's part */
    unsigned flags;         /* of the step that completes a part: SHL_STEP_FINAL or 0 */
};

static inline uint32_t shl_part(const struct shl_phase *phase, uint32_t member)
{
    return phase->first + member * phase->units;
}

/* Around a ring, in count - 1 rounds. In scratch: 2 parts. */
void shl_phase_ring_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase);
void shl_phase_ring_allgather(struct shl_builder *builder, const struct shl_phase *phase);

/* On a circulant graph, in ceil(log2 count) rounds. In scratch: (count + 1) / 2 parts; the result
 * may be the first of them. */
void shl_phase_circulant_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase);
/* `knows_all` is a member that has all parts and needs none, or SHL_NONE. */
void shl_phase_circulant_allgather(struct shl_builder *builder, const struct shl_phase *phase,
                                   uint32_t knows_all);

/* Everyone to everyone at once, combined in the order of members. Scratch, also without in_scratch:
 * count - 1 parts. */
void shl_phase_direct_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase);

/* Everyone to the first `owners` members, which alone have parts, combined as they arrive, without
 * scratch; and everyone from them. */
void shl_phase_pairwise_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase,
                                       uint32_t owners);
void shl_phase_pairwise_allgather(struct shl_builder *builder, const struct shl_phase *phase,
                                  uint32_t owners);

/* ---- phases on all data --------------------------------------------------------------------- */

/* Allreduce of all `units` units by recursive multiplying, in the order of members, from `from` to
 * OUTPUT. Scratch: 2 * units. */
void shl_phase_exchange(struct shl_builder *builder, const struct shl_team *team,
                        uint32_t radix_max, enum shl_buffer from, uint32_t units, unsigned flags);

/* Data go through `trees` trees, piece by piece in turn: tree t takes units t * count .. + count,
 * in messages of `grain` units. */
#define SHL_TREES_MAX 2
struct shl_tree_phase {
    uint32_t rank;
    const struct shl_tree *tree;
    uint32_t trees, count, grain;
    enum shl_buffer from; /* root of a broadcast; contribution to a reduction */
    enum shl_buffer into; /* partial results of a reduction: OUTPUT or SCRATCH, same units */
    unsigned flags;       /* of a reduction's last step at the root */
};
void shl_phase_tree_broadcast(struct shl_builder *builder, const struct shl_tree_phase *phase);
/* Children with lower ranks combine on the left. */
void shl_phase_tree_reduce(struct shl_builder *builder, const struct shl_tree_phase *phase);

/*
 * Dissemination of tokens over all ranks: whoever completes it knows that all ranks have started.
 * Runs beside the data, so it costs no time where the data take as many rounds.
 */
void shl_phase_tokens(struct shl_builder *builder, const struct shl_shape *shape);

#endif
