/*
 * Steps, leaving, and what a program asks about its view.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/views/views.h"

#define MS 1000000ull

/* The last member of a job has nobody to leave it to. */
static enum shoal_status leave_alone(struct shoal_world *world)
{
    shl_views_end(world, SHOAL_OK, "left");
    return shl_views_ended(world);
}

static enum shoal_status begin_locked(struct shoal_world *world, struct shoal_step *step)
{
    struct shl_oplog *log = world->log;
    SHL_TRY(shl_views_carry_out(world, NULL));
    if (world->leaving && world->members.count == 1)
        return leave_alone(world);
    if (shl_views_in_step(world))
        return shl_fail(SHOAL_ERR_INVALID, "step %llu is open already; commit it first",
                        (unsigned long long)log->step);
    bool pending = shl_behind_begin(world);
    if (!pending) {
        log->retry = false;
        pthread_mutex_unlock(&world->lock);
        shl_views_follow_begin(world);
        pthread_mutex_lock(&world->lock);
    }
    SHL_TRY(shl_views_follow(world));
    log->in_step = true;
    world->behind.between = false;
    world->started.failure = SHOAL_OK;
    shl_views_show(world);
    shl_streams_begin(world);
    *step = (struct shoal_step){.struct_size = step->struct_size,
                                .step = log->step + pending,
                                .position = log->position + (pending ? world->behind.samples : 0),
                                .epoch = world->epoch,
                                .rank = world->rank,
                                .size = world->members.count,
                                .joined = world->joined_since};
    world->joined_told = world->joined_since; /* told again, if this step is given up */
    shl_views_follow_begun(world, pending);
    return SHOAL_OK;
}

enum shoal_status shl_views_begin(struct shoal_world *world, struct shoal_step *step)
{
    shl_views_enter(world);
    shl_views_catch_up(world);
    enum shoal_status status = begin_locked(world, step);
    const struct shl_follower *follower = world->follower;
    if (status != SHOAL_OK && follower && follower->forget)
        follower->forget(follower->arg);
    shl_views_exit(world);
    return status;
}

enum shoal_status shl_views_give_up(struct shoal_world *world)
{
    struct shl_oplog *log = world->log;
    while (log->in_step) {
        SHL_TRY(shl_views_ready(world));
        if (!log->in_step)
            break;
        log->gives_up = true;
        shl_views_decide(world);
    }
    return shl_views_ready(world);
}

static enum shoal_status abort_locked(struct shoal_world *world)
{
    if (!shl_views_in_step(world) && !world->log->retry)
        return shl_fail(SHOAL_ERR_INVALID, "no step is open; begin one before it is given up");
    return shl_views_give_up(world);
}

/* Others may be long in coming to the operation that was started here and is under way: a change of
 * view takes it back. Those that are not begun never will be, even if a thread was about to. */
static void interrupt_started(struct shoal_world *world)
{
    const struct shl_started *started = &world->started;
    bool interrupts = false;
    pthread_mutex_lock(&world->lock);
    if (shl_views_in_step(world)) {
        interrupts = started->driven || started->carried;
        world->log->gives_up |= interrupts;
        shl_started_drop(world);
    }
    pthread_mutex_unlock(&world->lock);
    if (interrupts)
        shl_node_decide(world->node);
}

enum shoal_status shl_views_abort(struct shoal_world *world)
{
    interrupt_started(world);
    shl_views_seize(world);
    shl_views_call_from(world);
    bool is_between = world->log->in_step && !shl_views_in_step(world);
    if (!is_between) /* what was started then is of a step that is not given up */
        shl_started_drop(world);
    enum shoal_status status = abort_locked(world);
    shl_views_exit(world);
    return status;
}

/* Somebody waits to join or leave: all stop here, if all saw that in the same view. */
void shl_views_stop_at_boundary(struct shoal_world *world, uint64_t wanted)
{
    uint64_t epoch = world->epoch;
    if (!wanted || wanted != epoch || world->publish_asked)
        return;
    world->stopped = true;
    pthread_mutex_unlock(&world->lock);
    bool stopped = shl_node_boundary(world->node, wanted);
    pthread_mutex_lock(&world->lock);
    if (world->epoch == epoch && !world->publish_asked && !stopped) {
        world->stopped = false;
        pthread_cond_broadcast(&world->changed);
    }
}

/* lock, which is given away meanwhile: from now on this member is let go at any boundary. With
 * sharded state it says so in its votes before, and again in each until it is gone, so that it
 * never goes with anything that it has not handed over. */
static void tell_leaving(struct shoal_world *world)
{
    if (world->leave_told || world->ended)
        return;
    world->leave_told = true;
    pthread_mutex_unlock(&world->lock);
    shl_node_leave(world->node);
    pthread_mutex_lock(&world->lock);
}

