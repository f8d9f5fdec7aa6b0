/*
 * Moving the frames of a link from one carrier to another; see verbs_move.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/config.h"
#include "core/log.h"
#include "core/sys.h"

#include <stdarg.h>
#include <stdio.h>

#define CONFIG_TRANSPORT_TCP 2u /* bit of "tcp" in SHOAL_TRANSPORT */
#define DRAIN_NS UINT64_C(1000000000)
#define PAUSE_NS_MIN UINT64_C(1000000000)
#define PAUSE_NS_MAX UINT64_C(64000000000)
#define LASTED_NS UINT64_C(60000000000) /* trouble that was over for so long is forgotten */
#define TRIES 3 /* before a link that never had a rail is given up, where tcp is not allowed */

/* ---- leaving ------------------------------------------------------------------------------- */

static void leave(struct shl_verbs_link *link)
{
    struct shl_verbs_move *move = &link->move;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    if (move->step != SHL_VERBS_SETTLED)
        return;
    move->from_channel = link->rail == SHL_VERBS_CHANNEL;
    move->step = SHL_VERBS_LEAVING;
    move->lasted = !move->from_channel && shl_now_ns() - move->since_ns >= PAUSE_NS_MIN;
    move->since_ns = shl_now_ns();
    move->looks = 0;
    link->rail = SHL_VERBS_NOWHERE;
    link->signalled = 0;
    link->quiet_ns = 0;
    if (link->qp)
        shl_verbs->modify_qp(link->qp, &attr, IBV_QP_STATE);
}

void shl_verbs_rail_fail(struct shl_verbs_link *link, uint32_t rail, const char *format, ...)
{
    char text[SHL_VERBS_CAUSE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (link->state != SHL_VERBS_UP) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s", text);
        return;
    }
    if (!(link->direct.bad >> rail & 1))
        shl_log(SHL_LOG_WARN, "%s; what goes to rank %u goes another way", text, link->peer);
    shl_verbs_direct_distrust(link, rail);
    shl_verbs_retry_later(link);
    if (link->rail == rail)
        leave(link);
}

static uint32_t rails_down(const struct shl_verbs_link *link)
{
    uint32_t down = 0;
    for (uint32_t rail = 0; rail < link->direct.rail_count; rail++)
        down |= link->t->rails[rail].down ? 1u << rail : 0;
    return down;
}

static uint32_t rails_up(const struct shl_verbs_link *link)
{
    return ((1u << link->direct.rail_count) - 1) & ~rails_down(link);
}

/* Rails whose ports are up, and which are not used for some other reason. */
static uint32_t rails_out(const struct shl_verbs_link *link)
{
    return rails_up(link) & (link->direct.bad | link->move.missing | link->move.unfit);
}

static uint32_t rails_working(const struct shl_verbs_link *link)
{
    return rails_up(link) & ~(rails_out(link) | link->direct.unproved);
}

static uint32_t rails_with_lanes(const struct shl_verbs_link *link)
{
    uint32_t rails = 0;
    for (uint32_t rail = 0; rail < link->direct.rail_count; rail++)
        rails |= link->direct.lanes[rail].qp ? 1u << rail : 0;
    return rails;
}

/* Rails that are being brought back: their lanes are still to be made, or to be proved. */
static uint32_t rails_returning(const struct shl_verbs_link *link)
{
    const struct shl_verbs_direct *direct = &link->direct;
    bool lives_change = direct->reset_wanted || !direct->up;
    return direct->unproved & ~direct->bad & (lives_change ? UINT32_MAX : rails_with_lanes(link));
}

/* Rails to look for now and then; while the channel carries, whichever may take over. */
static uint32_t rails_wanted(const struct shl_verbs_link *link)
{
    uint32_t others = link->rail == SHL_VERBS_CHANNEL ? rails_up(link) & ~rails_returning(link) : 0;
    return rails_out(link) | others;
}

