/*
 * A member gives chunks to learners. What was asked for is copied as a step begins, and travels
 * while the program computes. See catch_up.h.
 *
 * Invariant: copies never take more than the limit; each belongs to one asked chunk, and is a spare
 * block again once that was answered or its learner is gone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/thread.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/state/state.h"

#include <string.h>
#include <time.h>

#define MS 1000000ull
#define LOOK_MS 1000     /* how often it is looked whether a learner that reads nothing is there */
#define PATIENCE_MS 5000 /* then it is given nothing more, so that others get the memory */

struct shl_giving {
    struct shl_list link;
    uint64_t to, chunk;
    uint64_t serial;              /* of the learner's entry when it asked */
    uint8_t hash[SHL_HASH_BYTES]; /* of what the learner has; 0: nothing */
    uint8_t *copy;
};

/* ---- learners: lock ---------------------------------------------------------------------------
 */

static struct shl_giver_taker *find(struct shl_giver *giver, uint64_t id)
{
    for (uint32_t i = 0; i < SHL_CATCH_UP_TAKERS; i++)
        if (giver->takers[i].id == id)
            return &giver->takers[i];
    return NULL;
}

/* Who asked for it; NULL: it was forgotten since, though it may have come back. */
static struct shl_giver_taker *taker_of(struct shl_giver *giver, const struct shl_giving *giving)
{
    struct shl_giver_taker *taker = find(giver, giving->to);
    return taker && taker->serial == giving->serial ? taker : NULL;
}

static void end_giving(struct shl_giver *giver, struct shl_giving *giving)
{
    struct shl_giver_taker *taker = taker_of(giver, giving);
    if (taker && taker->asked)
        taker->asked--;
    if (giving->copy) {
        giver->spare[giver->spare_count++] = giving->copy;
        giver->held_count--;
    }
    shl_mem->free(giving);
}

static void forget_in(struct shl_giver *giver, struct shl_list *list, uint64_t id)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, list)
    {
        struct shl_giving *giving = SHL_CONTAINER_OF(at, struct shl_giving, link);
        if (giving->to != id)
            continue;
        shl_list_remove(at);
        end_giving(giver, giving);
    }
}

static void forget(struct shl_giver *giver, uint64_t id)
{
    forget_in(giver, &giver->asked, id);
    forget_in(giver, &giver->copied, id);
    struct shl_giver_taker *taker = find(giver, id);
    if (taker)
        *taker = (struct shl_giver_taker){.id = 0};
}

/* With each session a learner begins anew: what was on its way by the one before is lost. One that
 * is new takes the place of one that waits for nothing; NULL: there is none. */
static struct shl_giver_taker *find_or_add(struct shl_giver *giver, uint64_t id, uint64_t session)
{
    struct shl_giver_taker *taker = find(giver, id);
    if (taker && taker->session != session) {
        forget(giver, id);
        taker = NULL;
    }
    for (uint32_t i = 0; i < SHL_CATCH_UP_TAKERS && !taker; i++)
        if (!giver->takers[i].asked) {
            taker = &giver->takers[i];
            *taker =
                (struct shl_giver_taker){.id = id, .session = session, .serial = ++giver->serial};
        }
    return taker;
}

static bool is_in(const struct shl_list *list, uint64_t from, uint64_t chunk)
{
    for (const struct shl_list *at = list->next; at != list; at = at->next) {
        const struct shl_giving *giving = SHL_CONTAINER_OF(at, struct shl_giving, link);
        if (giving->to == from && giving->chunk == chunk)
            return true;
    }
    return false;
}

