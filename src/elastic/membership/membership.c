/*
 * The membership core from outside: events in, and what is done after each of them.
 *
 * Invariant: after any event the core asks to be woken exactly when something is open.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/membership/internal.h"

#include <string.h>

static enum shoal_status check_options(const struct shl_membership_options *options)
{
    const struct shl_membership_times *times = &options->times;
    if (!options->self.id || options->self.address_bytes > SHL_MEMBER_ADDRESS_MAX)
        return shl_fail(SHOAL_ERR_INVALID,
                        "a member needs an id and an address of at most %u bytes",
                        SHL_MEMBER_ADDRESS_MAX);
    if (!options->world_min || options->world_start < options->world_min ||
        options->world_max < options->world_start || options->world_max > SHL_MEMBERS_MAX)
        return shl_fail(SHOAL_ERR_INVALID,
                        "a world of %u to %u members that starts with %u; it needs 1 <= least <= "
                        "start <= most <= %u",
                        options->world_min, options->world_max, options->world_start,
                        SHL_MEMBERS_MAX);
    if (options->mode != SHL_STEP_RETAIN && options->mode != SHL_STEP_ABORT)
        return shl_fail(SHOAL_ERR_INVALID, "no such step mode: %d", (int)options->mode);
    if (options->policy != SHL_PARTITION_MAJORITY && options->policy != SHL_PARTITION_ANY)
        return shl_fail(SHOAL_ERR_INVALID, "no such partition policy: %d", (int)options->policy);
    if (!times->tick_ns || !times->store_ns || !times->poll_ns || !times->stuck_ns ||
        !times->learner_ns || times->recovery_ns <= times->store_ns ||
        times->join_ns <= times->store_ns)
        return shl_fail(SHOAL_ERR_INVALID, "membership times must not be zero, and the deadlines "
                                           "must be longer than one request to the store");
    return SHOAL_OK;
}

enum shoal_status shl_membership_create(const struct shl_membership_options *options,
                                        const struct shl_membership_host *host,
                                        struct shl_membership **membership)
{
    SHL_TRY(check_options(options));
    struct shl_membership *m = shl_mem->alloc(sizeof(*m));
    if (!m)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %zu bytes of membership", sizeof(*m));
    m->options = *options;
    m->options.self.leaving = false;
    m->host = *host;
    m->state = SHL_MEMBERSHIP_NEW;
    m->wake_ns = UINT64_MAX;
    *membership = m;
    return SHOAL_OK;
}

void shl_membership_destroy(struct shl_membership *membership)
{
    shl_mem->free(membership);
}

void shl_membership_end(struct shl_membership *m, enum shoal_status status)
{
    m->state = SHL_MEMBERSHIP_ENDED;
    shl_log(SHL_LOG_INFO, "membership in epoch %llu ends: %s", (unsigned long long)m->published,
            status ? shl_error_text() : "left");
    m->host.wake(m->host.context, UINT64_MAX);
    m->host.end(m->host.context, status);
}

/* ---- sending -------------------------------------------------------------------------------- */

static void fill(struct shl_membership *m, enum shl_message_kind kind)
{
    struct shl_message *message = &m->outbound;
    memset(message, 0, sizeof(*message));
    message->kind = kind;
    message->from = m->options.self.id;
    message->incarnation = m->incarnation;
    switch (kind) {
    case SHL_MESSAGE_RECORD:
        message->version = m->version;
        message->record = &m->record;
        break;
    case SHL_MESSAGE_ACK:
        message->epoch = m->record.epoch;
        message->report = m->report;
        break;
    case SHL_MESSAGE_REACH:
        message->epoch = m->published;
        message->version = m->row_number;
        message->row_count = m->reach.count;
        message->row = m->reach.rows[shl_members_find(&m->record.view, message->from)];
        break;
    case SHL_MESSAGE_JOIN:
        message->ready = m->caught_up;
        message->joiner = m->options.self;
        break;
    case SHL_MESSAGE_LEAVE:
        message->epoch = m->published;
        break;
    }
}

