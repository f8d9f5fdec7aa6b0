/*
 * Rails that come back: which are trusted again for writing in place, and by whose word.
 *
 * That a way to the peer is known says little: the kernel remembers addresses for a while after a
 * cable is cut. So a rail that has come back carries messages only after each of its lanes has
 * carried a write of nothing, and frames leave the control channel only for such a rail; what does
 * not work costs no message the time until requests time out.
 *
 * Invariant: a rail that failed is trusted again only when it was looked for, here or by the peer,
 * and found.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

/* ---- trust --------------------------------------------------------------------------------- */

/* Trust these rails as far as this end knows nothing against them, and no others that failed. */
static void trust(struct shl_verbs_link *link, uint32_t rails)
{
    struct shl_verbs_direct *direct = &link->direct;
    direct->unproved |= rails;
    direct->bad &= ~rails;
    direct->bad |= link->move.missing | link->move.unfit;
    for (uint32_t rail = 0; rail < direct->rail_count; rail++)
        direct->bad |= link->t->rails[rail].down ? 1u << rail : 0;
}

void shl_verbs_direct_trust(struct shl_verbs_link *link, uint32_t rails, bool proved)
{
    rails &= (1u << link->direct.rail_count) - 1;
    link->move.missing &= ~rails; /* the peer's way here is one from here, too */
    link->move.unfit &= ~rails;
    trust(link, rails);
    if (proved)
        link->direct.unproved &= ~rails;
}

void shl_verbs_direct_return(struct shl_verbs_link *link, uint32_t rails)
{
    trust(link, rails);
    link->direct.returned |= rails;
    link->direct.reset_wanted = true;
}

/* ---- proof --------------------------------------------------------------------------------- */

static void carries(struct shl_verbs_link *link, uint32_t rail)
{
    link->direct.unproved &= ~(1u << rail);
    shl_verbs_move_proved(link, 1u << rail);
}

/* Nothing is written, so there is no key to be right; but it has to be acknowledged. */
static void prove(struct shl_verbs_link *link, uint32_t index)
{
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    uint32_t number = lane->requested++, rail = shl_verbs_rail_of(index);
    struct ibv_send_wr *bad,
        request = {.wr_id = (uint64_t)index << 56 | (uint64_t)link->peer << 32 |
                            SHL_VERBS_SEND_REQUEST | ((number + 1) & (SHL_VERBS_SEND_REQUEST - 1)),
                   .opcode = IBV_WR_RDMA_WRITE,
                   .send_flags = IBV_SEND_SIGNALED};
    lane->requests[number % SHL_VERBS_SLOTS] = (struct shl_verbs_write){NULL, 0};
    lane->signalled++;
    lane->proving = true;
    if (shl_verbs->post_send(lane->qp, &request, &bad) != 0)
        shl_verbs_rail_fail(link, rail, "%s: a write to rank %u cannot be posted",
                            link->t->rails[rail].port.device, link->peer);
}

void shl_verbs_direct_prove(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    for (uint32_t rail = 0; rail < direct->rail_count && link->t->cm; rail++)
        if (direct->lanes[rail].qp) /* which rdma_cm has proved */
            carries(link, rail);
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++)
        if (direct->lanes[index].qp && !direct->lanes[index].proving &&
            direct->unproved >> shl_verbs_rail_of(index) & 1)
            prove(link, index);
}

void shl_verbs_direct_proved(struct shl_verbs_link *link, struct shl_verbs_lane *lane)
{
    struct shl_verbs_direct *direct = &link->direct;
    uint32_t rail = shl_verbs_rail_of((uint32_t)(lane - direct->lanes));
    lane->proving = false;
    for (uint32_t index = rail; index < SHL_VERBS_LANES; index += SHL_VERBS_RAILS)
        if (direct->lanes[index].proving)
            return;
    carries(link, rail);
}
