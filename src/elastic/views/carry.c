/*
 * Carrying operations out, in the order of their numbers, in however many views that takes.
 *
 * The thread that called does all of it: its own operation, and before that what decisions left to
 * do. Since numbers and decisions are the same on all members, they all do the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/views/views.h"

#include <string.h>

#define MS 1000000ull
#define SUSPECT_MS 250   /* what the engine lost and the node has not noticed until then */
#define PATIENCE_MS 2000 /* more than silence takes: then nobody is lost */
#define ATTEMPTS 5 /* views in which an operation may fail for want of memory or connections */

/* ---- waiting ----------------------------------------------------------------------------------
 */

static enum shoal_status give_up_leaving(struct shoal_world *world)
{
    shl_views_end(world, SHOAL_ERR_TIMEOUT, "there was no boundary to leave at until the deadline");
    return shl_views_ended(world);
}

enum shoal_status shl_views_ready(struct shoal_world *world)
{
    bool learned = world->learning && !world->ended;
    if (learned)
        shl_views_caught_up(world);
    while (!world->ended && !(world->usable && !world->stopped)) {
        uint64_t until_ns = world->leave_ns ? world->leave_ns : UINT64_MAX;
        if (!shl_views_wait(world, until_ns) && shl_now_ns() >= until_ns && !world->ended)
            return give_up_leaving(world);
    }
    if (learned && !world->ended)
        shl_views_show(world);
    return world->ended ? shl_views_ended(world) : SHOAL_OK;
}

/* ---- once, in the view in force: without the lock ---------------------------------------------
 */

static enum shoal_status round_of(struct shoal_comm *comm)
{
    struct shoal_call barrier = {.struct_size = sizeof(barrier), .collective = SHOAL_BARRIER};
    return shl_request_run(comm, &barrier, comm->op_timeout_ms * MS);
}

static void divide_f32(float *to, const float *sums, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = sums[count] > 0 ? sums[i] / sums[count] : 0;
}

static void divide_f64(double *to, const double *sums, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = sums[count] > 0 ? sums[i] / sums[count] : 0;
}

/* Where all say that they leave, one has to take over what the others have: the first that cannot
 * be let go yet. It leaves in a later commit. */
static void list_leavers(struct shoal_world *world)
{
    struct shl_voters *leavers = &world->leavers;
    uint32_t leaving = 0, count = world->members.count, stays = 0;
    for (uint32_t i = count; i-- > 0;) {
        uint64_t vote = world->votes[SHL_VOTES * i + 2];
        leaving += vote != 0;
        if (vote == SHL_VOTE_LEAVES)
            stays = i;
    }
    leavers->count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (world->votes[SHL_VOTES * i + 2] && (leaving < count || i != stays))
            leavers->ids[leavers->count++] = world->members.at[i].id;
}

void shl_views_finish(struct shoal_world *world, struct shl_op *op)
{
    const struct shoal_call *call = &op->call;
    if (op->mean && call->dtype == SHOAL_F32)
        divide_f32(op->mean, call->recv, call->count - 1);
    else if (op->mean)
        divide_f64(op->mean, call->recv, call->count - 1);
    if (!op->votes)
        return;
    op->wanted = op->gained = 0;
    struct shl_voters *voting = &world->log->voting;
    voting->count = world->members.count;
    list_leavers(world);
    for (uint32_t i = 0; i < world->members.count; i++) {
        const uint64_t *vote = &world->votes[SHL_VOTES * i];
        voting->ids[i] = world->members.at[i].id;
        op->wanted = vote[0] > op->wanted ? vote[0] : op->wanted;
        op->gained += vote[1];
    }
}

void shl_views_note_last(struct shoal_world *world, const struct shl_op *op)
{
    if (op->seq == world->log->pinned)
        *world->noted = (struct shoal_op_info){
            .seq = op->seq, .epoch = op->epoch, .contributors = op->contributors};
}

/* Before its completion round: a decision may settle it there. */
static void note_held(struct shoal_world *world, struct shl_op *op)
{
    pthread_mutex_lock(&world->lock);
    op->held = true;
    shl_views_note_last(world, op);
    pthread_mutex_unlock(&world->lock);
}

