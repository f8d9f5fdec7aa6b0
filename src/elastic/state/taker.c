/*
 * A learner takes chunks from members, in passes, before it is let in. See catch_up.h.
 *
 * Invariant: the hash of a chunk is that of its bytes here, or 0. Bytes are written by the node's
 * thread, with the lock, into chunks that were asked for of that very member.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/state/state.h"

#include <string.h>
#include <time.h>

#define MS 1000000ull
#define GIVERS_MAX 64
#define LOOK_MS 50   /* how often it is looked whom there is a session to */
#define LATER_MS 100 /* after a member could not give */
#define PASSES_MAX 8
#define NO_SESSION UINT64_MAX

enum chunk_state { WANTED, ASKED, ARRIVED, DONE };

struct place {
    enum chunk_state state;
    bool changed;            /* it came, in this pass */
    uint64_t giver, session; /* of whom, and by which session, it was asked */
};

struct giver {
    uint64_t id, session; /* as of the last look */
    uint32_t asked;
    uint32_t owed;     /* answers that it was not told are read */
    uint64_t later_ns; /* not before it is asked again */
    bool refused;      /* it gives nothing */
    bool there;        /* seen in the last look */
};

struct shl_taker {
    struct shoal_state *state;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open; /* what comes is taken */
    struct shl_chunks chunks;
    uint8_t schema[SHL_HASH_BYTES];
    uint8_t *hashes; /* by chunk */
    struct place *places;
    uint64_t *arrived; /* chunks that are not hashed yet */
    uint64_t arrived_count;
    struct giver givers[GIVERS_MAX];
    uint32_t giver_count;
    uint64_t left, checked, different; /* chunks of this pass: not done; done; that came */
    uint64_t bytes, progress_ns;
};

/* ---- what comes: the node's thread ------------------------------------------------------------
 */

static struct giver *find(struct shl_taker *taker, uint64_t id)
{
    for (uint32_t i = 0; i < taker->giver_count; i++)
        if (taker->givers[i].id == id)
            return &taker->givers[i];
    return NULL;
}

/* lock: what one was asked for has to come from others, or be asked for again; but not what was
 * asked for by session `but`. */
static void take_back(struct shl_taker *taker, struct giver *giver, uint64_t but)
{
    for (uint64_t k = 0; k < taker->chunks.count && giver->asked; k++) {
        struct place *place = &taker->places[k];
        if (place->state != ASKED || place->giver != giver->id || place->session == but)
            continue;
        place->state = WANTED;
        giver->asked--;
    }
}

/* lock: of `chunk`, or of all that were asked for. */
static void put_off(struct shl_taker *taker, struct giver *giver,
                    const struct shl_catch_up_mail *mail)
{
    giver->later_ns = shl_now_ns() + LATER_MS * MS;
    if (mail->kind == SHL_CATCH_UP_DROPPED) {
        take_back(taker, giver, NO_SESSION);
    } else if (mail->chunk < taker->chunks.count) {
        struct place *place = &taker->places[mail->chunk];
        if (place->state != ASKED || place->giver != giver->id)
            return;
        place->state = WANTED;
        giver->asked--;
    }
}

/* lock */
static void take_answer(struct shl_taker *taker, struct giver *giver,
                        const struct shl_catch_up_mail *mail)
{
    giver->owed++;
    if (mail->chunk >= taker->chunks.count)
        return;
    struct place *place = &taker->places[mail->chunk];
    const struct shl_chunk *chunk = &taker->chunks.at[mail->chunk];
    bool data = mail->kind == SHL_CATCH_UP_DATA;
    if (place->state != ASKED || place->giver != giver->id || (data && mail->bytes != chunk->bytes))
        return;
    place->state = ARRIVED;
    place->changed = data;
    if (data) {
        memset(shl_taker_hash(taker, mail->chunk), 0, SHL_HASH_BYTES);
        memcpy(taker->state->arrays[chunk->array].data + chunk->offset, mail->data, mail->bytes);
        taker->bytes += mail->bytes;
    }
    taker->arrived[taker->arrived_count++] = mail->chunk;
    giver->asked--;
    taker->progress_ns = shl_now_ns();
}