/* ---- settling ------------------------------------------------------------------------------ */

static void end_pair(struct shl_verbs_link *link)
{
    shl_verbs_join_end(&link->join, link->qp);
    if (link->slots_mr)
        shl_verbs->dereg_mr(link->slots_mr);
    link->qp = NULL;
    link->slots_mr = NULL;
}

/* A link that once worked by RDMA may go by the channel for a while; one that never did is what
 * SHOAL_TRANSPORT is about. */
static bool may_use_tcp(const struct shl_verbs_link *link)
{
    return link->t->env->config->transport & CONFIG_TRANSPORT_TCP;
}

void shl_verbs_retry_later(struct shl_verbs_link *link)
{
    struct shl_verbs_move *move = &link->move;
    uint64_t now_ns = shl_now_ns();
    if (now_ns < move->retry_ns)
        return; /* with whatever else is to be tried then */
    move->pause_ns = now_ns > move->retry_ns + LASTED_NS ? 0 : 2 * move->pause_ns;
    move->pause_ns = move->pause_ns < PAUSE_NS_MIN   ? PAUSE_NS_MIN
                     : move->pause_ns > PAUSE_NS_MAX ? PAUSE_NS_MAX
                                                     : move->pause_ns;
    move->retry_ns = now_ns + move->pause_ns;
}

/* No rail could be used this time. A link that never had one is not given up for a moment's
 * trouble, but it is in the end, where tcp is not allowed. */
static void try_later(struct shl_verbs_link *link)
{
    shl_verbs_retry_later(link);
    if (link->rail != SHL_VERBS_CHANNEL || link->proof_received || may_use_tcp(link) ||
        ++link->move.tries < TRIES)
        return;
    shl_verbs_link_fail(link, SHOAL_ERR_PEER,
                        "rank %u cannot be reached by RDMA, as the log says, and tcp is not in "
                        "SHOAL_TRANSPORT",
                        link->peer);
}

void shl_verbs_move_ask(struct shl_verbs_link *link, uint32_t asked)
{
    link->move.missing |= asked & ~(rails_with_lanes(link) | rails_returning(link));
}

void shl_verbs_move_missed(struct shl_verbs_link *link, uint32_t missed, bool in_vain)
{
    link->move.missing |= missed;
    if (in_vain)
        try_later(link);
    else
        shl_verbs_retry_later(link);
}

/* Rails that were found, and no others: what is known of these has not changed. */
void shl_verbs_move_found(struct shl_verbs_link *link, uint32_t found)
{
    struct shl_verbs_move *move = &link->move;
    found &= rails_up(link);
    move->missing &= ~found;
    move->unfit &= ~found;
    uint32_t with_lanes = rails_with_lanes(link);
    if (found & ~with_lanes)
        shl_verbs_direct_return(link, found & ~with_lanes);
    shl_verbs_move_proved(link, found & with_lanes & rails_working(link));
    if (rails_out(link))
        shl_verbs_retry_later(link);
}

void shl_verbs_move_proved(struct shl_verbs_link *link, uint32_t proved)
{
    struct shl_verbs_move *move = &link->move;
    bool by_channel =
        link->rail == SHL_VERBS_CHANNEL || (move->step == SHL_VERBS_LEAVING && move->from_channel);
    if (!proved || !by_channel)
        return;
    move->returned |= proved;
    leave(link);
}

static void settle(struct shl_verbs_link *link, uint32_t rail)
{
    struct shl_verbs_move *move = &link->move;
    bool by_channel = rail == SHL_VERBS_CHANNEL;
    if (by_channel)
        end_pair(link);
    bool as_meant = move->life == 0 && move->from_channel && !by_channel; /* it slept until now */
    move->life++;
    move->step = SHL_VERBS_SETTLED;
    move->since_ns = shl_now_ns();
    move->peer_left = move->peer_paired = move->peer_met = false;
    link->rail = rail;
    shl_log(as_meant ? SHL_LOG_INFO : SHL_LOG_WARN, "verbs to rank %u %s over %s", link->peer,
            as_meant ? "connects" : "goes on",
            by_channel ? "the control channel (tcp)" : link->t->rails[rail].port.device);
    shl_verbs_carry_again(link, link->peer_taken);
}

