/*
 * Suspicions: whom this member does not reach, what others say of whom they reach, and the eviction
 * that follows.
 *
 * Invariant: the own row of the matrix is what this worker's host reported, restricted to the view
 * in force.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/internal.h"

#include <string.h>

static bool is_missing(const struct shl_membership *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->missing_count; i++)
        if (m->missing[i] == id)
            return true;
    return false;
}

/* The eviction is chosen anew whenever the matrix changes; a new choice has to settle again. */
static void choose(struct shl_membership *m)
{
    struct shl_set evicted;
    shl_reach_evict(&m->reach, SHL_MEMBER_NONE, &evicted);
    if (memcmp(&evicted, &m->evicted, sizeof(evicted)) != 0) {
        m->evicted = evicted;
        m->cause_ns = m->now_ns;
    }
}

static void changed(struct shl_membership *m)
{
    struct shl_set row = {{0}};
    uint32_t self = shl_members_find(&m->record.view, m->options.self.id);
    if (self == SHL_MEMBER_NONE || !m->published)
        return;
    for (uint32_t i = 0; i < m->record.view.count; i++)
        if (is_missing(m, m->record.view.at[i].id))
            shl_set_put(&row, i);
    m->row_was_bad = m->row_was_bad || !shl_set_empty(&row);
    shl_reach_report(&m->reach, self, ++m->row_number, &row);
    choose(m);
}

void shl_suspect_published(struct shl_membership *m)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->missing_count; i++)
        if (shl_members_find(&m->record.view, m->missing[i]) != SHL_MEMBER_NONE)
            m->missing[kept++] = m->missing[i];
    m->missing_count = kept;
    shl_reach_reset(&m->reach, m->record.view.count);
    memset(&m->evicted, 0, sizeof(m->evicted));
    m->row_was_bad = false;
    memset(m->told_ns, 0, m->record.view.count * sizeof(m->told_ns[0]));
    changed(m);
}

/* Its sender may still believe an old row of this member, which is calm and would say no more. What
 * comes soon after an answer is an answer itself: two that are calm must not go on answering each
 * other. */
static void answer_row(struct shl_membership *m, uint32_t from)
{
    if (!m->row_was_bad ||
        (m->told_ns[from] && m->now_ns - m->told_ns[from] < m->options.times.poll_ns))
        return;
    m->told_ns[from] = m->now_ns;
    shl_membership_send(m, m->record.view.at[from].id, SHL_MESSAGE_REACH);
}

void shl_suspect_row(struct shl_membership *m, const struct shl_message *message)
{
    uint32_t from = shl_members_find(&m->record.view, message->from);
    if (message->epoch != m->published || from == SHL_MEMBER_NONE ||
        message->row_count != m->reach.count)
        return;
    bool calm = !shl_reach_broken(&m->reach) && !shl_membership_proposed(m) && !m->quiesced;
    if (shl_reach_report(&m->reach, from, message->version, &message->row))
        choose(m);
    if (calm && !shl_reach_broken(&m->reach))
        answer_row(m, from);
}

void shl_membership_suspect(struct shl_membership *m, uint64_t now_ns, uint64_t id)
{
    m->now_ns = now_ns;
    if (m->state != SHL_MEMBERSHIP_MEMBER || id == m->options.self.id)
        return;
    shl_join_doubt(m, id);
    if (is_missing(m, id) || m->missing_count == SHL_MEMBERS_MAX ||
        shl_members_find(&m->record.view, id) == SHL_MEMBER_NONE)
        return;
    m->missing[m->missing_count++] = id;
    changed(m);
    shl_membership_broadcast(m, SHL_MESSAGE_REACH);
    shl_membership_tick(m, now_ns);
}

void shl_membership_reached(struct shl_membership *m, uint64_t now_ns, uint64_t id)
{
    m->now_ns = now_ns;
    if (m->state != SHL_MEMBERSHIP_MEMBER || !is_missing(m, id))
        return;
    for (uint32_t i = 0; i < m->missing_count; i++)
        if (m->missing[i] == id)
            m->missing[i--] = m->missing[--m->missing_count];
    changed(m);
    shl_membership_broadcast(m, SHL_MESSAGE_REACH);
    shl_membership_tick(m, now_ns);
}

/* Members before `at` that stay. */
static uint32_t turn_of(const struct shl_membership *m, const struct shl_set *evicted, uint32_t at)
{
    uint32_t turn = 0;
    for (uint32_t i = 0; i < at; i++)
        turn += !shl_set_has(evicted, i) && i < m->reach.count;
    return turn;
}

void shl_suspect_eviction(const struct shl_membership *m, struct shl_eviction *eviction)
{
    uint32_t self = shl_members_find(&m->record.view, m->options.self.id);
    uint32_t least = shl_set_count(&m->evicted);
    eviction->out = m->evicted;
    eviction->wait_ns = shl_change_turn_ns(m, turn_of(m, &m->evicted, self));
    if (!shl_set_has(&m->evicted, self))
        return;
    /* To be evicted, but those that do not reach this member may be dead, and then nobody acts. An
     * eviction as small that spares this member comes after everybody's turn; a larger one only
     * when there has been time for a whole change. The policy has to allow it in any case. */
    shl_reach_evict(&m->reach, self, &eviction->out);
    eviction->wait_ns = shl_change_turn_ns(m, m->reach.count - least);
    if (shl_set_count(&eviction->out) > least)
        eviction->wait_ns += m->options.times.stuck_ns;
}
