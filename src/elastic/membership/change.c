/*
 * Driving a view change: PREPARE, collect acknowledgements, decide, COMMIT; and taking over from a
 * driver that does not get there.
 *
 * Any member may drive. The lowest that stays begins; each next one waits a turn longer, and turns
 * get longer with each proposal, so that drivers do not supersede each other for long. Safety never
 * depends on who drives or when: a commit replaces exactly the proposal that was acknowledged.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "elastic/membership/internal.h"

void shl_change_ack(struct shl_membership *m, uint64_t from, uint64_t epoch,
                    const struct shl_report *report)
{
    if (!shl_membership_proposed(m) || m->record.writer != m->options.self.id ||
        m->record.epoch != epoch)
        return;
    uint32_t at = shl_members_find(&m->record.next, from);
    if (at == SHL_MEMBER_NONE || shl_set_has(&m->acks, at))
        return;
    m->reports[at] = *report;
    shl_set_put(&m->acks, at);
}

/* Survivors come first in the next view, so their reports do too. */
static uint32_t survivors(const struct shl_record *record)
{
    uint32_t count = 0;
    while (count < record->next.count &&
           shl_members_find(&record->view, record->next.at[count].id) != SHL_MEMBER_NONE)
        count++;
    return count;
}

static void commit(struct shl_membership *m)
{
    struct shl_record *next = &m->proposed;
    uint32_t stay = survivors(&m->record);
    struct shl_outcome_input input = {
        .mode = m->record.mode,
        .count = stay,
        .reports = m->reports,
        .decider = shl_members_find(&m->record.next, m->options.self.id),
        .shrinks = stay < m->record.view.count,
        .admits = stay < m->record.next.count && !m->quiesced,
    };
    next->phase = SHL_PHASE_COMMITTED;
    next->mode = m->record.mode;
    next->epoch = m->record.epoch;
    next->view_epoch = m->record.epoch;
    next->attempts = 0;
    shl_members_copy(&next->view, &m->record.next);
    next->next.count = 0;
    shl_outcome_decide(&input, &next->decision);
    /* A joiner has no part in what is older than itself, so it comes when nothing of that has to be
     * done again. Results that are forwarded come with the making of the view. */
    if (shl_decision_redoes(&next->decision))
        next->view.count = stay;
    if (next->view.count >= m->options.world_min)
        shl_register_swap(m);
}

/* ---- proposing ------------------------------------------------------------------------------ */

/* The writer never leaves by its own proposal: somebody of the view has to commit the next one. */
static void survivors_without(struct shl_membership *m, const struct shl_set *evicted, bool leave)
{
    struct shl_record *next = &m->proposed;
    next->next.count = 0;
    for (uint32_t i = 0; i < next->view.count; i++) {
        /* Whoever is lost does not leave by itself: it is to be ended like any other. */
        next->view.at[i].leaving = leave && shl_set_has(&m->leaving, i) &&
                                   !shl_set_has(evicted, i) &&
                                   next->view.at[i].id != m->options.self.id;
        if (shl_set_has(evicted, i) || next->view.at[i].leaving)
            continue;
        next->next.at[next->next.count++] = next->view.at[i];
    }
}

/* Fills m->proposed.next. false: no view that the policy allows. */
static bool choose_next(struct shl_membership *m, const struct shl_set *evicted)
{
    struct shl_record *next = &m->proposed;
    uint32_t view = next->view.count, alive = view - shl_set_count(evicted);
    uint32_t least = m->options.world_min;
    survivors_without(m, evicted, m->quiesced);
    /* Joiners wait for a boundary, unless the world is too small to go on without them. */
    if (m->quiesced || next->next.count < least)
        shl_join_admit(m, &next->next);
    if (m->quiesced && next->next.count < least) { /* leavers stay until somebody replaces them */
        survivors_without(m, evicted, false);
        shl_join_admit(m, &next->next);
    }
    return next->next.count &&
           shl_policy_allows(m->options.policy, view, alive, next->next.count, least);
}

/* Fills m->proposed.view and next. false: see choose_next. */
static bool can_propose(struct shl_membership *m, const struct shl_set *evicted)
{
    shl_record_copy(&m->proposed, &m->record);
    return choose_next(m, evicted);
}

static void propose(struct shl_membership *m, const struct shl_set *evicted)
{
    struct shl_record *next = &m->proposed;
    if (!can_propose(m, evicted))
        return;
    next->phase = SHL_PHASE_PREPARED;
    next->epoch = m->record.epoch + 1;
    next->attempts = m->record.attempts + 1;
    shl_log(SHL_LOG_INFO, "view %llu of %u members: proposing epoch %llu of %u",
            (unsigned long long)m->published, next->view.count, (unsigned long long)next->epoch,
            next->next.count);
    shl_register_swap(m);
}