static enum shl_giver_reply take_request(struct shl_giver *giver, uint64_t from, uint64_t session,
                                         const struct shl_catch_up_mail *mail)
{
    if (mail->chunk >= giver->chunks.count ||
        memcmp(mail->schema, giver->schema, SHL_HASH_BYTES) != 0)
        return SHL_GIVER_REFUSES;
    struct shl_giver_taker *taker = find_or_add(giver, from, session);
    /* An answer may be there before its request is counted as answered. */
    if (!taker || taker->asked >= SHL_CATCH_UP_ASKED + SHL_CATCH_UP_UNREAD)
        return SHL_GIVER_LATER;
    if (is_in(&giver->asked, from, mail->chunk) || is_in(&giver->copied, from, mail->chunk))
        return SHL_GIVER_TAKES; /* told to ask again, it does so twice */
    struct shl_giving *giving = shl_mem->alloc(sizeof(*giving));
    if (!giving)
        return SHL_GIVER_LATER;
    giving->to = from;
    giving->serial = taker->serial;
    giving->chunk = mail->chunk;
    memcpy(giving->hash, mail->hash, SHL_HASH_BYTES);
    shl_list_append(&giver->asked, &giving->link);
    taker->asked++;
    return SHL_GIVER_TAKES;
}

static void take_receipt(struct shl_giver *giver, uint64_t from, uint64_t session)
{
    struct shl_giver_taker *taker = find(giver, from);
    if (!taker || taker->session != session || !taker->unread)
        return;
    taker->unread--;
    taker->since_ns = shl_now_ns();
    pthread_cond_signal(&giver->changed);
}

enum shl_giver_reply shl_giver_mail(struct shl_giver *giver, uint64_t from, uint64_t session,
                                    const struct shl_catch_up_mail *mail)
{
    enum shl_giver_reply reply = SHL_GIVER_TAKES;
    pthread_mutex_lock(&giver->lock);
    if (mail->kind == SHL_CATCH_UP_READ)
        take_receipt(giver, from, session);
    else if (giver->open)
        reply = take_request(giver, from, session, mail);
    else
        reply = giver->ready ? SHL_GIVER_LATER : SHL_GIVER_REFUSES;
    pthread_mutex_unlock(&giver->lock);
    return reply;
}

void shl_giver_forget(struct shl_giver *giver, uint64_t id)
{
    pthread_mutex_lock(&giver->lock);
    forget(giver, id);
    pthread_mutex_unlock(&giver->lock);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* lock: the first copy whose learner has read most of what it was sent. */
static struct shl_giving *next_copy(struct shl_giver *giver)
{
    for (struct shl_list *at = giver->copied.next; at != &giver->copied; at = at->next) {
        struct shl_giving *giving = SHL_CONTAINER_OF(at, struct shl_giving, link);
        if (taker_of(giver, giving)->unread < SHL_CATCH_UP_UNREAD)
            return giving;
    }
    return NULL;
}

static bool send_copy(struct shl_giver *giver, const struct shl_giving *giving, uint64_t *bytes)
{
    static const uint8_t nothing[SHL_HASH_BYTES];
    uint8_t head[SHL_CATCH_UP_HEAD], hash[SHL_HASH_BYTES];
    struct shl_catch_up_mail mail = {.kind = SHL_CATCH_UP_DATA, .chunk = giving->chunk};
    *bytes = giver->chunks.at[giving->chunk].bytes;
    if (memcmp(giving->hash, nothing, SHL_HASH_BYTES) != 0 &&
        shl_hash_data(giving->copy, *bytes, hash) == SHOAL_OK &&
        memcmp(giving->hash, hash, SHL_HASH_BYTES) == 0) {
        mail.kind = SHL_CATCH_UP_SAME;
        *bytes = 0;
    }
    size_t head_bytes = shl_catch_up_put(head, &mail);
    return shl_node_mail(giver->state->world->node, giving->to, head, head_bytes, giving->copy,
                         *bytes) != 0;
}

/* lock, which is given away meanwhile. */
static void give(struct shl_giver *giver, struct shl_giving *giving)
{
    uint64_t bytes;
    shl_list_remove(&giving->link);
    struct shl_giver_taker *taker = taker_of(giver, giving);
    if (!taker->unread)
        taker->since_ns = shl_now_ns();
    taker->unread++; /* before it can be read */
    pthread_mutex_unlock(&giver->lock);
    bool sent = send_copy(giver, giving, &bytes);
    pthread_mutex_lock(&giver->lock);
    if (sent)
        atomic_fetch_add_explicit(&giver->given_bytes, bytes, memory_order_relaxed);
    else if (taker_of(giver, giving))
        forget(giver, giving->to);
    end_giving(giver, giving);
}

/* lock, which is given away meanwhile. false: there is no session. */
static bool tell(struct shl_giver *giver, uint64_t id, enum shl_catch_up_kind kind)
{
    uint8_t head[SHL_CATCH_UP_HEAD];
    size_t bytes = shl_catch_up_put(head, &(struct shl_catch_up_mail){.kind = kind});
    pthread_mutex_unlock(&giver->lock);
    bool told = shl_node_mail(giver->state->world->node, id, head, bytes, NULL, 0) != 0;
    pthread_mutex_lock(&giver->lock);
    return told;
}

/* lock, which is given away meanwhile: who has read nothing for long, or is gone. */
static void drop_silent(struct shl_giver *giver)
{
    for (uint32_t i = 0; i < SHL_CATCH_UP_TAKERS; i++) {
        struct shl_giver_taker taker = giver->takers[i];
        if (!taker.id || !taker.unread)
            continue;
        bool late = shl_now_ns() - taker.since_ns >= PATIENCE_MS * MS;
        if (late) /* first, so that what it asks for once it is told is taken */
            forget(giver, taker.id);
        bool there = tell(giver, taker.id, late ? SHL_CATCH_UP_DROPPED : SHL_CATCH_UP_WAIT);
        const struct shl_giver_taker *now = find(giver, taker.id);
        if (!there && now && now->serial == taker.serial)
            forget(giver, taker.id);
    }
}

/* lock, which is given away meanwhile. One that reads must not hide another that does not. */
static void look_for_silent(struct shl_giver *giver)
{
    uint64_t now_ns = shl_now_ns();
    if (now_ns < giver->look_ns)
        return;
    giver->look_ns = now_ns + LOOK_MS * MS;
    drop_silent(giver);
}

static void wait_a_while(struct shl_giver *giver)
{
    uint64_t until_ns = shl_now_ns() + LOOK_MS * MS;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};
    if (shl_list_empty(&giver->copied))
        pthread_cond_wait(&giver->changed, &giver->lock);
    else
        pthread_cond_timedwait(&giver->changed, &giver->lock, &until);
}