static void take(struct shl_taker *taker, struct giver *giver, const struct shl_catch_up_mail *mail)
{
    if (!mail) {
        giver->refused = true;
        take_back(taker, giver, NO_SESSION);
    } else if (mail->kind == SHL_CATCH_UP_LATER || mail->kind == SHL_CATCH_UP_DROPPED) {
        put_off(taker, giver, mail);
    } else if (mail->kind == SHL_CATCH_UP_DATA || mail->kind == SHL_CATCH_UP_SAME) {
        take_answer(taker, giver, mail);
    }
}

bool shl_taker_mail(struct shl_taker *taker, uint64_t from, const struct shl_catch_up_mail *mail)
{
    pthread_mutex_lock(&taker->lock);
    bool takes = taker->open;
    struct giver *giver = find(taker, from);
    if (takes && giver)
        take(taker, giver, mail);
    pthread_cond_signal(&taker->changed);
    pthread_mutex_unlock(&taker->lock);
    return takes;
}

/* ---- givers ---------------------------------------------------------------------------------- */

/* lock, which is given away meanwhile. A session that broke may be back by now: what was asked for
 * by the one before is lost all the same. */
static void look_for_givers(struct shl_taker *taker)
{
    struct shl_node_reach reached[GIVERS_MAX];
    pthread_mutex_unlock(&taker->lock);
    uint32_t count = shl_node_reached(taker->state->world->node, reached, GIVERS_MAX);
    pthread_mutex_lock(&taker->lock);
    for (uint32_t i = 0; i < taker->giver_count; i++)
        taker->givers[i].there = false;
    for (uint32_t i = 0; i < count; i++) {
        struct giver *giver = find(taker, reached[i].id);
        if (!giver && taker->giver_count < GIVERS_MAX) {
            giver = &taker->givers[taker->giver_count++];
            *giver = (struct giver){.id = reached[i].id};
        }
        if (!giver)
            continue;
        giver->there = true;
        if (giver->session != reached[i].session)
            take_back(taker, giver, reached[i].session);
        giver->session = reached[i].session;
    }
    for (uint32_t i = 0; i < taker->giver_count; i++)
        if (!taker->givers[i].there)
            take_back(taker, &taker->givers[i], NO_SESSION);
}

/* lock: members that give, or may do so. */
static uint32_t count_givers(const struct shl_taker *taker)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < taker->giver_count; i++)
        count += taker->givers[i].there && !taker->givers[i].refused;
    return count;
}

/* lock: there are members, and none of them gives. */
static bool all_refuse(const struct shl_taker *taker)
{
    bool any = false;
    for (uint32_t i = 0; i < taker->giver_count; i++)
        any |= taker->givers[i].there;
    return any && count_givers(taker) == 0;
}

/* lock, which is given away meanwhile. */
static void ask(struct shl_taker *taker, struct giver *giver, uint64_t chunk)
{
    uint8_t head[SHL_CATCH_UP_HEAD];
    struct shl_catch_up_mail mail = {.kind = SHL_CATCH_UP_ASK, .chunk = chunk};
    memcpy(mail.schema, taker->schema, SHL_HASH_BYTES);
    memcpy(mail.hash, shl_taker_hash(taker, chunk), SHL_HASH_BYTES);
    size_t bytes = shl_catch_up_put(head, &mail);
    uint64_t id = giver->id;
    taker->places[chunk].state = ASKED;
    taker->places[chunk].giver = id;
    giver->asked++;
    pthread_mutex_unlock(&taker->lock);
    uint64_t session = shl_node_mail(taker->state->world->node, id, head, bytes, NULL, 0);
    pthread_mutex_lock(&taker->lock);
    taker->places[chunk].session = session;
    if (!session) {
        giver->there = false;
        take_back(taker, giver, NO_SESSION);
    }
}

