/*
 * The refresh while the next step is computed. When a step ends, owners keep what they have made in
 * their second slots, from where it goes to the replicas' second slots; the first slots of both
 * have the step before. Once the refresh is done everywhere, the slots turn round.
 *
 * Programs change replicated arrays after a step that may still be given up. So these are kept as
 * they were when steps began, of two steps at a time.
 *
 * Invariant: a refresh that was started reads and writes second slots only, which nobody else
 * touches until it is waited for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/state/state.h"

#include <string.h>

/* ---- under way --------------------------------------------------------------------------------
 */

enum shoal_status shl_state_start(void *arg, struct shoal_comm *comm,
                                  const struct shl_members *members)
{
    struct shoal_state *state = arg;
    struct shl_move_list list = {.count = 0};
    struct shl_state_stats now = {.sent = 0};
    struct shoal_request *request = NULL;
    enum shoal_status status = shl_state_list_refresh(state, members, &list);
    if (status == SHOAL_OK && list.count > 0)
        status = shl_moves_start(comm, list.at, list.count, &request);
    if (status == SHOAL_OK) {
        shl_state_count_moves(&now, &list, comm->rank);
        state->stats.refresh_sent = now.sent;
        pthread_mutex_lock(&state->world->lock);
        state->refreshing = request;
        pthread_mutex_unlock(&state->world->lock);
    }
    shl_mem->free(list.at);
    return status;
}

/* The view stays while somebody who holds the request is in it. */
static struct shoal_request *take_request(struct shoal_state *state)
{
    pthread_mutex_lock(&state->world->lock);
    struct shoal_request *request = state->refreshing;
    state->refreshing = NULL;
    pthread_mutex_unlock(&state->world->lock);
    return request;
}

bool shl_state_finish(struct shoal_state *state, enum shoal_status *status)
{
    struct shoal_request *request = take_request(state);
    if (request)
        *status = shl_moves_wait(request);
    return request != NULL;
}

void shl_state_abandon(void *arg)
{
    enum shoal_status status;
    shl_state_finish(arg, &status);
}

/* ---- what is gone back to ---------------------------------------------------------------------
 */

void shl_state_shoot(struct shoal_state *state, bool pending)
{
    state->ahead = pending;
    for (uint32_t a = 0; a < state->array_count; a++) {
        const struct shl_state_array *array = &state->arrays[a];
        if (array->shots[0] && array->bytes)
            memcpy(array->shots[state->shot ^ pending], array->data, array->bytes);
    }
}

void shl_state_put_back(const struct shoal_state *state)
{
    for (uint32_t a = 0; a < state->array_count; a++) {
        const struct shl_state_array *array = &state->arrays[a];
        if (array->shots[0] && array->bytes)
            memcpy(array->data, array->shots[state->shot], array->bytes);
    }
}