static enum shoal_status run(struct shoal_world *world, struct shl_op *op, struct shoal_comm *comm)
{
    struct shoal_call call = op->call;
    if (op->shape && op->shape != shl_members_hash(&world->members))
        return shl_fail(SHOAL_ERR_EPOCH, "its shape is not that of epoch %llu",
                        (unsigned long long)world->epoch);
    if (op->root_id) {
        call.root = shl_members_find(&world->members, op->root_id);
        if (call.root == SHL_MEMBER_NONE)
            return shl_fail(SHOAL_ERR_EPOCH, "its root is no member of epoch %llu any more",
                            (unsigned long long)world->epoch);
    }
    if (op->task) {
        op->task->epoch = world->epoch;
        SHL_TRY(op->task->run(op->task->arg, comm, &world->members));
    } else {
        /* In place once: from then on the input is where it was copied to. */
        if (op->restores)
            call.send = op->input;
        op->restores = op->input != NULL;
        if (op->small)
            op->rounds = op->result_bytes > world->kept_bytes;
        SHL_TRY(shl_request_run(comm, &call, comm->op_timeout_ms * MS));
    }
    op->epoch = world->epoch;
    op->contributors = comm->size;
    shl_views_finish(world, op);
    if (!op->rounds)
        return SHOAL_OK;
    note_held(world, op);
    return round_of(comm);
}

void shl_views_keep(struct shoal_world *world, struct shl_op *op)
{
    uint8_t *to = world->log->kept;
    if (op->result_bytes == sizeof(uint64_t)) /* the shortest way for the shortest results */
        memcpy(to, op->call.recv, sizeof(uint64_t));
    else if (op->result_bytes)
        memcpy(to, op->call.recv, op->result_bytes);
    op->kept = true;
}

/* lock, which is given away meanwhile. */
static enum shoal_status run_unlocked(struct shoal_world *world, struct shl_op *op)
{
    struct shoal_comm *comm = world->comm;
    world->users++;
    shl_node_progress(world->node, world->epoch, world->log->started);
    pthread_mutex_unlock(&world->lock);
    enum shoal_status status = run(world, op, comm);
    pthread_mutex_lock(&world->lock);
    world->users--;
    if (!world->usable)
        pthread_cond_broadcast(&world->changed);
    return status;
}

/* lock, which is given away meanwhile. */
static enum shoal_status carry_once(struct shoal_world *world, struct shl_op *op)
{
    if (op->due == SHL_OP_FORWARD)
        return shl_views_take_forwarded(world, op);
    enum shoal_status status = run_unlocked(world, op);
    if (status != SHOAL_OK)
        return status;
    if (!op->rounds && !op->in_step)
        shl_views_keep(world, op);
    shl_views_note_last(world, op);
    shl_oplog_held(world->log, op, op->rounds);
    return SHOAL_OK;
}

/* ---- when it did not work ---------------------------------------------------------------------
 */

/* lock, which is given away meanwhile. Tell the node whom the engine lost. */
static void suspect_lost(struct shoal_world *world)
{
    struct shoal_comm *comm = world->comm;
    world->users++;
    pthread_mutex_unlock(&world->lock);
    for (uint32_t i = 0; i < comm->size; i++) {
        shl_token_take(comm->engine);
        bool lost =
            i != comm->rank && (comm->engine->peers[i].lost || comm->left_seq[i] != UINT64_MAX);
        shl_token_give(comm->engine);
        if (lost)
            shl_node_suspect(world->node, world->members.at[i].id);
    }
    pthread_mutex_lock(&world->lock);
    world->users--;
    pthread_cond_broadcast(&world->changed);
}

/* The view may be given up, and the next one be there, before a waiting thread runs again. */
static bool is_given_up(const struct shoal_world *world, uint64_t epoch)
{
    return !world->usable || world->ended || world->epoch != epoch;
}

/* lock: wait for the view of `epoch` to be given up. false: it was not. */
static bool await_fence(struct shoal_world *world, uint64_t epoch, uint64_t wait_ms)
{
    uint64_t until_ns = shl_now_ns() + wait_ms * MS;
    while (!is_given_up(world, epoch))
        if (!shl_views_wait(world, until_ns))
            break;
    return is_given_up(world, epoch);
}