/* lock, which is given away meanwhile: whoever waits for the fewest is asked next, so that all give
 * equal parts where they are equally fast. */
static struct giver *next_giver(struct shl_taker *taker, uint32_t most)
{
    struct giver *best = NULL;
    uint64_t now_ns = shl_now_ns();
    for (uint32_t i = 0; i < taker->giver_count; i++) {
        struct giver *giver = &taker->givers[i];
        if (giver->there && !giver->refused && giver->later_ns <= now_ns && giver->asked < most &&
            (!best || giver->asked < best->asked))
            best = giver;
    }
    return best;
}

static void ask_all(struct shl_taker *taker)
{
    struct giver *giver;
    for (uint64_t k = 0; k < taker->chunks.count; k++) {
        if (taker->places[k].state != WANTED)
            continue;
        giver = next_giver(taker, SHL_CATCH_UP_ASKED);
        if (!giver)
            return;
        ask(taker, giver, k);
    }
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* lock, which is given away meanwhile: whatever they sent, wanted or not, is read. */
static void tell_read(struct shl_taker *taker)
{
    uint8_t head[SHL_CATCH_UP_HEAD];
    size_t bytes = shl_catch_up_put(head, &(struct shl_catch_up_mail){.kind = SHL_CATCH_UP_READ});
    for (uint32_t i = 0; i < taker->giver_count; i++)
        while (taker->givers[i].owed) {
            uint64_t id = taker->givers[i].id;
            taker->givers[i].owed--;
            pthread_mutex_unlock(&taker->lock);
            shl_node_mail(taker->state->world->node, id, head, bytes, NULL, 0);
            pthread_mutex_lock(&taker->lock);
        }
}

/* lock, which is given away meanwhile. */
static void finish_arrived(struct shl_taker *taker)
{
    tell_read(taker);
    while (taker->arrived_count) {
        uint64_t k = taker->arrived[--taker->arrived_count];
        const struct shl_chunk *chunk = &taker->chunks.at[k];
        uint8_t hash[SHL_HASH_BYTES];
        bool changed = taker->places[k].changed;
        pthread_mutex_unlock(&taker->lock);
        bool hashed =
            changed && shl_hash_data(taker->state->arrays[chunk->array].data + chunk->offset,
                                     chunk->bytes, hash) == SHOAL_OK;
        pthread_mutex_lock(&taker->lock);
        if (hashed)
            memcpy(shl_taker_hash(taker, k), hash, SHL_HASH_BYTES);
        taker->places[k].state = DONE;
        taker->left--;
        taker->checked++;
        taker->different += changed;
        tell_read(taker);
    }
}

static bool has_ended(struct shoal_world *world)
{
    pthread_mutex_lock(&world->lock);
    bool ended = world->ended || world->leaving;
    pthread_mutex_unlock(&world->lock);
    return ended;
}

/* lock, which is given away meanwhile: nothing came for as long as a worker may take to join. */
static bool is_hopeless(struct shl_taker *taker)
{
    struct shoal_world *world = taker->state->world;
    uint64_t silent_ns = shl_now_ns() - taker->progress_ns;
    pthread_mutex_unlock(&taker->lock);
    bool ended = has_ended(world);
    pthread_mutex_lock(&taker->lock);
    return ended || all_refuse(taker) || silent_ns >= world->options.world.join_timeout_ms * MS;
}

/* lock */
static void wait_a_while(struct shl_taker *taker)
{
    uint64_t until_ns = shl_now_ns() + LOOK_MS * MS;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};
    if (!taker->arrived_count)
        pthread_cond_timedwait(&taker->changed, &taker->lock, &until);
}

/* lock, which is given away meanwhile. `least`: with so many chunks that came there is no use in
 * going on. false: no other pass would bring more. */