static void *serve(void *arg)
{
    struct shl_giver *giver = arg;
    pthread_mutex_lock(&giver->lock);
    while (!giver->stop) {
        look_for_silent(giver);
        struct shl_giving *giving = next_copy(giver);
        if (giving)
            give(giver, giving);
        else
            wait_a_while(giver);
    }
    pthread_mutex_unlock(&giver->lock);
    return NULL;
}

/* ---- as a step begins ------------------------------------------------------------------------ */

/* lock: a block for a copy; NULL: there is no memory, or none is left of the limit. */
static uint8_t *find_block(struct shl_giver *giver)
{
    if (giver->held_count == giver->limit)
        return NULL;
    uint8_t *block =
        giver->spare_count ? giver->spare[--giver->spare_count] : shl_mem->alloc(SHL_CHUNK_BYTES);
    giver->held_count += block != NULL;
    return block;
}

static void free_spare(struct shl_giver *giver)
{
    while (giver->spare_count)
        shl_mem->free(giver->spare[--giver->spare_count]);
}

/* lock */
static bool start_thread(struct shl_giver *giver)
{
    if (!giver->runs && !giver->stop)
        giver->runs = shl_thread_start(&giver->thread, "shoal-giver", serve, giver) == SHOAL_OK;
    return giver->runs;
}

/* lock, which is given away meanwhile. */
static void copy_next(struct shl_giver *giver, uint8_t *block)
{
    struct shl_giving *giving =
        SHL_CONTAINER_OF(shl_list_pop(&giver->asked), struct shl_giving, link);
    const struct shl_chunk *chunk = &giver->chunks.at[giving->chunk];
    pthread_mutex_unlock(&giver->lock);
    memcpy(block, giver->state->arrays[chunk->array].data + chunk->offset, chunk->bytes);
    pthread_mutex_lock(&giver->lock);
    giving->copy = block;
    if (taker_of(giver, giving))
        shl_list_append(&giver->copied, &giving->link);
    else
        end_giving(giver, giving); /* its learner was forgotten meanwhile */
}