static bool is_leaver(const struct shoal_world *world)
{
    uint64_t self = shl_node_id(world->node);
    for (uint32_t i = 0; i < world->leavers.count; i++)
        if (world->leavers.ids[i] == self)
            return true;
    return false;
}

/* lock, which is given away meanwhile. Whoever could not hand over stays, and tries again with the
 * next commit, but not for ever. */
void shl_views_let_leavers_go(struct shoal_world *world)
{
    bool handed = shl_views_follow_leavers(world) == SHOAL_OK;
    bool late = world->leave_ns && shl_now_ns() >= world->leave_ns;
    if ((handed || late) && is_leaver(world))
        tell_leaving(world);
}

enum shoal_status shl_views_vote(struct shoal_world *world, struct shl_ballot *ballot)
{
    struct shl_oplog *log = world->log;
    struct shl_op *op;
    SHL_TRY(shl_oplog_begin(log, true, &op));
    op->is_commit = ballot->commits;
    op->late = ballot->late;
    op->leaves_open = ballot->leaves_open;
    op->earned = world->behind.samples;
    op->vote[0] = shl_node_wanted(world->node);
    op->vote[1] = ballot->samples;
    op->vote[2] = world->leaving ? SHL_VOTE_LEAVES + world->leave_told : 0;
    op->rounds = true;
    op->call = (struct shoal_call){.struct_size = sizeof(op->call),
                                   .collective = SHOAL_ALLGATHER,
                                   .dtype = SHOAL_U8,
                                   .count = sizeof(op->vote),
                                   .send = op->vote,
                                   .recv = world->votes};
    enum shoal_status status = shl_views_carry_out(world, op);
    ballot->wanted = op->wanted;
    ballot->gained = op->gained;
    ballot->epoch = op->epoch;
    shl_oplog_unpin(log);
    return status;
}

static enum shoal_status commit_locked(struct shoal_world *world, uint64_t samples)
{
    struct shl_ballot ballot = {.samples = samples, .commits = true};
    SHL_TRY(shl_views_follow_refresh(world));
    SHL_TRY(shl_views_vote(world, &ballot));
    world->joined_since -= world->joined_told;
    world->joined_told = 0;
    enum shoal_status status = shl_streams_commit(world);
    shl_views_let_leavers_go(world);
    shl_views_stop_at_boundary(world, ballot.wanted);
    return status;
}

static enum shoal_status check_open(struct shoal_world *world)
{
    SHL_TRY(shl_views_carry_out(world, NULL));
    if (world->log->retry || shl_views_drop_stale(world))
        return shl_fail(SHOAL_ERR_STEP_RETRY, "members changed within the step; begin it again");
    if (!shl_views_in_step(world))
        return shl_fail(SHOAL_ERR_INVALID, "no step is open; begin one before it is committed");
    return shl_started_failure(world);
}

enum shoal_status shl_views_commit(struct shoal_world *world, uint64_t samples)
{
    shl_views_enter(world);
    uint64_t before = world->log->step;
    bool behind = (world->follower && world->follower->behind) || shl_behind_is_pending(world);
    enum shoal_status status = check_open(world);
    if (status == SHOAL_OK)
        status = behind ? shl_behind_commit(world, samples) : commit_locked(world, samples);
    bool committed = !behind && world->log->step != before; /* also if that is all that went well */
    if (committed) {
        pthread_mutex_unlock(&world->lock);
        shl_views_follow_committed(world);
        pthread_mutex_lock(&world->lock);
    }
    shl_views_exit(world);
    return status;
}

enum shoal_status shl_views_leave(struct shoal_world *world, uint32_t deadline_ms)
{
    pthread_mutex_lock(&world->lock);
    world->leaving = true;
    world->leave_ns = deadline_ms ? shl_now_ns() + deadline_ms * MS : 0;
    pthread_cond_broadcast(&world->changed);
    if (!world->follower || !world->follower->on_loss)
        tell_leaving(world);
    pthread_mutex_unlock(&world->lock);
    return SHOAL_OK;
}

void shl_views_look(struct shoal_world *world, struct shoal_view *view)
{
    pthread_mutex_lock(&world->lock);
    *view = (struct shoal_view){.struct_size = view->struct_size,
                                .epoch = world->epoch,
                                .rank = world->rank,
                                .size = world->members.count,
                                .joined = world->joined,
                                .lost = world->lost,
                                .left = world->ended && world->end_status == SHOAL_OK,
                                .ended = world->ended,
                                .step = world->log->step,
                                .position = world->log->position};
    /* Another thread that looks must not change what the ranks and sizes of a call mean. */
    if (!shl_views_in_step(world) && shl_views_is_caller(world))
        shl_views_show(world);
    pthread_mutex_unlock(&world->lock);
}
