/*
 * Pipelined broadcast and reduction along a tree: piece after piece goes down, or up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

void shl_phase_tree_broadcast(struct shl_builder *builder, const struct shl_tree_phase *phase)
{
    const struct shl_tree *tree = phase->tree;
    bool root = tree->parent == UINT32_MAX;
    for (uint32_t at = 0; at < phase->count; at += phase->grain) {
        struct shl_span piece =
            shl_span(root ? phase->from : SHL_OUTPUT, phase->first + at, phase->grain);
        if (!root)
            shl_build_recv(builder, tree->parent, piece);
        for (uint32_t child = 0; child < tree->child_count; child++)
            shl_build_send(builder, tree->children[child], piece);
    }
}

static struct shl_span partial(const struct shl_tree_phase *phase, uint32_t at)
{
    uint32_t unit = phase->first + at;
    if (phase->into == SHL_SCRATCH)
        return shl_scratch(unit, phase->grain, unit);
    return shl_span(SHL_OUTPUT, unit, phase->grain);
}

void shl_phase_tree_reduce(struct shl_builder *builder, const struct shl_tree_phase *phase)
{
    const struct shl_tree *tree = phase->tree;
    bool root = tree->parent == UINT32_MAX;
    for (uint32_t at = 0; at < phase->count; at += phase->grain) {
        struct shl_span mine = shl_span(phase->from, phase->first + at, phase->grain);
        for (uint32_t child = tree->child_count; child-- > 0;) {
            uint32_t peer = tree->children[child];
            unsigned flags = peer < phase->rank ? SHL_STEP_SWAP : 0;
            if (root && child == 0)
                flags |= phase->flags;
            shl_build_recv_reduce(builder, peer, partial(phase, at), mine, flags);
            mine = partial(phase, at);
        }
        if (!root)
            shl_build_send(builder, tree->parent, mine);
    }
}
