/*
 * Getting in: the founders gather in the register itself; later workers are learners, which the
 * members know by their messages until a view has them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/internal.h"

#include <string.h>

/* ---- the newcomer's side --------------------------------------------------------------------- */

static uint64_t higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Founding, or following founders: one more name in the register. The one that completes the number
 * commits the first view. */
static void gather(struct shl_membership *m)
{
    struct shl_record *next = &m->proposed;
    if (m->reg.request)
        return;
    if (m->version) {
        shl_record_copy(next, &m->record);
    } else {
        memset(&next->decision, 0, sizeof(next->decision));
        next->mode = m->options.mode;
        next->epoch = next->view_epoch = 0;
        next->view.count = next->next.count = next->attempts = 0;
    }
    next->phase = SHL_PHASE_FORMING;
    next->epoch = higher(next->epoch, m->options.epoch_floor);
    bool added = shl_members_add(&next->view, &m->options.self);
    if (next->view.count >= m->options.world_start) {
        next->phase = SHL_PHASE_COMMITTED;
        next->epoch++; /* above all that any founder has seen, also of a register that was lost */
        next->view_epoch = next->epoch;
    } else if (!added) {
        return; /* in, and waiting for others */
    }
    shl_register_swap(m);
}

static void absent(struct shl_membership *m)
{
    uint32_t there = m->version ? m->record.view.count : 0;
    enum shoal_status status = shl_register_silent(m) ? SHOAL_ERR_STORE : SHOAL_ERR_ABSENT;
    if (status == SHOAL_ERR_STORE)
        shl_fail(status, "the store did not answer a worker that wants to join");
    else if (m->version && m->record.phase != SHL_PHASE_FORMING)
        shl_fail(status, "not let in within %llu ms by the %u members of epoch %llu",
                 (unsigned long long)(m->options.times.join_ns / SHL_MEMBERSHIP_MS), there,
                 (unsigned long long)m->record.view_epoch);
    else
        shl_fail(status, "%u of the %u workers that start the job came within %llu ms", there,
                 m->options.world_start,
                 (unsigned long long)(m->options.times.join_ns / SHL_MEMBERSHIP_MS));
    shl_membership_end(m, status);
}

void shl_join_tick(struct shl_membership *m)
{
    bool learns = m->version && m->record.phase != SHL_PHASE_FORMING;
    bool timed = m->caught_up || !learns; /* its host knows for how long it is to catch up */
    if (timed && m->now_ns - m->started_ns >= m->options.times.join_ns) {
        absent(m);
        return;
    }
    if (learns) {
        shl_membership_broadcast(m, SHL_MESSAGE_JOIN);
        if (shl_membership_proposed(m) && m->fenced == m->record.epoch)
            shl_membership_send(m, m->record.writer, SHL_MESSAGE_ACK);
    } else if (m->incarnation && !m->reg.must_read) {
        gather(m);
    }
    shl_register_poll(m);
}

/* ---- the members' side ----------------------------------------------------------------------- */

#define DOUBT_TICKS 3 /* in which a learner whose connection broke may come back by another */

static struct shl_learner *find(struct shl_membership *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->learner_count; i++)
        if (m->learners[i].member.id == id)
            return &m->learners[i];
    return NULL;
}

bool shl_join_knows(const struct shl_membership *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->learner_count; i++)
        if (m->learners[i].member.id == id)
            return true;
    return false;
}

void shl_join_asked(struct shl_membership *m, const struct shl_message *message)
{
    if (shl_members_find(&m->record.view, message->from) != SHL_MEMBER_NONE) {
        shl_membership_send(m, message->from, SHL_MESSAGE_RECORD); /* it is in, and missed it */
        return;
    }
    struct shl_learner *learner = find(m, message->from);
    if (!learner && m->learner_count < SHL_LEARNERS_MAX)
        learner = &m->learners[m->learner_count++];
    if (learner)
        *learner = (struct shl_learner){
            .member = message->joiner, .ready = message->ready, .heard_ns = m->now_ns};
}

void shl_join_forget(struct shl_membership *m, uint64_t id)
{
    struct shl_learner *learner = find(m, id);
    if (learner)
        *learner = m->learners[--m->learner_count];
}

void shl_join_doubt(struct shl_membership *m, uint64_t id)
{
    struct shl_learner *learner = find(m, id);
    uint64_t left_ns = DOUBT_TICKS * m->options.times.tick_ns;
    if (learner && m->now_ns + left_ns < learner->heard_ns + m->options.times.learner_ns)
        learner->heard_ns = m->now_ns + left_ns - m->options.times.learner_ns;
}

void shl_join_expire(struct shl_membership *m)
{
    for (uint32_t i = 0; i < m->learner_count; i++)
        if (m->now_ns - m->learners[i].heard_ns >= m->options.times.learner_ns)
            m->learners[i--] = m->learners[--m->learner_count];
}

uint32_t shl_join_ready(const struct shl_membership *m)
{
    uint32_t ready = 0;
    for (uint32_t i = 0; i < m->learner_count; i++)
        ready += m->learners[i].ready;
    return ready;
}

void shl_join_admit(const struct shl_membership *m, struct shl_members *next)
{
    for (uint32_t i = 0; i < m->learner_count; i++)
        if (m->learners[i].ready && next->count < m->options.world_max)
            shl_members_add(next, &m->learners[i].member);
}
