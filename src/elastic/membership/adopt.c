/*
 * Following the register: what a newer record means for this worker.
 *
 * Records come from answers of the store and from other members; it does not matter which, since
 * only what was written is ever passed on, and versions order them.
 *
 * Invariant: of two committed views a member never misses the decision of one. Nobody becomes part
 * of a view without having acknowledged its proposal, that proposal carries the decision of the
 * view before, and the commit replaces it only after the acknowledgement.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "elastic/membership/internal.h"

#include <string.h>

static void publish(struct shl_membership *m)
{
    m->state = SHL_MEMBERSHIP_MEMBER;
    m->published = m->record.view_epoch;
    m->quiesced = m->decision_wanted = false;
    m->trouble_ns = 0;
    for (uint32_t i = 0; i < m->record.view.count; i++)
        shl_join_forget(m, m->record.view.at[i].id);
    shl_suspect_published(m);
    shl_log(SHL_LOG_INFO, "epoch %llu: %u members", (unsigned long long)m->published,
            m->record.view.count);
    m->host.publish(m->host.context, &m->record);
    if (m->leave_wanted)
        shl_set_put(&m->leaving, shl_members_find(&m->record.view, m->options.self.id));
}

static void left_out(struct shl_membership *m)
{
    if (m->leave_wanted)
        shl_membership_end(m, SHOAL_OK);
    else
        shl_membership_end(m, shl_fail(SHOAL_ERR_EPOCH,
                                       "evicted: epoch %llu goes on without this member, which was "
                                       "not heard; join again as a new one",
                                       (unsigned long long)m->record.view_epoch));
}

/* A proposal: fence what is in force, whether or not this member is to go on. */
static void prepare(struct shl_membership *m)
{
    uint64_t self = m->options.self.id;
    bool member = shl_members_find(&m->record.view, self) != SHL_MEMBER_NONE;
    bool goes_on = shl_members_find(&m->record.next, self) != SHL_MEMBER_NONE;
    if (m->record.writer == self)
        shl_membership_broadcast(m, SHL_MESSAGE_RECORD);
    if (member) {
        m->host.fence(m->host.context, &m->record);
    } else if (goes_on) { /* a learner has nothing to fence */
        m->fenced = m->record.epoch;
        memset(&m->report, 0, sizeof(m->report));
        shl_membership_send(m, m->record.writer, SHL_MESSAGE_ACK);
    }
}

/* Who wished to leave wishes so in the view that follows: its next message may take a while. */
static void keep_wishes(struct shl_membership *m, const struct shl_record *record)
{
    struct shl_set leaving = {{0}};
    for (uint32_t i = 0; i < m->record.view.count; i++) {
        uint32_t at = SHL_MEMBER_NONE;
        if (shl_set_has(&m->leaving, i))
            at = shl_members_find(&record->view, m->record.view.at[i].id);
        if (at != SHL_MEMBER_NONE)
            shl_set_put(&leaving, at);
    }
    m->leaving = leaving;
}

void shl_membership_adopt(struct shl_membership *m, uint64_t version,
                          const struct shl_record *record)
{
    if (version <= m->version || m->state == SHL_MEMBERSHIP_ENDED)
        return;
    if (record->view_epoch > m->published)
        keep_wishes(m, record);
    shl_record_copy(&m->record, record);
    m->version = version;
    m->adopted_ns = m->now_ns;
    m->fenced = 0;
    memset(&m->acks, 0, sizeof(m->acks));
    if (record->phase == SHL_PHASE_FORMING)
        return;
    bool in_view = shl_members_find(&m->record.view, m->options.self.id) != SHL_MEMBER_NONE;
    if (in_view && m->record.view_epoch > m->published)
        publish(m);
    if (!in_view && m->state == SHL_MEMBERSHIP_MEMBER) {
        left_out(m);
        return;
    }
    if (m->record.phase == SHL_PHASE_PREPARED)
        prepare(m);
    else if (m->record.writer == m->options.self.id)
        shl_membership_broadcast(m, SHL_MESSAGE_RECORD);
}
