/*
 * Life of a world's state, and what the views call when members change.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/state.h"

#include "core/array.h"
#include "core/sys.h"

#include <string.h>

/* ---- called by the views ----------------------------------------------------------------------
 */

static enum shoal_status settle(void *arg, struct shoal_comm *comm,
                                const struct shl_members *members)
{
    struct shoal_state *state = arg;
    struct shl_meeting meeting;
    uint64_t begin_ns = shl_now_ns();
    state->stats.sent = state->stats.received = state->stats.moved = 0;
    SHL_TRY(shl_state_meet(state, comm, &meeting));
    /* Those who have just joined would take for the state what they begin with themselves. */
    if (meeting.known_count == 0 && meeting.veteran == comm->size)
        return shl_fail(SHOAL_ERR_STATE_LOST, "all members that had the state were lost before the "
                                              "others got it; begin anew from a checkpoint");
    SHL_TRY(shl_state_pull(state, &meeting));
    if (state->follower.on_loss)
        SHL_TRY(shl_state_spread(state, &meeting, members));
    state->stats.settle_ns = shl_now_ns() - begin_ns;
    return SHOAL_OK;
}

/* world->lock: the node's thread no longer sees it. */
static void forget(void *arg)
{
    struct shoal_state *state = arg;
    shl_taker_free(state->taker);
    state->taker = NULL;
}

static enum shoal_status settled(void *arg)
{
    struct shoal_state *state = arg;
    pthread_mutex_lock(&state->world->lock);
    forget(state);
    pthread_mutex_unlock(&state->world->lock);
    state->known = true;
    shl_giver_open(&state->giver);
    state->stats.settled++;
    bool lost =
        state->follower.on_loss && shl_state_install(state) && shl_state_lost(state, NULL, 0);
    return lost ? shl_state_say_lost(state) : SHOAL_OK;
}

/* Nobody has joined since the step that was committed, so all know the table. A hand-over can be
 * done later, so what stands in its way is no error of the operation, which might be tried until
 * somebody gives up: once all have seen that it cannot be done now, it is over. */
static enum shoal_status hand_over(void *arg, struct shoal_comm *comm,
                                   const struct shl_members *members)
{
    struct shoal_state *state = arg;
    struct shl_meeting meeting = {
        .comm = comm, .known_count = comm->size, .leaving = &state->world->leavers};
    state->stats.sent = state->stats.received = state->stats.moved = 0;
    return shl_state_hand_over(state, &meeting, members, &state->refused);
}

static enum shoal_status handed(void *arg)
{
    struct shoal_state *state = arg;
    if (state->refused != SHOAL_OK) {
        shl_state_drop_pending(state);
        return shl_fail(state->refused, "not all can do their part now (%s)",
                        shoal_status_string(state->refused));
    }
    shl_state_install(state);
    state->stats.handed += state->stats.moved;
    return SHOAL_OK;
}

static void begin(void *arg)
{
    shl_state_roll_back(arg);
}

static void committed(void *arg)
{
    struct shoal_state *state = arg;
    shl_state_commit(state);
    if (!state->background)
        state->stats.step_ns = shl_now_ns() - state->stats.begun_ns;
}

static void begun(void *arg, bool pending)
{
    struct shoal_state *state = arg;
    state->stats.begun_ns = shl_now_ns();
    if (state->follower.behind)
        shl_state_shoot(state, pending);
    shl_giver_copy(&state->giver);
}

static void catch_up(void *arg)
{
    shl_taker_run(arg);
}

_Static_assert(SHL_CATCH_UP_HEAD <= SHL_NODE_ANSWER_MAX, "a head fits into an answer");

static bool give(struct shoal_state *state, struct shl_node_letter *letter,
                 const struct shl_catch_up_mail *mail)
{
    enum shl_giver_reply reply = shl_giver_mail(&state->giver, letter->from, letter->session, mail);
    struct shl_catch_up_mail later = {.kind = SHL_CATCH_UP_LATER, .chunk = mail->chunk};
    if (reply == SHL_GIVER_LATER)
        letter->answer_bytes = shl_catch_up_put(letter->answer, &later);
    return reply != SHL_GIVER_REFUSES;
}

static bool mail(void *arg, struct shl_node_letter *letter)
{
    struct shoal_state *state = arg;
    struct shl_catch_up_mail mail;
    if (letter->size == 0) {
        shl_giver_forget(&state->giver, letter->from);
        return state->taker && shl_taker_mail(state->taker, letter->from, NULL);
    }
    if (!shl_catch_up_get(letter->bytes, letter->size, &mail))
        return false;
    if (mail.kind == SHL_CATCH_UP_ASK || mail.kind == SHL_CATCH_UP_READ)
        return give(state, letter, &mail);
    return state->taker && shl_taker_mail(state->taker, letter->from, &mail);
}

static void end(void *arg)
{
    struct shoal_state *state = arg;
    shl_giver_stop(&state->giver);
}

