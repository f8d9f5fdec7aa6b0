/*
 * Phases: parts that algorithms are put together from. A phase runs on a team of ranks and on parts
 * of the data, one for each member; what order phases follow in is found from the data they touch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_PHASES_H
#define SHL_COLLECTIVES_PHASES_H

#include "collectives/rank_map.h"
#include "collectives/schedule_builder.h"

/*
 * Part i is units first + i * units .. + units of the larger buffer, and belongs to member i.
 *
 * A reduce-scatter phase reads this rank's contribution in `from`. With OUTPUT as large as INPUT
 * (allreduce), partial results lie in OUTPUT where their part belongs; in a reduce-scatter
 * collective they lie in scratch and the result goes to the one block of OUTPUT.
 * An allgather phase starts with this member's part in `from` and fills all other parts of OUTPUT.
 */
struct shl_phase {
    struct shl_team team;
    uint32_t first, units;
    uint32_t grain; /* units moved by one message where the phase pipelines */
    enum shl_buffer from;
    bool in_scratch; /* reduce-scatter collective */
    unsigned flags;  /* of the step that completes a part: SHL_STEP_FINAL or 0 */
};

static inline uint32_t shl_part(const struct shl_phase *phase, uint32_t member)
{
    return phase->first + member * phase->units;
}

/* Reduce-scatter around a ring: member i ends with part i. In scratch: 2 parts. */
void shl_phase_ring_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase);
void shl_phase_ring_allgather(struct shl_builder *builder, const struct shl_phase *phase);

/*
 * Dissemination of tokens over all ranks: whoever completes it knows that all ranks have started.
 * Runs beside the data, so it costs no time where the data take as many rounds.
 */
void shl_phase_tokens(struct shl_builder *builder, const struct shl_shape *shape);

#endif