void shl_membership_send(struct shl_membership *m, uint64_t to, enum shl_message_kind kind)
{
    fill(m, kind);
    size_t size = shl_message_put(m->wire, sizeof(m->wire), &m->outbound);
    SHL_ASSERT(size);
    m->host.send(m->host.context, to, m->wire, size);
}

void shl_membership_broadcast(struct shl_membership *m, enum shl_message_kind kind)
{
    fill(m, kind);
    size_t size = shl_message_put(m->wire, sizeof(m->wire), &m->outbound);
    SHL_ASSERT(size);
    const struct shl_record *record = &m->record;
    for (uint32_t i = 0; i < record->view.count; i++)
        if (record->view.at[i].id != m->options.self.id)
            m->host.send(m->host.context, record->view.at[i].id, m->wire, size);
    for (uint32_t i = 0; i < record->next.count; i++)
        if (record->next.at[i].id != m->options.self.id &&
            shl_members_find(&record->view, record->next.at[i].id) == SHL_MEMBER_NONE)
            m->host.send(m->host.context, record->next.at[i].id, m->wire, size);
}

/* ---- after each event ------------------------------------------------------------------------ */

static bool anything_open(const struct shl_membership *m)
{
    return shl_membership_proposed(m) || shl_reach_broken(&m->reach) || m->quiesced ||
           m->decision_wanted || m->reg.must_read;
}

static bool anybody_waits(const struct shl_membership *m)
{
    return m->learner_count || m->leave_wanted || !shl_set_empty(&m->leaving);
}

static void note_trouble(struct shl_membership *m)
{
    if (!anything_open(m))
        m->trouble_ns = 0;
    else if (!m->trouble_ns)
        m->trouble_ns = m->now_ns;
}

/* The time that was asked for stays, however many events come before it. */
static void ask_for_wake(struct shl_membership *m)
{
    bool busy = m->state == SHL_MEMBERSHIP_OUTSIDE ||
                (m->state == SHL_MEMBERSHIP_MEMBER &&
                 (anything_open(m) || anybody_waits(m) || m->reg.request));
    uint64_t wake_ns = m->wake_ns;
    if (!busy)
        wake_ns = UINT64_MAX;
    else if (wake_ns == UINT64_MAX || wake_ns <= m->now_ns)
        wake_ns = m->now_ns + m->options.times.tick_ns;
    if (wake_ns == m->wake_ns || m->state == SHL_MEMBERSHIP_ENDED)
        return;
    m->wake_ns = wake_ns;
    m->host.wake(m->host.context, wake_ns);
}

static bool begin_event(struct shl_membership *m, uint64_t now_ns)
{
    m->now_ns = now_ns;
    return m->state == SHL_MEMBERSHIP_OUTSIDE || m->state == SHL_MEMBERSHIP_MEMBER;
}

static void end_event(struct shl_membership *m)
{
    if (m->state == SHL_MEMBERSHIP_MEMBER) {
        note_trouble(m);
        shl_change_drive(m);
    }
    ask_for_wake(m);
}

/* ---- events --------------------------------------------------------------------------------- */

void shl_membership_start(struct shl_membership *m, uint64_t now_ns)
{
    SHL_ASSERT(m->state == SHL_MEMBERSHIP_NEW);
    m->state = SHL_MEMBERSHIP_OUTSIDE;
    m->started_ns = now_ns;
    begin_event(m, now_ns);
    shl_register_read(m);
    end_event(m);
}

static void repeat_messages(struct shl_membership *m)
{
    if (anything_open(m))
        shl_membership_broadcast(m, SHL_MESSAGE_REACH);
    if (m->leave_wanted)
        shl_membership_broadcast(m, SHL_MESSAGE_LEAVE);
    if (!shl_membership_proposed(m))
        return;
    if (m->record.writer == m->options.self.id) {
        for (uint32_t i = 0; i < m->record.next.count; i++)
            if (!shl_set_has(&m->acks, i) && m->record.next.at[i].id != m->options.self.id)
                shl_membership_send(m, m->record.next.at[i].id, SHL_MESSAGE_RECORD);
    } else if (m->fenced == m->record.epoch) {
        shl_membership_send(m, m->record.writer, SHL_MESSAGE_ACK);
    } else { /* a write that took effect late may not be known to its writer */
        shl_membership_send(m, m->record.writer, SHL_MESSAGE_RECORD);
    }
}