/* No rail works at both ends. */
static void settle_without(struct shl_verbs_link *link)
{
    settle(link, SHL_VERBS_CHANNEL);
    link->move.unfit = 0; /* the next time all of them again */
    try_later(link);
    /* The peer was heard: if the network was cut, it is back. Not for what fails all the time. */
    if (link->move.lasted && link->move.pause_ns < PAUSE_NS_MAX)
        link->move.retry_ns = shl_now_ns();
}

/* Both ends know that the pair they chose cannot be made or connected at one of them: they do
 * without its rail, and take the next that both have. */
static void choose_another(struct shl_verbs_link *link)
{
    struct shl_verbs_move *move = &link->move;
    move->unfit |= 1u << move->rail;
    if (!(move->left.rails & move->peer_rails & ~move->unfit)) {
        settle_without(link);
        return;
    }
    settle(link, SHL_VERBS_CHANNEL);
    if (link->state == SHL_VERBS_UP)
        leave(link);
}

/* Both have left; what the peer took is complete, and the rest is sent again. */
static void choose(struct shl_verbs_link *link)
{
    struct shl_verbs_move *move = &link->move;
    uint32_t both = move->left.rails & move->peer_rails;
    if (link->requested - move->peer_taken > link->requested - link->completed) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u has lost what its device acknowledged",
                            link->peer);
        return;
    }
    link->peer_taken = move->peer_taken;
    shl_verbs_completed(link, link->peer_taken);
    if (link->state != SHL_VERBS_UP)
        return;
    if (!both) {
        settle_without(link);
        return;
    }
    move->rail = link->first_rail;
    if (!(both >> move->rail & 1))
        for (move->rail = 0; !(both >> move->rail & 1);)
            move->rail++;
    move->pair = (struct shl_verbs_record){.life = move->life + 1};
    if (shl_verbs_pair_create(link, move->rail, move->life + 1) == SHOAL_OK) {
        move->pair.pair = link->qp->qp_num;
        move->pair.psn = link->first_psn;
        move->pair.key = link->t->rails[move->rail].pool_mr->rkey;
    } else {
        shl_log(SHL_LOG_WARN, "rank %u: %s", link->peer, shl_error_text());
    }
    link->channel.pair_due = true;
    move->step = SHL_VERBS_PAIRED;
}

static void join(struct shl_verbs_link *link, const struct shl_verbs_record *peer)
{
    struct shl_verbs_move *move = &link->move;
    if (!move->pair.pair || !peer->pair) {
        choose_another(link);
        return;
    }
    move->met = (struct shl_verbs_record){.life = move->life + 1, .pair = 1};
    link->peer_window_key = peer->key;
    if (shl_verbs_pair_join(link, peer->pair, peer->psn) < 0) {
        shl_log(SHL_LOG_WARN, "rank %u: %s", link->peer, shl_error_text());
        move->met.pair = 0;
    }
    move->step = SHL_VERBS_MEETING;
}

/* Does rdma_cm still connect the next pair? If not, tell the peer what came of it. */
static void meet(struct shl_verbs_link *link, uint64_t now_ns)
{
    struct shl_verbs_move *move = &link->move;
    int outcome = shl_verbs_join_outcome(&link->join, now_ns);
    if (outcome == 0)
        return;
    if (outcome < 0) {
        shl_log(SHL_LOG_WARN, "%s to rank %u: %s", link->t->rails[move->rail].port.device,
                link->peer, link->join.cause);
        move->met.pair = 0;
    }
    link->channel.met_due = true;
    move->step = SHL_VERBS_JOINED;
}