void shl_views_decide(struct shoal_world *world)
{
    uint64_t epoch = world->epoch;
    pthread_mutex_unlock(&world->lock);
    shl_node_decide(world->node);
    pthread_mutex_lock(&world->lock);
    await_fence(world, epoch, world->options.world.recovery_timeout_ms);
}

/* Another may have been told OK. */
static bool is_uneven(const struct shoal_comm *comm)
{
    shl_token_take(comm->engine);
    bool uneven = comm->uneven;
    shl_token_give(comm->engine);
    return uneven;
}

/* Is it what all members are told? Not at a deadline that has passed here while another finished.
 */
static bool is_agreed(const struct shoal_world *world, enum shoal_status status)
{
    if (status == SHOAL_ERR_TIMEOUT)
        return !is_uneven(world->comm);
    return status != SHOAL_ERR_PEER && status != SHOAL_ERR_ABORTED && status != SHOAL_ERR_NOMEM;
}

/* lock, which is given away meanwhile: an error that the others know nothing of. What becomes of
 * the operation is for all to decide; mostly they do it again. */
static void decide_anew(struct shoal_world *world, struct shl_op *op, enum shoal_status status,
                        const char *text)
{
    uint64_t epoch = world->epoch;
    op->attempts++;
    shl_log(status == SHOAL_ERR_NOMEM ? SHL_LOG_WARN : SHL_LOG_INFO, "operation %llu, try %u: %s",
            (unsigned long long)op->seq, op->attempts, text);
    if (op->attempts < ATTEMPTS) {
        shl_views_decide(world);
        if (is_given_up(world, epoch))
            return;
    }
    shl_views_end(world, status, text);
}

/* lock, which is given away meanwhile: wait until the loss shows. false: it does not. */
static bool await_loss(struct shoal_world *world)
{
    uint64_t epoch = world->epoch;
    if (await_fence(world, epoch, SUSPECT_MS))
        return true;
    suspect_lost(world);
    return await_fence(world, epoch, PATIENCE_MS);
}

void shl_views_stumble(struct shoal_world *world, struct shl_op *op, enum shoal_status status)
{
    char text[SHL_WORLD_TEXT];
    if (!world->usable || world->ended)
        return;
    memcpy(text, shl_error_text(), strnlen(shl_error_text(), sizeof(text) - 1) + 1);
    text[sizeof(text) - 1] = '\0';
    if (!is_agreed(world, status)) {
        /* Where no loss shows, all members live and hear each other, but connections of the view
         * were given up, as after an outage that one side of them took for the end: the same
         * members make a new view. */
        bool may_be_loss = status == SHOAL_ERR_PEER || status == SHOAL_ERR_ABORTED;
        if (!may_be_loss || !await_loss(world))
            decide_anew(world, op, status, text);
        return;
    }
    /* Somebody's program may have gone on with a result, and not come back in time. */
    if (op->in_step && op->redone) {
        (void)shl_views_give_up(world);
        return;
    }
    shl_error_set(text);
    shl_oplog_failed(world->log, op, status);
}

static enum shoal_status outcome(const struct shl_op *op)
{
    if (!op || !op->failed)
        return SHOAL_OK;
    if (op->status == SHOAL_ERR_STEP_RETRY)
        return shl_fail(op->status, "members changed within the step; begin it again");
    if (op->status == SHOAL_ERR_EPOCH)
        return shl_fail(op->status,
                        "operation %llu was interrupted by a change of the view, which its %s not "
                        "survive; call it again",
                        (unsigned long long)op->seq,
                        op->root_id ? "root did" : "shape or input does");
    if (op->settled)
        return shl_fail(op->status, "operation %llu failed on others, in a view that is over",
                        (unsigned long long)op->seq);
    return op->status;
}

enum shoal_status shl_views_carry_out(struct shoal_world *world, struct shl_op *op)
{
    for (;;) {
        if (SHL_UNLIKELY(!world->usable || world->stopped || world->ended))
            SHL_TRY(shl_views_ready(world));
        struct shl_op *next = world->log->due ? shl_oplog_next(world->log) : NULL;
        if (!next)
            return outcome(op);
        enum shoal_status status = carry_once(world, next);
        if (status != SHOAL_OK)
            shl_views_stumble(world, next, status);
    }
}