/* Too long: the status is the same on all that see the same store. */
static void give_up(struct shl_membership *m)
{
    uint64_t waited_ms = m->options.times.recovery_ns / SHL_MEMBERSHIP_MS;
    if (shl_register_silent(m))
        shl_membership_end(m, shl_fail(SHOAL_ERR_STORE,
                                       "the store did not answer for the %llu ms that a change of "
                                       "view %llu may take; see whether the coordinator runs",
                                       (unsigned long long)waited_ms,
                                       (unsigned long long)m->published));
    else
        shl_membership_end(m,
                           shl_fail(SHOAL_ERR_EPOCH,
                                    "no new view after view %llu within %llu ms: too few of its "
                                    "%u members are left or connected (least world %u)",
                                    (unsigned long long)m->published, (unsigned long long)waited_ms,
                                    m->record.view.count, m->options.world_min));
}

static void member_tick(struct shl_membership *m)
{
    if (m->trouble_ns && m->now_ns - m->trouble_ns >= m->options.times.recovery_ns) {
        give_up(m);
        return;
    }
    shl_join_expire(m);
    repeat_messages(m);
    if (anything_open(m) || anybody_waits(m))
        shl_register_poll(m);
}

void shl_membership_tick(struct shl_membership *m, uint64_t now_ns)
{
    if (!begin_event(m, now_ns))
        return;
    shl_register_expire(m);
    if (m->state == SHL_MEMBERSHIP_MEMBER)
        member_tick(m);
    else
        shl_join_tick(m);
    end_event(m);
}

/* A sender that is behind learns what is known here. */
static void teach(struct shl_membership *m, const struct shl_message *message)
{
    if (message->epoch < m->record.view_epoch && m->version)
        shl_membership_send(m, message->from, SHL_MESSAGE_RECORD);
}

static void handle(struct shl_membership *m, const struct shl_message *message)
{
    if (message->kind == SHL_MESSAGE_RECORD) {
        shl_membership_adopt(m, message->version, message->record);
        return;
    }
    if (m->state != SHL_MEMBERSHIP_MEMBER)
        return;
    switch (message->kind) {
    case SHL_MESSAGE_ACK:
        shl_change_ack(m, message->from, message->epoch, &message->report);
        break;
    case SHL_MESSAGE_REACH:
        shl_suspect_row(m, message);
        teach(m, message);
        break;
    case SHL_MESSAGE_JOIN:
        shl_join_asked(m, message);
        break;
    case SHL_MESSAGE_LEAVE: {
        uint32_t at = shl_members_find(&m->record.view, message->from);
        if (message->epoch <= m->published && at != SHL_MEMBER_NONE) /* a wish outlives views */
            shl_set_put(&m->leaving, at);
        teach(m, message);
        break;
    }
    default:
        break;
    }
}

enum shoal_status shl_membership_receive(struct shl_membership *m, uint64_t now_ns, uint64_t from,
                                         const void *bytes, size_t size)
{
    if (size && *(const uint8_t *)bytes != SHL_MESSAGE_VERSION)
        return shl_fail(SHOAL_ERR_VERSION,
                        "member %016llx sends membership messages of version %u, this one knows "
                        "version %u; run the same build of Shoal on all",
                        (unsigned long long)from, *(const uint8_t *)bytes, SHL_MESSAGE_VERSION);
    if (!begin_event(m, now_ns))
        return SHOAL_OK;
    if (!shl_message_get(bytes, size, &m->received, &m->inbound) || m->inbound.from != from)
        return shl_fail(SHOAL_ERR_INVALID,
                        "member %016llx sent %zu bytes that are no membership message of its",
                        (unsigned long long)from, size);
    /* A message of another incarnation is of another job's life. One that comes before this worker
     * has read the register is no loss: it will be repeated, or read. */
    if (m->incarnation && m->inbound.incarnation == m->incarnation)
        handle(m, &m->inbound);
    end_event(m);
    return SHOAL_OK;
}

