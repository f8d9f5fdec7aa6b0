/*
 * See started.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/started.h"

#include "control/thread.h"
#include "core/sys.h"
#include "elastic/views/views.h"

#include <string.h>

#define MS 1000000ull

static struct shoal_world_request *first_of(struct shoal_world *world)
{
    struct shl_list *queue = &world->started.queue;
    return shl_list_empty(queue)
               ? NULL
               : SHL_CONTAINER_OF(queue->next, struct shoal_world_request, queued);
}

/* ---- carrying out -----------------------------------------------------------------------------
 */

/* lock */
static void end(struct shoal_world *world, struct shoal_world_request *request,
                enum shoal_status status)
{
    struct shl_started *started = &world->started;
    shl_list_remove(&request->queued);
    shl_views_give_input(world, &request->input);
    request->status = status;
    if (status != SHOAL_OK) {
        memcpy(request->text, shl_error_text(),
               strnlen(shl_error_text(), sizeof(request->text) - 1));
        if (started->failure == SHOAL_OK) {
            started->failure = status;
            memcpy(started->failure_text, request->text, sizeof(request->text));
        }
    }
    pthread_cond_broadcast(&world->changed);
}

/* calling, lock, which is given away meanwhile. Nobody else takes it from the queue. */
static void carry_first(struct shoal_world *world)
{
    struct shoal_world_request *first = first_of(world);
    world->started.carried = first;
    world->noted = &first->info;
    enum shoal_status status =
        first->is_mean ? shl_views_mean_locked(world, &first->call, first->weight, &first->input)
                       : shl_views_call_locked(world, &first->call, &first->input);
    world->started.carried = NULL;
    end(world, first, status);
    world->noted = &world->last;
}

void shl_started_drain(struct shoal_world *world)
{
    while (first_of(world))
        carry_first(world);
}

void shl_started_drop(struct shoal_world *world)
{
    struct shl_list *queue = &world->started.queue, *node = queue->next;
    while (node != queue) {
        struct shoal_world_request *request =
            SHL_CONTAINER_OF(node, struct shoal_world_request, queued);
        node = node->next;
        if (request != world->started.carried)
            end(world, request,
                shl_fail(SHOAL_ERR_STEP_RETRY, "the step was given up before it was begun"));
    }
}

enum shoal_status shl_started_failure(const struct shoal_world *world)
{
    const struct shl_started *started = &world->started;
    if (started->failure == SHOAL_OK)
        return SHOAL_OK;
    return shl_fail(started->failure, "of an operation that was started: %s; give the step up",
                    started->failure_text);
}

/* lock, which is given away meanwhile. */
static void drive(struct shoal_world *world)
{
    world->started.driven = true;
    shl_views_call_alone(world);
    if (first_of(world))
        carry_first(world);
    shl_views_called(world);
    world->started.driven = false;
    pthread_cond_broadcast(&world->changed);
}

