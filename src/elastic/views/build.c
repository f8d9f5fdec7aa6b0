/*
 * The thread that takes views down and makes the next ones, so that neither the node nor a program
 * that computes holds that up.
 *
 * Invariant: a fence is reported only when nothing of the former view can reach this process's
 * memory any more: callers are out of the engine, its transports are closed, and evicted processes
 * that mapped memory of this host have ended.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/views/views.h"

#include <stdio.h>
#include <string.h>

#define MS 1000000ull
#define KILL_MS 1000     /* for all of them: a process that is killed ends at once, mostly */
#define ROUND_WEIGHT 2   /* a call costs more than its messages */
#define PATIENCE_MS 3000 /* with a view that could not be formed, until the cause shows */

/* ---- down -------------------------------------------------------------------------------------
 */

/* lock, which is given away meanwhile. */
static void take_down(struct shoal_world *world, bool cut)
{
    world->usable = false;
    while (world->users)
        shl_views_wait(world, UINT64_MAX);
    struct shoal_comm *comm = world->comm;
    if (!comm)
        return;
    world->costs = comm->engine->costs;
    world->forming = NULL; /* nobody else cuts it from here on */
    struct shl_follower *follower = world->follower;
    world->parting = true; /* the follower stays meanwhile */
    pthread_mutex_unlock(&world->lock);
    if (cut)
        shl_world_cut(comm->world, "the view is changing");
    if (follower && follower->abandon)
        follower->abandon(follower->arg);
    shl_world_leave(comm);
    pthread_mutex_lock(&world->lock);
    world->comm = NULL;
    world->parting = false;
    pthread_cond_broadcast(&world->changed);
}

/* Members that the proposal evicts; those that leave do so by themselves. */
static void kill_evicted(struct shoal_world *world)
{
    const struct shl_record *record = world->prepared;
    uint64_t ids[SHL_MEMBERS_MAX];
    uint32_t count = 0;
    if (!(world->options.config->transport & 1)) /* shm */
        return;
    for (uint32_t i = 0; i < record->view.count; i++)
        if (!record->view.at[i].leaving && record->view.at[i].id != shl_node_id(world->node) &&
            shl_members_find(&record->next, record->view.at[i].id) == SHL_MEMBER_NONE)
            ids[count++] = record->view.at[i].id;
    bool in = shl_members_find(&record->next, shl_node_id(world->node)) != SHL_MEMBER_NONE;
    pthread_mutex_unlock(&world->lock);
    uint64_t until_ns = shl_now_ns() + KILL_MS * MS;
    for (uint32_t i = 0; in && i < count; i++)
        if (!shl_node_kill(world->node, ids[i], until_ns))
            shl_log(SHL_LOG_WARN, "evicted member %016llx may still write into shared memory",
                    (unsigned long long)ids[i]);
    pthread_mutex_lock(&world->lock);
}

static void fence(struct shoal_world *world)
{
    struct shl_report report;
    uint64_t epoch = world->prepared->epoch;
    world->fence_asked = false;
    take_down(world, true);
    kill_evicted(world);
    shl_oplog_report(world->log, &world->prepared->next, &report);
    pthread_mutex_unlock(&world->lock);
    shl_node_fenced(world->node, epoch, &report);
    pthread_mutex_lock(&world->lock);
}

/* ---- up ---------------------------------------------------------------------------------------
 */

static bool given_up(const struct shoal_world *world)
{
    return world->fence_asked || world->stop || world->ended;
}

/* Of the view's world: everybody's blob, over the sessions of the node. */
static enum shoal_status exchange(void *arg, const void *blob, size_t blob_bytes,
                                  uint64_t deadline_ns, struct shl_rendezvous_result *result)
{
    struct shoal_world *world = arg;
    bool all = false;
    uint64_t epoch = world->published->view_epoch;
    pthread_mutex_lock(&world->lock);
    size_t bytes = shl_views_put_told(world, blob, blob_bytes);
    pthread_mutex_unlock(&world->lock);
    enum shoal_status status = shl_node_tell(world->node, epoch, world->told, bytes);
    pthread_mutex_lock(&world->lock);
    while (status == SHOAL_OK && !all) {
        uint64_t news = world->news;
        pthread_mutex_unlock(&world->lock);
        all = shl_node_blobs(world->node, epoch, &world->members, result, &status);
        pthread_mutex_lock(&world->lock);
        while (!all && status == SHOAL_OK && world->news == news) {
            if (given_up(world))
                status = shl_fail(SHOAL_ERR_ABORTED, "the view changed while it was formed");
            else if (!shl_views_wait(world, deadline_ns))
                status = shl_fail(SHOAL_ERR_ABSENT, "not all of the %u members of epoch %llu came",
                                  world->members.count, (unsigned long long)epoch);
        }
    }
    if (status == SHOAL_OK)
        status = shl_views_take_told(world, result);
    /* Frames of one view are no frames of another, also of another job's life. */
    result->epoch = epoch;
    result->incarnation = world->published->writer ^ (world->published->proposal << 32 | 1u);
    pthread_mutex_unlock(&world->lock);
    return status;
}

static void exists(void *arg, struct shl_world *formed)
{
    struct shoal_world *world = arg;
    pthread_mutex_lock(&world->lock);
    world->forming = formed;
    if (formed && given_up(world))
        shl_world_cut(formed, "the view changed while it was formed");
    pthread_mutex_unlock(&world->lock);
}

