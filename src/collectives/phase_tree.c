/*
 * Pipelined broadcast and reduction along a tree: piece after piece goes down, or up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

/* A rank takes so many pieces at once. Were it to take all, the child that is combined first could
 * fill the port with pieces for later while the others' share of the next piece waits. */
#define PIECES_AHEAD 3

static void pass_down(struct shl_builder *builder, const struct shl_tree_phase *phase,
                      const struct shl_tree *tree, uint32_t unit)
{
    bool root = tree->parent == UINT32_MAX;
    struct shl_span piece = shl_span(root ? phase->from : SHL_OUTPUT, unit, phase->grain);
    if (!root)
        shl_build_recv(builder, tree->parent, piece);
    for (uint32_t child = 0; child < tree->child_count; child++)
        shl_build_send(builder, tree->children[child], piece);
}

/* Combines one piece and passes it on. `before` is a step of an earlier piece that must be done
 * first. Gives the last step that combined, SHL_NONE at a leaf. */
static uint32_t pass_up(struct shl_builder *builder, const struct shl_tree_phase *phase,
                        const struct shl_tree *tree, uint32_t unit, uint32_t before)
{
    bool root = tree->parent == UINT32_MAX;
    uint32_t step = SHL_NONE;
    struct shl_span mine = shl_span(phase->from, unit, phase->grain);
    struct shl_span sum = phase->into == SHL_SCRATCH ? shl_scratch(unit, phase->grain, unit)
                                                     : shl_span(SHL_OUTPUT, unit, phase->grain);
    for (uint32_t child = tree->child_count; child-- > 0;) {
        uint32_t peer = tree->children[child];
        unsigned flags = peer < phase->rank ? SHL_STEP_SWAP : 0;
        if (root && child == 0)
            flags |= phase->flags;
        step = shl_build_recv_reduce(builder, peer, sum, mine, flags);
        if (child + 1 == tree->child_count) /* the others wait for this one */
            shl_build_after(builder, before);
        mine = sum;
    }
    if (!root)
        shl_build_send(builder, tree->parent, mine);
    return step;
}

void shl_phase_tree_broadcast(struct shl_builder *builder, const struct shl_tree_phase *phase)
{
    for (uint32_t at = 0; at < phase->count; at += phase->grain) {
        for (uint32_t which = 0; which < phase->trees; which++)
            pass_down(builder, phase, &phase->tree[which], which * phase->count + at);
    }
}

void shl_phase_tree_reduce(struct shl_builder *builder, const struct shl_tree_phase *phase)
{
    uint32_t done[SHL_TREES_MAX][PIECES_AHEAD];
    for (uint32_t at = 0, piece = 0; at < phase->count; at += phase->grain, piece++) {
        for (uint32_t which = 0; which < phase->trees; which++) {
            uint32_t *before = &done[which][piece % PIECES_AHEAD];
            uint32_t unit = which * phase->count + at;
            *before = pass_up(builder, phase, &phase->tree[which], unit,
                              piece < PIECES_AHEAD ? SHL_NONE : *before);
        }
    }
}