static bool pass(struct shl_taker *taker, uint64_t least)
{
    uint64_t count = taker->chunks.count, look_ns = 0;
    for (uint64_t k = 0; k < count; k++)
        taker->places[k].state = WANTED;
    taker->left = count;
    taker->checked = taker->different = 0;
    while (taker->left) {
        if (shl_now_ns() >= look_ns) {
            look_for_givers(taker);
            look_ns = shl_now_ns() + LOOK_MS * MS;
        }
        if (is_hopeless(taker))
            return false;
        ask_all(taker);
        wait_a_while(taker);
        finish_arrived(taker);
        bool all_change = taker->checked * 8 >= count && taker->different == taker->checked;
        if (least <= count && (taker->different >= least || all_change))
            return false; /* it will not get less */
    }
    return taker->different > 0;
}

/* lock, which is given away meanwhile: pass after pass, while each has a quarter less to bring. */
static void take_all(struct shl_taker *taker)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < PASSES_MAX && pass(taker, least); i++)
        least = taker->different - taker->different / 4;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum shoal_status open_taker(struct shl_taker *taker)
{
    const struct shoal_state *state = taker->state;
    SHL_TRY(shl_state_schema(state, taker->schema));
    SHL_TRY(shl_chunks_make(state->arrays, state->array_count, &taker->chunks));
    uint64_t count = taker->chunks.count;
    taker->hashes = shl_mem->alloc(count * SHL_HASH_BYTES + 1);
    taker->places = shl_mem->alloc((count + 1) * sizeof(*taker->places));
    taker->arrived = shl_mem->alloc((count + 1) * sizeof(*taker->arrived));
    if (!taker->hashes || !taker->places || !taker->arrived)
        return shl_fail_errno("cannot allocate what it takes to catch up with %llu chunks of state",
                              (unsigned long long)count);
    return SHOAL_OK;
}

static struct shl_taker *create(struct shoal_state *state)
{
    pthread_condattr_t monotonic;
    struct shl_taker *taker = shl_mem->alloc(sizeof(*taker));
    if (!taker)
        return NULL;
    taker->state = state;
    pthread_mutex_init(&taker->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&taker->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (open_taker(taker) == SHOAL_OK)
        return taker;
    shl_log(SHL_LOG_WARN, "the state comes once this worker is let in: %s", shl_error_text());
    shl_taker_free(taker);
    return NULL;
}

void shl_taker_free(struct shl_taker *taker)
{
    if (!taker)
        return;
    shl_mem->free(taker->arrived);
    shl_mem->free(taker->places);
    shl_mem->free(taker->hashes);
    shl_chunks_free(&taker->chunks);
    pthread_cond_destroy(&taker->changed);
    pthread_mutex_destroy(&taker->lock);
    shl_mem->free(taker);
}

uint8_t *shl_taker_hash(struct shl_taker *taker, uint64_t chunk)
{
    return taker->hashes + chunk * SHL_HASH_BYTES;
}

void shl_taker_forget_hashes(struct shl_taker *taker)
{
    memset(taker->hashes, 0, taker->chunks.count * SHL_HASH_BYTES);
}

/* world->lock, by which the node's thread sees it. */
static void show(struct shoal_state *state, struct shl_taker *taker)
{
    pthread_mutex_lock(&state->world->lock);
    state->taker = taker;
    pthread_mutex_unlock(&state->world->lock);
}

void shl_taker_run(struct shoal_state *state)
{
    uint64_t begin_ns = shl_now_ns();
    struct shl_taker *taker = create(state);
    if (!taker)
        return;
    show(state, taker);
    pthread_mutex_lock(&taker->lock);
    taker->open = true;
    taker->progress_ns = begin_ns;
    take_all(taker);
    taker->open = false;
    state->stats.caught_up = taker->bytes;
    pthread_mutex_unlock(&taker->lock);
    state->stats.catch_up_ns = shl_now_ns() - begin_ns;
}