static enum shoal_status form(struct shoal_world *world, bool measured, struct shoal_comm **comm)
{
    const struct shoal_world_options *given = &world->options.world;
    struct shl_world_options options = {
        .config = world->options.config,
        .heap = world->options.heap,
        .memory = world->options.memory,
        .rank = world->rank,
        .size = world->members.count,
        .rendezvous = "",
        .job = world->job,
        .init_timeout_ms = given->join_timeout_ms,
        .op_timeout_ms = given->op_timeout_ms,
        .arg = world,
        .exchange = exchange,
        .exists = exists,
        .costs = measured ? &world->costs : NULL,
    };
    return shl_world_join(&options, comm);
}

/* lock: who is new and who is gone. */
static enum shoal_status adopt_members(struct shoal_world *world)
{
    const struct shl_record *record = world->published;
    enum shoal_status status = SHOAL_OK;
    bool first = !world->epoch;
    uint32_t stay = 0;
    for (uint32_t i = 0; i < record->view.count; i++)
        stay += shl_members_find(&world->members, record->view.at[i].id) != SHL_MEMBER_NONE;
    world->lost = first ? 0 : world->members.count - stay;
    world->joined = record->view.count - stay;
    shl_members_copy(&world->members, &record->view);
    world->rank = shl_members_find(&world->members, shl_node_id(world->node));
    world->epoch = record->view_epoch;
    world->stopped = false;
    world->joined_due |= world->joined > 0;
    world->lost_due |= world->lost > 0;
    if (world->joined)
        world->joined_epoch = world->epoch;
    if (world->joined || world->lost)
        world->changed_epoch = world->epoch;
    if (world->joined)
        world->joined_since += world->joined;
    if (first)
        shl_oplog_enter(world->log, record->mode, &record->decision);
    else
        status = shl_oplog_follow(world->log, &record->decision);
    /* After a loss below the least size joiners come at any time. Who has begun a step and called
     * nothing in it may be alone in that: it was told of fewer joiners than the others will be. */
    if (!first && world->joined)
        shl_oplog_void_step(world->log);
    shl_streams_adopt(world, first);
    return status;
}

/* It could not be formed: mostly because of a loss that the others will notice too. */
static void failed(struct shoal_world *world, enum shoal_status status)
{
    char text[SHL_WORLD_TEXT];
    uint64_t until_ns = shl_now_ns() + PATIENCE_MS * MS;
    snprintf(text, sizeof(text), "epoch %llu could not be formed: %.400s",
             (unsigned long long)world->epoch, shl_error_text());
    shl_log(SHL_LOG_INFO, "%s", text);
    while (!given_up(world) && !world->publish_asked)
        if (!shl_views_wait(world, until_ns))
            break;
    if (given_up(world) || world->publish_asked)
        return;
    shl_views_end(world, status, text);
}

void shl_views_give_ops(struct shoal_world *world, struct shoal_comm *comm)
{
    shl_token_take(comm->engine);
    memcpy(comm->user_ops, world->user_ops, sizeof(comm->user_ops));
    comm->user_op_count = world->user_op_count;
    shl_token_give(comm->engine);
}

/* Up to this size a copy of the result takes less than a round would: all members of a view have
 * the same costs, so they decide alike. */
static size_t kept_bytes(const struct shoal_comm *comm)
{
    const struct shl_costs *costs = &comm->engine->costs;
    double alpha_s = comm->hosts.host_count > 1 ? costs->alpha_net_s : costs->alpha_local_s;
    double round_s = 0;
    for (uint32_t reached = 1; reached < comm->size; reached *= 2)
        round_s += ROUND_WEIGHT * alpha_s;
    double bytes = round_s / costs->gamma_s_per_byte;
    return bytes < SHL_OPLOG_KEPT_BYTES ? (size_t)bytes : SHL_OPLOG_KEPT_BYTES;
}

static void build(struct shoal_world *world)
{
    struct shoal_comm *comm = NULL;
    world->publish_asked = false;
    take_down(world, true); /* a learner's first view, or nothing */
    if (adopt_members(world) != SHOAL_OK) {
        shl_views_end(world, SHOAL_ERR_EPOCH, shl_error_text());
        return;
    }
    bool measured = world->published->decision.started > 0; /* all see that alike */
    pthread_mutex_unlock(&world->lock);
    enum shoal_status status = form(world, measured, &comm);
    pthread_mutex_lock(&world->lock);
    if (status != SHOAL_OK) {
        world->forming = NULL;
        failed(world, status);
        return;
    }
    world->comm = comm;
    world->kept_bytes = kept_bytes(comm);
    shl_views_give_ops(world, comm);
    world->usable = !given_up(world);
    if (world->usable)
        atomic_store(&world->epoch_now, world->epoch);
    pthread_cond_broadcast(&world->changed);
}

/* After the view: whoever sees this member's socket closed need not end its process. */
static void resign(struct shoal_world *world)
{
    world->resigned = true;
    pthread_mutex_unlock(&world->lock);
    shl_node_resign(world->node);
    pthread_mutex_lock(&world->lock);
}

void *shl_views_build(void *arg)
{
    struct shoal_world *world = arg;
    pthread_mutex_lock(&world->lock);
    while (!world->stop) {
        if (world->ended && world->comm)
            take_down(world, true); /* others may have told something meanwhile */
        else if (world->ended && !world->resigned)
            resign(world);
        else if (!world->ended && world->publish_asked)
            build(world);
        else if (!world->ended && world->fence_asked)
            fence(world);
        else
            shl_views_wait(world, UINT64_MAX);
    }
    take_down(world, world->ended);
    if (!world->resigned)
        resign(world);
    pthread_mutex_unlock(&world->lock);
    return NULL;
}