/* ---- when ----------------------------------------------------------------------------------- */

static bool all_acknowledged(const struct shl_membership *m)
{
    return shl_set_count(&m->acks) == m->record.next.count;
}

/* Somebody that the proposal needs is not reached any more. */
static bool hopeless(const struct shl_membership *m, const struct shl_set *evicted)
{
    for (uint32_t i = 0; i < m->record.next.count; i++) {
        uint32_t at = shl_members_find(&m->record.view, m->record.next.at[i].id);
        if (at != SHL_MEMBER_NONE && shl_set_has(evicted, at))
            return true;
    }
    return false;
}

/* Own proposal: joiners that do not acknowledge it in time count as gone. */
static void drop_silent_joiners(struct shl_membership *m)
{
    if (m->now_ns - m->adopted_ns < m->options.times.learner_ns)
        return;
    for (uint32_t i = survivors(&m->record); i < m->record.next.count; i++)
        if (!shl_set_has(&m->acks, i))
            shl_join_forget(m, m->record.next.at[i].id);
}

/* Joiners of the own proposal that are gone. */
static uint32_t lost_joiners(const struct shl_membership *m)
{
    uint32_t lost = 0;
    for (uint32_t i = survivors(&m->record); i < m->record.next.count; i++)
        lost += !shl_join_knows(m, m->record.next.at[i].id);
    return lost;
}

/*
 * All acknowledged the own proposal, but some may be gone since. The view that it makes needs a
 * majority for the next change, and joiners, whom nobody watches yet, may be gone unnoticed: so
 * where anybody is missed, survivors that are not have to suffice. A change without joiners mostly
 * passes: it makes the view smaller, and so asks for fewer of the living.
 */
static bool is_worth_committing(const struct shl_membership *m, const struct shl_set *evicted)
{
    uint32_t stay = survivors(&m->record), size = m->record.next.count, reached = 0;
    for (uint32_t i = 0; i < stay; i++)
        reached +=
            !shl_set_has(evicted, shl_members_find(&m->record.view, m->record.next.at[i].id));
    uint32_t lost = stay - reached + lost_joiners(m);
    return !lost ||
           shl_policy_allows(m->options.policy, size, reached, size - lost, m->options.world_min);
}

uint64_t shl_change_turn_ns(const struct shl_membership *m, uint32_t turn)
{
    uint32_t doublings = m->record.attempts < 5 ? m->record.attempts : 5;
    return m->options.times.backoff_ns * turn << doublings;
}

/* Whether it is time to replace a proposal that is in the register. */
static bool supersede_now(struct shl_membership *m, const struct shl_eviction *eviction)
{
    bool own = m->record.writer == m->options.self.id;
    uint64_t since = m->cause_ns > m->adopted_ns ? m->cause_ns : m->adopted_ns;
    if (hopeless(m, &eviction->out))
        return m->now_ns - since >= m->options.times.settle_ns + eviction->wait_ns;
    if (own) {
        drop_silent_joiners(m);
        return lost_joiners(m) > 0;
    }
    uint64_t patience = m->options.times.stuck_ns + shl_change_turn_ns(m, 1) + eviction->wait_ns;
    return m->now_ns - m->adopted_ns >= patience;
}

void shl_change_drive(struct shl_membership *m)
{
    struct shl_eviction eviction;
    if (m->reg.request || !m->version)
        return;
    shl_suspect_eviction(m, &eviction);
    if (shl_membership_proposed(m)) {
        /* Whom the current record leaves out may not write it. */
        if (shl_members_find(&m->record.next, m->options.self.id) == SHL_MEMBER_NONE)
            return;
        bool complete = m->record.writer == m->options.self.id && all_acknowledged(m);
        if (complete && (is_worth_committing(m, &eviction.out) || !can_propose(m, &eviction.out)))
            commit(m);
        else if (supersede_now(m, &eviction))
            propose(m, &eviction.out);
        return;
    }
    bool broken = shl_reach_broken(&m->reach);
    uint64_t wait = (broken ? m->options.times.settle_ns : 0) + eviction.wait_ns;
    if (m->leave_wanted) /* those who stay can let this member go */
        wait += shl_change_turn_ns(m, m->record.view.count);
    /* Whoever wants a decision writes at once: no other member may know of a reason. */
    if (m->decision_wanted && !broken)
        wait = 0;
    if ((broken || m->quiesced || m->decision_wanted) && m->now_ns - m->cause_ns >= wait)
        propose(m, &eviction.out);
}