void shl_membership_answer(struct shl_membership *m, uint64_t now_ns,
                           const struct shl_store_answer *answer)
{
    if (!begin_event(m, now_ns))
        return;
    shl_register_answer(m, answer);
    end_event(m);
}

void shl_membership_fenced(struct shl_membership *m, uint64_t now_ns, uint64_t epoch,
                           const struct shl_report *report)
{
    if (!begin_event(m, now_ns))
        return;
    SHL_ASSERT(shl_report_valid(report));
    bool current = shl_membership_proposed(m) && m->record.epoch == epoch;
    if (current && shl_members_find(&m->record.next, m->options.self.id) != SHL_MEMBER_NONE) {
        m->fenced = epoch;
        m->report = *report;
        if (m->record.writer == m->options.self.id)
            shl_change_ack(m, m->options.self.id, epoch, report);
        else
            shl_membership_send(m, m->record.writer, SHL_MESSAGE_ACK);
    }
    end_event(m);
}

void shl_membership_caught_up(struct shl_membership *m, uint64_t now_ns)
{
    if (!begin_event(m, now_ns))
        return;
    if (!m->caught_up)
        m->started_ns = now_ns; /* what comes now is to be over within the time for joining */
    m->caught_up = true;
    if (m->state == SHL_MEMBERSHIP_OUTSIDE && m->published == 0)
        shl_join_tick(m);
    end_event(m);
}

void shl_membership_leave(struct shl_membership *m, uint64_t now_ns)
{
    if (!begin_event(m, now_ns))
        return;
    m->leave_wanted = true;
    if (m->state == SHL_MEMBERSHIP_OUTSIDE) {
        shl_membership_end(m, SHOAL_OK);
        return;
    }
    shl_set_put(&m->leaving, shl_members_find(&m->record.view, m->options.self.id));
    shl_membership_broadcast(m, SHL_MESSAGE_LEAVE);
    shl_register_poll(m);
    end_event(m);
}

void shl_membership_boundary(struct shl_membership *m, uint64_t now_ns, uint64_t wanted)
{
    if (!begin_event(m, now_ns))
        return;
    /* After a failure members may learn of a boundary in different views: then none of them stops
     * there, and the next one serves. */
    if (m->state == SHL_MEMBERSHIP_MEMBER && wanted && wanted == m->published && !m->quiesced) {
        m->quiesced = true;
        m->cause_ns = now_ns;
    }
    end_event(m);
}

void shl_membership_decide(struct shl_membership *m, uint64_t now_ns)
{
    if (!begin_event(m, now_ns))
        return;
    m->decision_wanted |= m->state == SHL_MEMBERSHIP_MEMBER;
    end_event(m);
}

/* ---- questions ------------------------------------------------------------------------------ */

/* Where it is not, a change would be one to the same view: the only member has nobody to leave to,
 * and of a world of the least size nobody leaves until somebody is there instead. */
static bool leave_is_possible(const struct shl_membership *m)
{
    uint32_t view = m->record.view.count, leavers = shl_set_count(&m->leaving);
    uint32_t stay = leavers < view ? view - leavers : 1; /* who writes the change does */
    return leavers && view > 1 && stay + shl_join_ready(m) >= m->options.world_min;
}

uint64_t shl_membership_wanted(const struct shl_membership *m, uint64_t now_ns)
{
    if (m->state != SHL_MEMBERSHIP_MEMBER || m->reg.silent || !m->reg.answered_ns ||
        now_ns - m->reg.answered_ns > 4 * m->options.times.poll_ns)
        return 0;
    /* A full world makes room by a leave at the same boundary only. */
    bool joiners = shl_join_ready(m) && m->record.view.count < m->options.world_max;
    return joiners || leave_is_possible(m) ? m->published : 0;
}

bool shl_membership_at_boundary(const struct shl_membership *m)
{
    return m->quiesced;
}

const struct shl_record *shl_membership_record(const struct shl_membership *m)
{
    return m->version ? &m->record : NULL;
}
