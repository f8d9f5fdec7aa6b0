/*
 * Catching up: a learner gets the replicated arrays before it is let in, while the members go on.
 *
 *   taker.c   the learner, in its first shoal_step_begin: asks for chunks, in passes
 *   giver.c   a member: copies what was asked for as a step begins, and sends that meanwhile
 *   catch_up.c what they write to each other
 *   differ.c  once the learner is a member: which chunks differ still. pull.c moves these
 *
 * The learner asks all members it reaches for chunks, a different one each. A member copies them
 * where its arrays are at rest, in shoal_step_begin, and no more at a time than its limit; a thread
 * of its own hashes and sends the copies. In the first pass all chunks come; in the next ones the
 * learner tells what it has by hash, and gets what has changed since, until that gets no less.
 *
 * A member that lacks memory, or gives to as many as it can, says so, and is asked again; others
 * give meanwhile. What is on its way when a session ends is lost with it; both sides tell sessions
 * apart by number, and begin anew with each.
 *
 * Invariant: nothing that is brought here counts. Chunks may be of different steps, and a giver may
 * vanish or lie: what the learner has is compared by hash once it is a member, when all are between
 * two steps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STATE_CATCH_UP_H
#define SHL_ELASTIC_STATE_CATCH_UP_H

#include "control/hash.h"
#include "core/list.h"
#include "elastic/state/chunks.h"

#include <pthread.h>
#include <stdatomic.h>

#define SHL_CATCH_UP_BYTES (32ull << 20) /* a member copies as a step begins, if not told */
#define SHL_CATCH_UP_ASKED 64u           /* chunks that a learner waits for from one member */
#define SHL_CATCH_UP_UNREAD 4u           /* answers that are on their way to one learner */
#define SHL_CATCH_UP_TAKERS 16u          /* learners that a member gives to at a time */

struct shoal_state;

/* What they write to each other; numbers are little endian. */
enum shl_catch_up_kind {
    SHL_CATCH_UP_ASK = 1,  /* chunk, the schema, and the hash of what the learner has, 0: nothing */
    SHL_CATCH_UP_DATA = 2, /* chunk, its bytes */
    SHL_CATCH_UP_SAME = 3, /* chunk: the learner has it */
    SHL_CATCH_UP_READ = 4, /* an answer was taken in */
    SHL_CATCH_UP_WAIT = 5, /* nothing new: is there a session? */
    SHL_CATCH_UP_LATER = 6,  /* chunk: not now; ask again, or another */
    SHL_CATCH_UP_DROPPED = 7 /* the same for all that was asked for */
};

#define SHL_CATCH_UP_HEAD (1 + 8 + 2 * SHL_HASH_BYTES)

struct shl_catch_up_mail {
    enum shl_catch_up_kind kind;
    uint64_t chunk;
    uint8_t schema[SHL_HASH_BYTES], hash[SHL_HASH_BYTES];
    const uint8_t *data; /* read only */
    size_t bytes;
};

/* ---- catch_up.c --------------------------------------------------------------------------- */

size_t shl_catch_up_put(uint8_t head[SHL_CATCH_UP_HEAD], const struct shl_catch_up_mail *mail);
/* false: it is no such mail. */
bool shl_catch_up_get(const void *bytes, size_t size, struct shl_catch_up_mail *mail);

/* ---- giver.c ------------------------------------------------------------------------------ */

struct shl_giving; /* one chunk that was asked for */

struct shl_giver {
    struct shoal_state *state;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ready; /* the arrays are known to be all there are, and right */
    bool open;  /* and what it takes to give them is here */
    bool runs, stop;
    pthread_t thread;
    struct shl_chunks chunks;
    uint8_t schema[SHL_HASH_BYTES];
    struct shl_giver_taker {
        uint64_t id, session;   /* 0: nobody */
        uint64_t serial;        /* of this entry: one may come back by the same session */
        uint32_t asked, unread; /* chunks it waits for; answers it has not taken in */
        uint64_t since_ns;      /* when it took the last one in, or was first sent one */
    } takers[SHL_CATCH_UP_TAKERS];
    uint64_t serial;
    struct shl_list asked, copied;
    uint8_t **spare; /* blocks of SHL_CHUNK_BYTES */
    size_t spare_count, held_count, limit;
    uint64_t look_ns; /* when it is looked who reads nothing */
    _Atomic uint64_t given_bytes;
    _Atomic uint64_t given_steps; /* steps that began while something was to be given */
};

/* `limit_bytes` of copies; at least one chunk. */
enum shoal_status shl_giver_init(struct shl_giver *giver, struct shoal_state *state,
                                 uint64_t limit_bytes);
void shl_giver_free(struct shl_giver *giver);
/* All members have the state; from now on it is given. */
void shl_giver_open(struct shl_giver *giver);

enum shl_giver_reply {
    SHL_GIVER_TAKES,
    SHL_GIVER_LATER,  /* not now */
    SHL_GIVER_REFUSES /* this member does not give, or not what was asked for */
};

/* Any thread. */
enum shl_giver_reply shl_giver_mail(struct shl_giver *giver, uint64_t from, uint64_t session,
                                    const struct shl_catch_up_mail *mail);
/* Any thread: that learner takes nothing any more. */
void shl_giver_forget(struct shl_giver *giver, uint64_t id);
/* The program's thread, the arrays are at rest: copy what was asked for. */
void shl_giver_copy(struct shl_giver *giver);
/* So far. */
void shl_giver_told(const struct shl_giver *giver, uint64_t *bytes, uint64_t *steps);
/* The thread ends, and nothing is given any more. */
void shl_giver_stop(struct shl_giver *giver);

/* ---- taker.c ------------------------------------------------------------------------------ */

struct shl_taker;

/* The learner's program's thread: returns when there is no more to be had. Whatever went wrong,
 * the rest comes when this worker is let in. */
void shl_taker_run(struct shoal_state *state);
/* Any thread. false: nothing is taken. `mail` NULL: `from` gives nothing. */
bool shl_taker_mail(struct shl_taker *taker, uint64_t from, const struct shl_catch_up_mail *mail);
/* The hash of a chunk as it is here; all 0: unknown. */
uint8_t *shl_taker_hash(struct shl_taker *taker, uint64_t chunk);
/* All chunks are about to be overwritten. */
void shl_taker_forget_hashes(struct shl_taker *taker);
void shl_taker_free(struct shl_taker *taker); /* NULL is legal */

#endif
