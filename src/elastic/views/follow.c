/*
 * Where state that follows the members is called: before a step begins, while it is committed.
 *
 * Settling is an operation like the program's, so all members do it as the same number, and it
 * survives losses as they do. It is due on all alike: the flags are set when a view with other
 * members is adopted, and cleared where the operation was done in it or in a later one.
 *
 * A member that has begun a step and called nothing in it may be alone in that when others are
 * lost: nobody else can know. It begins again, as the others do who settle first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "elastic/views/views.h"

enum shoal_status shl_views_attach(struct shoal_world *world, struct shl_follower *follower)
{
    enum shoal_status status = SHOAL_OK;
    shl_views_seize(world);
    if (world->follower)
        status = shl_fail(SHOAL_ERR_BUSY, "the world has its state already; destroy that first");
    else if (world->log->in_step)
        status = shl_fail(
            SHOAL_ERR_INVALID,
            "step %llu is open, or not safe (shoal_state_flush); create state between steps",
            (unsigned long long)world->log->step);
    else {
        world->follower = follower;
        world->joined_due = true; /* it is new to all */
    }
    shl_views_exit(world);
    return status;
}

void shl_views_detach(struct shoal_world *world)
{
    shl_views_seize(world);
    struct shl_follower *follower = world->follower;
    while (world->parting)
        shl_views_wait(world, UINT64_MAX);
    if (follower && follower->abandon) {
        world->users++;
        pthread_mutex_unlock(&world->lock);
        follower->abandon(follower->arg);
        pthread_mutex_lock(&world->lock);
        world->users--;
        pthread_cond_broadcast(&world->changed);
    }
    world->follower = NULL;
    shl_views_exit(world);
}

/* lock, which is given away meanwhile. */
static enum shoal_status carry_task(struct shoal_world *world, struct shl_task *task)
{
    struct shl_op *op;
    SHL_TRY(shl_oplog_begin(world->log, false, &op));
    op->task = task;
    op->rounds = !op->in_step;
    op->call = (struct shoal_call){.struct_size = sizeof(op->call), .collective = SHOAL_BARRIER};
    enum shoal_status status = shl_views_carry_out(world, op);
    shl_oplog_unpin(world->log);
    return status;
}

static enum shoal_status task_locked(struct shoal_world *world, struct shl_task *task,
                                     bool in_steps)
{
    SHL_TRY(shl_views_carry_out(world, NULL));
    if (world->log->retry || shl_views_drop_stale(world))
        return shl_fail(SHOAL_ERR_STEP_RETRY, "members changed within the step; begin it again");
    if (shl_views_in_step(world) && (!in_steps || world->log->mode != SHL_STEP_ABORT))
        return shl_fail(SHOAL_ERR_INVALID, "step %llu is open; do this between steps",
                        (unsigned long long)world->log->step);
    return carry_task(world, task);
}

enum shoal_status shl_views_task(struct shoal_world *world, struct shl_task *task, bool in_steps)
{
    shl_views_enter(world);
    enum shoal_status status = task_locked(world, task, in_steps);
    shl_views_exit(world);
    return status;
}

void shl_views_follow_begin(struct shoal_world *world)
{
    struct shl_follower *follower = world->follower;
    if (follower && follower->open)
        follower->begin(follower->arg);
    if (follower)
        follower->open = false;
}

static bool is_due(const struct shoal_world *world)
{
    const struct shl_follower *follower = world->follower;
    return follower && (world->joined_due || (world->lost_due && follower->on_loss));
}

enum shoal_status shl_views_follow(struct shoal_world *world)
{
    struct shl_follower *follower = world->follower;
    while (is_due(world)) {
        enum shoal_status carried = carry_task(world, &follower->settle);
        if (carried == SHOAL_ERR_EPOCH && !world->ended)
            continue; /* interrupted: members changed again */
        SHL_TRY(carried);
        /* Each by its own: a member that was told before a loss that all was settled does not do it
         * again, so those that the change of the view tells it must not either. */
        if (follower->settle.epoch >= world->joined_epoch)
            world->joined_due = false;
        if (follower->settle.epoch >= world->changed_epoch)
            world->lost_due = false;
        pthread_mutex_unlock(&world->lock);
        enum shoal_status status = follower->settled(follower->arg);
        pthread_mutex_lock(&world->lock);
        world->lost_due |= status != SHOAL_OK;
        SHL_TRY(status);
        SHL_TRY(shl_views_carry_out(world, NULL)); /* the view may be changing */
    }
    return SHOAL_OK;
}

bool shl_views_drop_stale(struct shoal_world *world)
{
    struct shl_oplog *log = world->log;
    if (!log->in_step || !is_due(world))
        return false;
    shl_oplog_void_step(log);
    return true;
}

enum shoal_status shl_views_follow_refresh(struct shoal_world *world)
{
    struct shl_follower *follower = world->follower;
    if (!follower || !follower->refresh.run)
        return SHOAL_OK;
    SHL_TRY(carry_task(world, &follower->refresh));
    if (world->log->retry)
        return shl_fail(SHOAL_ERR_STEP_RETRY, "members changed within the step; begin it again");
    return SHOAL_OK;
}

/* Whether there is anything to do, and for whom, is in the votes of the commit: alike on all. That
 * it does not work is no error of the commit: all have what they had. */
enum shoal_status shl_views_follow_leavers(struct shoal_world *world)
{
    struct shl_follower *follower = world->follower;
    if (!follower || !follower->on_loss || !world->leavers.count)
        return SHOAL_OK;
    pthread_mutex_unlock(&world->lock);
    shl_views_follow_committed(world);
    pthread_mutex_lock(&world->lock);
    enum shoal_status status = carry_task(world, &follower->hand_over);
    if (status == SHOAL_OK) {
        pthread_mutex_unlock(&world->lock);
        status = follower->handed(follower->arg);
        pthread_mutex_lock(&world->lock);
    }
    if (status != SHOAL_OK)
        shl_log(SHL_LOG_WARN, "members that leave have handed nothing over yet: %s",
                shl_error_text());
    return status;
}

void shl_views_follow_begun(struct shoal_world *world, bool pending)
{
    struct shl_follower *follower = world->follower;
    if (!follower)
        return;
    follower->open = true;
    if (!follower->begun)
        return;
    pthread_mutex_unlock(&world->lock);
    follower->begun(follower->arg, pending);
    pthread_mutex_lock(&world->lock);
}

void shl_views_follow_committed(struct shoal_world *world)
{
    struct shl_follower *follower = world->follower;
    if (!follower || !follower->open)
        return;
    follower->committed(follower->arg);
    follower->open = false;
}