/* lock: what it takes to give. */
static void open_giver(struct shl_giver *giver)
{
    const struct shoal_state *state = giver->state;
    giver->open = shl_state_schema(state, giver->schema) == SHOAL_OK &&
                  shl_chunks_make(state->arrays, state->array_count, &giver->chunks) == SHOAL_OK;
    if (!giver->open)
        shl_log(SHL_LOG_INFO, "state cannot be given to learners yet: %s", shl_error_text());
}

/* lock, which is given away meanwhile: there is no memory for a single copy. */
static void turn_away(struct shl_giver *giver)
{
    struct shl_list *first;
    while ((first = giver->asked.next) != &giver->asked) {
        uint64_t id = SHL_CONTAINER_OF(first, struct shl_giving, link)->to;
        forget(giver, id);
        tell(giver, id, SHL_CATCH_UP_DROPPED);
    }
}

void shl_giver_copy(struct shl_giver *giver)
{
    pthread_mutex_lock(&giver->lock);
    if (giver->ready && !giver->open && !giver->stop)
        open_giver(giver);
    bool busy = !shl_list_empty(&giver->asked) || !shl_list_empty(&giver->copied);
    atomic_fetch_add_explicit(&giver->given_steps, busy, memory_order_relaxed);
    if (!busy)
        free_spare(giver);
    while (!shl_list_empty(&giver->asked) && start_thread(giver)) {
        uint8_t *block = find_block(giver);
        if (!block)
            break;
        copy_next(giver, block);
        pthread_cond_signal(&giver->changed);
    }
    if (!shl_list_empty(&giver->asked) && !giver->held_count)
        turn_away(giver);
    pthread_mutex_unlock(&giver->lock);
}

void shl_giver_told(const struct shl_giver *giver, uint64_t *bytes, uint64_t *steps)
{
    *bytes = atomic_load_explicit(&giver->given_bytes, memory_order_relaxed);
    *steps = atomic_load_explicit(&giver->given_steps, memory_order_relaxed);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum shoal_status shl_giver_init(struct shl_giver *giver, struct shoal_state *state,
                                 uint64_t limit_bytes)
{
    pthread_condattr_t monotonic;
    giver->state = state;
    giver->limit = (size_t)(limit_bytes / SHL_CHUNK_BYTES);
    if (!giver->limit)
        giver->limit = 1;
    giver->spare = shl_mem->alloc(giver->limit * sizeof(*giver->spare));
    if (!giver->spare)
        return shl_fail_errno("cannot allocate a list of %zu copies of state", giver->limit);
    pthread_mutex_init(&giver->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&giver->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    shl_list_init(&giver->asked);
    shl_list_init(&giver->copied);
    return SHOAL_OK;
}

void shl_giver_open(struct shl_giver *giver)
{
    pthread_mutex_lock(&giver->lock);
    giver->ready = true;
    if (!giver->open && !giver->stop)
        open_giver(giver);
    pthread_mutex_unlock(&giver->lock);
}

void shl_giver_stop(struct shl_giver *giver)
{
    pthread_mutex_lock(&giver->lock);
    giver->stop = true;
    giver->open = giver->ready = false;
    bool runs = giver->runs;
    giver->runs = false;
    pthread_cond_signal(&giver->changed);
    pthread_mutex_unlock(&giver->lock);
    if (runs)
        pthread_join(giver->thread, NULL);
}

static void drop_all(struct shl_giver *giver, struct shl_list *list)
{
    struct shl_list *at;
    while ((at = shl_list_pop(list)))
        end_giving(giver, SHL_CONTAINER_OF(at, struct shl_giving, link));
}

void shl_giver_free(struct shl_giver *giver)
{
    if (!giver->spare)
        return;
    shl_giver_stop(giver);
    drop_all(giver, &giver->asked);
    drop_all(giver, &giver->copied);
    free_spare(giver);
    shl_chunks_free(&giver->chunks);
    shl_mem->free(giver->spare);
    pthread_cond_destroy(&giver->changed);
    pthread_mutex_destroy(&giver->lock);
}
