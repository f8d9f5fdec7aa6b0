/*
 * What tells of writes in place where these have no immediate value: a send of four bytes after the
 * write, which arrives after what was written.
 *
 * Invariant: a token is used again only when its request is complete.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/sys.h"

#define ALIGN 4096
#define BYTES (SHL_VERBS_LANES * SHL_VERBS_TOKENS * sizeof(uint32_t))

enum shoal_status shl_verbs_tokens_open(struct shl_verbs_link *link, uint32_t rail)
{
    struct shl_verbs_direct *direct = &link->direct;
    const struct shl_verbs_rail *on = &link->t->rails[rail];
    if (!on->no_immediate || direct->tokens_mr[rail])
        return SHOAL_OK;
    if (!direct->tokens)
        direct->tokens = shl_mem->alloc_aligned(ALIGN, BYTES);
    if (!direct->tokens)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the link to rank %u", link->peer);
    direct->tokens_mr[rail] =
        shl_verbs->reg_mr(on->pd, direct->tokens, BYTES, IBV_ACCESS_LOCAL_WRITE);
    if (!direct->tokens_mr[rail])
        return shl_fail_errno("%s: cannot register %zu bytes; raise the limit of locked memory",
                              on->port.device, BYTES);
    return SHOAL_OK;
}

void shl_verbs_tokens_close(struct shl_verbs_link *link)
{
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
        if (link->direct.tokens_mr[rail])
            shl_verbs->dereg_mr(link->direct.tokens_mr[rail]);
    shl_mem->free(link->direct.tokens);
}

static struct ibv_sge piece(const struct shl_verbs_link *link, uint32_t index, uint32_t at)
{
    const struct ibv_mr *mr = link->direct.tokens_mr[shl_verbs_rail_of(index)];
    return (struct ibv_sge){.addr =
                                (uintptr_t)(link->direct.tokens + index * SHL_VERBS_TOKENS + at),
                            .length = sizeof(uint32_t),
                            .lkey = mr->lkey};
}

struct ibv_sge shl_verbs_token_in(const struct shl_verbs_link *link, uint32_t index, uint32_t slot)
{
    return piece(link, index, slot);
}

struct ibv_sge shl_verbs_token_out(struct shl_verbs_link *link, uint32_t index, uint32_t number,
                                   uint32_t value)
{
    uint32_t at = SHL_VERBS_PLACES + number % SHL_VERBS_SLOTS;
    link->direct.tokens[index * SHL_VERBS_TOKENS + at] = value;
    return piece(link, index, at);
}

uint32_t shl_verbs_told(const struct shl_verbs_link *link, const struct ibv_wc *completion)
{
    uint32_t index = (uint32_t)(completion->wr_id >> 56);
    uint32_t slot = (uint32_t)completion->wr_id % SHL_VERBS_PLACES;
    return link->t->rails[shl_verbs_rail_of(index)].no_immediate
               ? link->direct.tokens[index * SHL_VERBS_TOKENS + slot]
               : completion->imm_data;
}
