/*
 * What the files of the membership core share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_INTERNAL_H
#define SHL_ELASTIC_MEMBERSHIP_INTERNAL_H

#include "elastic/membership/membership.h"
#include "elastic/membership/reach.h"

#ifndef SHL_LEARNERS_MAX
#define SHL_LEARNERS_MAX 64u
#endif

enum shl_membership_state {
    SHL_MEMBERSHIP_NEW,     /* not started */
    SHL_MEMBERSHIP_OUTSIDE, /* gathering for the first view, or a learner */
    SHL_MEMBERSHIP_MEMBER,
    SHL_MEMBERSHIP_ENDED
};

struct shl_learner {
    struct shl_member member;
    bool ready;
    uint64_t heard_ns;
};

/* Conversation with the store: one request at a time, answers matched by id. */
struct shl_register {
    uint64_t request; /* id that is waited for; 0: none */
    uint64_t last_id;
    bool swapping;
    bool must_read; /* a swap's fate is not known: read before writing again */
    bool silent;    /* the last request got no answer */
    uint64_t asked_ns;
    uint64_t answered_ns; /* 0: never */
};

struct shl_membership {
    struct shl_membership_options options;
    struct shl_membership_host host;
    enum shl_membership_state state;
    uint64_t now_ns;  /* of the event being handled */
    uint64_t wake_ns; /* asked for; UINT64_MAX: none */
    uint64_t started_ns;

    /* The register as far as known. */
    struct shl_register reg;
    uint64_t incarnation; /* 0: not known yet */
    uint64_t version;     /* of `record`; 0: none, or an empty register */
    struct shl_record record;
    uint64_t adopted_ns;
    uint64_t published; /* epoch of the view in force; 0: none */

    /* Suspicions. */
    struct shl_reach reach; /* of record.view, once that is published */
    uint64_t row_number;
    bool row_was_bad; /* in this view: others may hold a row of this member that is old */
    uint64_t told_ns[SHL_MEMBERS_MAX]; /* when each member of the view got its row as an answer */
    uint32_t missing_count;
    uint64_t missing[SHL_MEMBERS_MAX]; /* ids that this member does not reach */
    struct shl_set evicted;            /* chosen from reach */
    uint64_t cause_ns;                 /* since when there is this reason for a change */
    uint64_t trouble_ns;               /* since when anything is open; 0: nothing */
    bool decision_wanted;              /* a change although nobody is missed */

    /* As a member of record.next. */
    uint64_t fenced; /* proposal that `report` answers; 0: none */
    struct shl_report report;

    /* As writer of the proposal. */
    struct shl_set acks; /* positions in record.next */
    struct shl_report reports[SHL_MEMBERS_MAX];

    /* Planned changes. */
    bool quiesced;
    bool leave_wanted, caught_up;
    struct shl_set leaving; /* positions in the published view */
    uint32_t learner_count;
    struct shl_learner learners[SHL_LEARNERS_MAX];

    struct shl_record proposed; /* what the swap under way writes */
    struct shl_record received; /* where a message or an answer is decoded */
    struct shl_message inbound, outbound;
    uint8_t wire[SHL_MESSAGE_BYTES_MAX];
};

static inline bool shl_membership_proposed(const struct shl_membership *m)
{
    return m->version && m->record.phase == SHL_PHASE_PREPARED;
}

/* membership.c */
void shl_membership_end(struct shl_membership *m, enum shoal_status status);
void shl_membership_send(struct shl_membership *m, uint64_t to, enum shl_message_kind kind);
/* To everybody in the record but this member. */
void shl_membership_broadcast(struct shl_membership *m, enum shl_message_kind kind);

/* register.c */
void shl_register_read(struct shl_membership *m);
void shl_register_swap(struct shl_membership *m); /* writes m->proposed over m->version */
void shl_register_poll(struct shl_membership *m); /* a read when the last answer is old */
void shl_register_expire(struct shl_membership *m);
bool shl_register_silent(const struct shl_membership *m); /* asked in vain for some time */
void shl_register_answer(struct shl_membership *m, const struct shl_store_answer *answer);

/* adopt.c: follow a newer record, wherever it came from. */
void shl_membership_adopt(struct shl_membership *m, uint64_t version,
                          const struct shl_record *record);

/* suspect.c */
void shl_suspect_published(struct shl_membership *m);
void shl_suspect_row(struct shl_membership *m, const struct shl_message *message);
struct shl_eviction {
    struct shl_set out;
    uint64_t wait_ns; /* how long others, who should rather write it, get before this member does */
};
/* The eviction that this member would write. */
void shl_suspect_eviction(const struct shl_membership *m, struct shl_eviction *eviction);
uint64_t shl_change_turn_ns(const struct shl_membership *m, uint32_t turn);

/* change.c */
void shl_change_ack(struct shl_membership *m, uint64_t from, uint64_t epoch,
                    const struct shl_report *report);
void shl_change_drive(struct shl_membership *m);

/* join.c */
void shl_join_tick(struct shl_membership *m);
void shl_join_asked(struct shl_membership *m, const struct shl_message *message);
void shl_join_forget(struct shl_membership *m, uint64_t id);
/* Its connection broke: it is forgotten unless it speaks again very soon. */
void shl_join_doubt(struct shl_membership *m, uint64_t id);
bool shl_join_knows(const struct shl_membership *m, uint64_t id);
void shl_join_expire(struct shl_membership *m);
uint32_t shl_join_ready(const struct shl_membership *m); /* learners that wait to be let in */
void shl_join_admit(const struct shl_membership *m, struct shl_members *next);

#endif