static void *run(void *arg)
{
    struct shoal_world *world = arg;
    const struct shl_started *started = &world->started;
    pthread_mutex_lock(&world->lock);
    while (!started->stop) {
        if (first_of(world) && !started->driven)
            drive(world);
        else
            shl_views_wait(world, UINT64_MAX);
    }
    pthread_mutex_unlock(&world->lock);
    return NULL;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

/* lock */
static enum shoal_status need_thread(struct shoal_world *world)
{
    struct shl_started *started = &world->started;
    if (!started->running)
        SHL_TRY(shl_thread_start(&started->thread, "shoal-started", run, world));
    started->running = true;
    return SHOAL_OK;
}

/* Between steps a root or a shape may be gone when its turn comes, on some before it is begun and
 * on others after: their numbers would differ from then on. Within steps all begin again. */
static enum shoal_status check_place(const struct shoal_world *world, const struct shoal_call *call)
{
    if (world->ended)
        return shl_views_ended(world);
    if (world->log->in_step || world->log->retry || call->collective == SHOAL_ALLREDUCE ||
        call->collective == SHOAL_BARRIER)
        return SHOAL_OK;
    return shl_fail(SHOAL_ERR_UNSUPPORTED,
                    "%s cannot be started between steps, where its ranks may mean other members "
                    "before its turn comes; start it in a step, or call it",
                    shoal_collective_string(call->collective));
}

static enum shoal_status add(struct shoal_world *world, struct shoal_world_request *request)
{
    SHL_TRY(check_place(world, &request->call));
    SHL_TRY(need_thread(world));
    /* One that failed here alone, when its turn came, would leave its number to the next one. */
    SHL_TRY(shl_views_find_input(world, &request->call, request->is_mean, &request->input));
    shl_views_call_from(world);
    shl_list_append(&world->started.queue, &request->queued);
    shl_list_append(&world->started.all, &request->link);
    pthread_cond_broadcast(&world->changed);
    return SHOAL_OK;
}

enum shoal_status shl_started_add(struct shoal_world *world, const struct shoal_world_request *what,
                                  struct shoal_world_request **out)
{
    struct shoal_world_request *request = shl_mem->alloc(sizeof(*request));
    if (!request)
        return shl_fail_errno("cannot allocate a request");
    *request = *what;
    request->world = world;
    request->status = SHOAL_IN_PROGRESS;
    pthread_mutex_lock(&world->lock);
    enum shoal_status status = add(world, request);
    pthread_mutex_unlock(&world->lock);
    if (status != SHOAL_OK)
        shl_mem->free(request);
    else
        *out = request;
    return status;
}

static enum shoal_status outcome(struct shoal_world_request *request)
{
    if (request->status < 0)
        return shl_fail(request->status, "%s", request->text);
    if (request->status == SHOAL_OK && request->world)
        request->world->last = request->info;
    return request->status;
}

enum shoal_status shl_started_wait(struct shoal_world_request *request, uint32_t timeout_ms)
{
    struct shoal_world *world = request->world;
    if (!world)
        return outcome(request);
    bool endless = timeout_ms == UINT32_MAX;
    uint64_t until_ns = endless ? UINT64_MAX : timeout_ms ? shl_now_ns() + timeout_ms * MS : 0;
    pthread_mutex_lock(&world->lock);
    while (request->status == SHOAL_IN_PROGRESS) {
        if (endless && !world->started.driven)
            drive(world);
        else if (!until_ns || !shl_views_wait(world, until_ns))
            break;
    }
    enum shoal_status status = outcome(request);
    pthread_mutex_unlock(&world->lock);
    return status;
}

void shl_started_destroy(struct shoal_world_request *request)
{
    struct shoal_world *world = request->world;
    if (world) {
        shl_started_wait(request, UINT32_MAX);
        pthread_mutex_lock(&world->lock);
        shl_list_remove(&request->link);
        pthread_mutex_unlock(&world->lock);
    }
    shl_mem->free(request);
}

/* ---- life -------------------------------------------------------------------------------------
 */

void shl_started_init(struct shoal_world *world)
{
    shl_list_init(&world->started.queue);
    shl_list_init(&world->started.all);
}

void shl_started_detach(struct shoal_world *world)
{
    struct shl_started *started = &world->started;
    struct shl_list *node;
    pthread_mutex_lock(&world->lock);
    if (first_of(world)) /* interrupts the one under way; the others follow */
        shl_views_end(world, SHOAL_ERR_ABORTED, "the world was destroyed");
    shl_views_call_alone(world);
    shl_started_drain(world);
    started->stop = true;
    pthread_cond_broadcast(&world->changed);
    while ((node = shl_list_pop(&started->all)))
        SHL_CONTAINER_OF(node, struct shoal_world_request, link)->world = NULL;
    shl_views_exit(world);
    if (started->running)
        pthread_join(started->thread, NULL);
}
