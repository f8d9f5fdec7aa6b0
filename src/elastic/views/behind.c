/*
 * Steps that last one commit later, so that the state that they made is made safe while the program
 * computes the next one.
 *
 * The program ends step k: what it made is kept, and its refresh begins. To the log step k is still
 * open, and what the program does next belongs to it, so a loss gives both up by the rules that
 * hold for one step: all members go back to the end of step k - 1, which is safe, and the samples
 * of both return. When the program ends step k + 1, the refresh of k is waited for, and k is
 * committed, by an operation that brings the votes of k + 1.
 *
 * Where somebody waits to join or leave, the step that ends is made safe at once, so that members
 * change at a boundary as ever. All members see that in the same votes.
 *
 * Invariant: the log's step, and its position, count what is safe.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "elastic/views/views.h"

#include <stdio.h>

bool shl_behind_is_pending(const struct shoal_world *world)
{
    return world->behind.pending && world->log->in_step;
}

bool shl_views_in_step(const struct shoal_world *world)
{
    return world->log->in_step && !(world->behind.pending && world->behind.between);
}

bool shl_behind_begin(struct shoal_world *world)
{
    struct shl_behind *behind = &world->behind;
    if (shl_behind_is_pending(world) && !shl_views_drop_stale(world))
        return true;
    if (behind->pending) {
        shl_streams_rewind(world);
        world->joined_since += behind->joined; /* told again */
    }
    *behind = (struct shl_behind){.pending = false};
    return false;
}

/* It is safe. */
static void end_pending(struct shoal_world *world)
{
    struct shl_follower *follower = world->follower;
    world->behind = (struct shl_behind){.pending = false};
    shl_streams_keep(world);
    if (!follower) /* its state was destroyed */
        return;
    pthread_mutex_unlock(&world->lock);
    follower->committed(follower->arg);
    pthread_mutex_lock(&world->lock);
}

/* lock, which is given away meanwhile. Nobody waits for it. All members begin it in the view in
 * which they voted, right after that, or that view is over for all. */
static void start_refresh(struct shoal_world *world, uint64_t epoch)
{
    struct shl_follower *follower = world->follower;
    char text[SHL_WORLD_TEXT];
    if (!world->usable || world->epoch != epoch || world->ended)
        return;
    world->users++;
    struct shoal_comm *comm = world->comm;
    pthread_mutex_unlock(&world->lock);
    enum shoal_status status = follower->start(follower->arg, comm, &world->members);
    pthread_mutex_lock(&world->lock);
    world->users--;
    pthread_cond_broadcast(&world->changed);
    if (status == SHOAL_OK)
        return;
    snprintf(text, sizeof(text), "%s", shl_error_text());
    shl_log(SHL_LOG_WARN, "copies of the state are not refreshed yet: %s", text);
    if (status == SHOAL_ERR_PEER || status == SHOAL_ERR_ABORTED) /* the view is over */
        return;
    shl_views_decide(world); /* the others wait for it in this view */
    if (world->usable && world->epoch == epoch && !world->ended)
        shl_views_end(world, status, text);
}

static enum shoal_status begin_again(void)
{
    return shl_fail(SHOAL_ERR_STEP_RETRY, "members changed within the step; begin it again");
}

/* The step before is made safe, if there is one, and all tell of this one. */
static enum shoal_status vote(struct shoal_world *world, struct shl_ballot *ballot)
{
    ballot->late = ballot->commits = shl_behind_is_pending(world);
    if (ballot->late)
        SHL_TRY(shl_views_follow_refresh(world));
    SHL_TRY(shl_views_vote(world, ballot));
    if (ballot->late)
        end_pending(world);
    if (world->log->retry) /* others had begun what comes next, which is of this step */
        return begin_again();
    return SHOAL_OK;
}

/* Make the step safe that the program has ended, and let members come and go. */
static enum shoal_status drain(struct shoal_world *world)
{
    struct shl_ballot ballot = {.leaves_open = false};
    SHL_TRY(shl_views_carry_out(world, NULL));
    if (world->log->retry || shl_views_drop_stale(world) || !shl_behind_is_pending(world))
        return begin_again();
    SHL_TRY(vote(world, &ballot));
    if (world->follower)
        world->follower->open = false;
    shl_views_let_leavers_go(world);
    shl_views_stop_at_boundary(world, ballot.wanted);
    return SHOAL_OK;
}

/* The program's step is over, and safe one commit later if it cannot be now: until then nobody
 * comes or goes. */
static enum shoal_status drain_early(struct shoal_world *world)
{
    enum shoal_status status = drain(world);
    if (status == SHOAL_OK || world->ended || world->log->retry || !shl_behind_is_pending(world))
        return status;
    shl_log(SHL_LOG_WARN, "a step is not safe before the next one is committed: %s",
            shl_error_text());
    return SHOAL_OK;
}

enum shoal_status shl_behind_commit(struct shoal_world *world, uint64_t samples)
{
    struct shl_ballot ballot = {.samples = samples, .leaves_open = true};
    struct shl_follower *follower = world->follower;
    SHL_TRY(vote(world, &ballot));
    world->behind = (struct shl_behind){
        .pending = true, .between = true, .samples = ballot.gained, .joined = world->joined_told};
    world->joined_since -= world->joined_told;
    world->joined_told = 0;
    enum shoal_status moved = shl_streams_advance(world);
    if (follower) {
        pthread_mutex_unlock(&world->lock);
        follower->keep(follower->arg);
        pthread_mutex_lock(&world->lock);
    }
    if (!follower || ballot.wanted || world->leavers.count || world->members.count == 1)
        SHL_TRY(drain_early(world));
    else
        start_refresh(world, ballot.epoch);
    return moved;
}

static enum shoal_status flush_locked(struct shoal_world *world)
{
    SHL_TRY(shl_views_carry_out(world, NULL));
    if (shl_views_in_step(world))
        return shl_fail(SHOAL_ERR_INVALID, "step %llu is open; commit it first",
                        (unsigned long long)world->log->step + world->behind.pending);
    return world->behind.pending ? drain(world) : SHOAL_OK;
}

enum shoal_status shl_views_flush(struct shoal_world *world)
{
    shl_views_enter(world);
    enum shoal_status status = flush_locked(world);
    shl_views_exit(world);
    return status;
}