/* ---- step by step -------------------------------------------------------------------------- */

static bool is_drained(struct shl_verbs_link *link, uint64_t now_ns)
{
    const struct shl_verbs_channel *channel = &link->channel;
    if (channel->pair_due || channel->met_due)
        return false; /* words about the move before come first */
    if (link->move.from_channel)
        return !channel->busy;
    return link->posted_recvs == 0 ||
           (++link->move.looks >= SHL_VERBS_LOOKS && now_ns > link->move.since_ns + DRAIN_NS);
}

static bool step(struct shl_verbs_link *link, uint64_t now_ns)
{
    struct shl_verbs_move *move = &link->move;
    const enum shl_verbs_step before = move->step;
    switch (move->step) {
    case SHL_VERBS_SETTLED:
        break;
    case SHL_VERBS_LEAVING:
        if (!is_drained(link, now_ns))
            break;
        end_pair(link);
        move->left =
            (struct shl_verbs_record){.life = move->life + 1,
                                      .taken = link->taken,
                                      .rails = (uint8_t)rails_working(link),
                                      .returned = (uint8_t)(move->returned & rails_working(link))};
        move->returned = 0;
        link->taken_told = link->channel.taken = link->taken;
        link->channel.left_due = true;
        move->step = SHL_VERBS_GONE_FROM;
        break;
    case SHL_VERBS_GONE_FROM:
        if (move->peer_left)
            choose(link);
        break;
    case SHL_VERBS_PAIRED:
        if (move->peer_paired)
            join(link, &move->peer_pair);
        break;
    case SHL_VERBS_MEETING:
        meet(link, now_ns);
        break;
    case SHL_VERBS_JOINED:
        if (move->peer_met && move->met.pair && move->peer_joined)
            settle(link, move->rail);
        else if (move->peer_met)
            choose_another(link);
        break;
    }
    return link->state == SHL_VERBS_UP && move->step != before;
}

static bool retry_is_due(const struct shl_verbs_link *link, uint64_t now_ns)
{
    const struct shl_verbs_move *move = &link->move;
    return move->step == SHL_VERBS_SETTLED && !link->quest && now_ns > move->retry_ns &&
           rails_wanted(link);
}

unsigned shl_verbs_move_advance(struct shl_verbs_link *link, uint64_t now_ns)
{
    unsigned work = 0;
    if (link->state != SHL_VERBS_UP)
        return 0;
    if (SHL_UNLIKELY(retry_is_due(link, now_ns)))
        shl_verbs_seek(link, rails_wanted(link));
    if (link->move.step == SHL_VERBS_MEETING) /* it may be about other links */
        work += shl_verbs_cm_read(link->t);
    while (step(link, now_ns))
        work++;
    return work;
}

void shl_verbs_on_move(struct shl_verbs_link *link, const struct shl_verbs_record *record)
{
    struct shl_verbs_move *move = &link->move;
    bool left = record->type == SHL_VERBS_LEFT, pair = record->type == SHL_VERBS_PAIR;
    bool in_order = left   ? !move->peer_left
                    : pair ? move->peer_left && !move->peer_paired
                           : move->peer_paired && !move->peer_met;
    if (!in_order || record->life != move->life + 1) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u moves its frames out of order",
                            link->peer);
        return;
    }
    if (left) {
        shl_verbs_rouse(link);
        if (link->state != SHL_VERBS_UP)
            return;
        (void)shl_verbs_seek_end(link); /* the peer has found a way */
        move->peer_left = true;
        move->peer_taken = record->taken;
        move->peer_rails = record->rails;
        if (record->returned)
            shl_verbs_direct_trust(link, record->returned, true);
        leave(link);
    } else if (pair) {
        move->peer_paired = true;
        move->peer_pair = *record;
    } else {
        move->peer_met = true;
        move->peer_joined = record->pair != 0;
    }
    (void)shl_verbs_move_advance(link, shl_now_ns());
}