static void keep(void *arg)
{
    struct shoal_state *state = arg;
    shl_state_keep(state);
    state->stats.step_ns = shl_now_ns() - state->stats.begun_ns;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void free_array(struct shl_state_array *array)
{
    shl_mem->free(array->copies);
    shl_mem->free(array->pending);
    shl_mem->free(array->shots[0]);
    shl_mem->free(array->shots[1]);
    shl_mem->free(array->name);
}

/* The world is being destroyed, and after it may be the context, whose heap the slots are of. */
static void free_slots(void *arg)
{
    struct shoal_state *state = arg;
    for (uint32_t a = 0; a < state->array_count; a++) {
        struct shl_state_array *array = &state->arrays[a];
        for (uint32_t s = 0; array->copies && s < state->table.shards; s++) {
            shl_slot_free(&array->copies[s].slot[0]);
            shl_slot_free(&array->copies[s].slot[1]);
        }
    }
    shl_state_drop_pending(state);
}

static void free_state(struct shoal_state *state)
{
    free_slots(state);
    shl_giver_free(&state->giver);
    shl_taker_free(state->taker);
    for (uint32_t a = 0; a < state->array_count; a++)
        free_array(&state->arrays[a]);
    shl_table_free(&state->table);
    shl_table_free(&state->next);
    shl_mem->free(state->arrays);
    shl_mem->free(state);
}

enum shoal_status shl_state_create(struct shoal_world *world, uint32_t shards, uint32_t replicas,
                                   bool background, uint64_t catch_up_bytes,
                                   struct shoal_state **out)
{
    if (background && world->log->mode != SHL_STEP_ABORT)
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "background is 1, and steps of this world are retained; found the job with "
                        "SHOAL_STEP_ABORT");
    struct shoal_state *state = shl_mem->alloc(sizeof(*state));
    if (!state)
        return shl_fail_errno("cannot allocate the state of a world");
    state->world = world;
    state->background = background;
    enum shoal_status status = shl_table_make(shards, replicas + 1, &state->table);
    if (status == SHOAL_OK)
        status = shl_table_make(shards, replicas + 1, &state->next);
    if (status == SHOAL_OK)
        status = shl_giver_init(&state->giver, state,
                                catch_up_bytes ? catch_up_bytes : SHL_CATCH_UP_BYTES);
    state->follower = (struct shl_follower){.arg = state,
                                            .settle = {.run = settle, .arg = state},
                                            .hand_over = {.run = hand_over, .arg = state},
                                            .handed = handed,
                                            .begin = begin,
                                            .settled = settled,
                                            .committed = committed,
                                            .behind = background,
                                            .begun = begun,
                                            .keep = keep,
                                            .start = shl_state_start,
                                            .abandon = shl_state_abandon,
                                            .catch_up = catch_up,
                                            .forget = forget,
                                            .mail = mail,
                                            .end = end,
                                            .orphan = free_slots};
    if (status == SHOAL_OK)
        status = shl_views_attach(world, &state->follower);
    if (status != SHOAL_OK) {
        free_state(state);
        return status;
    }
    *out = state;
    return SHOAL_OK;
}

void shl_state_destroy(struct shoal_state *state)
{
    if (!state->follower.gone)
        shl_views_detach(state->world);
    free_state(state);
}

static enum shoal_status check_new(const struct shoal_state *state, const char *name)
{
    if (state->known)
        return shl_fail(SHOAL_ERR_INVALID,
                        "'%s' comes after this member took part in a step; add it before", name);
    for (uint32_t i = 0; i < state->array_count; i++)
        if (strcmp(state->arrays[i].name, name) == 0)
            return shl_fail(SHOAL_ERR_INVALID, "'%s' is the name of another array of the state",
                            name);
    return SHOAL_OK;
}

/* `shots`: it is replicated, and to be put back when steps are given up. */
static enum shoal_status allocate(struct shl_state_array *array, const char *name, uint32_t shards,
                                  bool shots)
{
    array->name = shl_mem->alloc(strlen(name) + 1);
    if (shards) {
        array->copies = shl_mem->alloc(shards * sizeof(*array->copies));
        array->pending = shl_mem->alloc(shards * sizeof(*array->pending));
    }
    for (unsigned i = 0; i < 2 && shots; i++)
        array->shots[i] = shl_mem->alloc_aligned(4096, array->bytes + 1);
    if (!array->name || (shards && (!array->copies || !array->pending)) ||
        (shots && (!array->shots[0] || !array->shots[1]))) {
        free_array(array);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for '%s' of the state", name);
    }
    memcpy(array->name, name, strlen(name) + 1);
    return SHOAL_OK;
}

/* From now on it matters who is lost, and steps have something to refresh. */
static void watch_losses(struct shoal_state *state)
{
    state->follower.on_loss = true;
    state->follower.behind = state->background;
    state->follower.refresh = (struct shl_task){.run = shl_state_refresh, .arg = state};
}

enum shoal_status shl_state_add(struct shoal_state *state, const struct shoal_state_array *given)
{
    bool sharded = given->kind == SHOAL_STATE_SHARDED;
    SHL_TRY(check_new(state, given->name));
    if (sharded && state->world->log->mode != SHL_STEP_ABORT)
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "'%s' is sharded, and steps of this world are retained; found the job with "
                        "SHOAL_STEP_ABORT",
                        given->name);
    SHL_TRY(shl_array_reserve(&state->arrays, &state->array_capacity, state->array_count,
                              sizeof(*state->arrays), "arrays of state"));
    struct shl_state_array made = {.data = given->data,
                                   .count = given->count,
                                   .bytes = given->count * shoal_dtype_bytes(given->dtype),
                                   .dtype = given->dtype,
                                   .kind = given->kind};
    SHL_TRY(allocate(&made, given->name, sharded ? state->table.shards : 0,
                     !sharded && state->background));
    state->arrays[state->array_count++] = made;
    if (sharded)
        watch_losses(state);
    return SHOAL_OK;
}
