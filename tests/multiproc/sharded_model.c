/*
 * See sharded_model.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/sharded_model.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANGES 512

struct sharded_job *shared;
const char *const sharded_shm[] = {"SHOAL_TRANSPORT=shm", "SHOAL_LOG_LEVEL=off", NULL};
const char *const sharded_tcp[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", NULL};

struct model {
    struct shoal_state *state;
    double *big;
    float *small;
    struct shoal_state_range ranges[RANGES];
    int64_t send[2], recv[2];
    bool stop;
    void *fill[64]; /* all that was left of the shared memory */
    uint32_t fills;
};

static bool wrong(struct member *self, const char *what, uint64_t step, uint64_t i, double value)
{
    finding_keep(&shared->told[self->slot].finding, what, step, i, value);
    return false;
}

/* ---- a member ----------------------------------------------------------------------------------
 */

static int open_model(struct member *self, struct model *model)
{
    struct shoal_state_options options = {
        .struct_size = sizeof(options), .shards = SHARDS, .replicas = shared->replicas};
    model->big = malloc(FLOATS * sizeof(double));
    model->small = malloc(SMALL * sizeof(float));
    for (uint64_t i = 0; i < FLOATS; i++)
        model->big[i] = self->report->rank < self->job->start ? finding_big_value(0, i) : -1;
    for (uint64_t i = 0; i < SMALL; i++)
        model->small[i] = finding_small_value(0, i);
    int status = shoal_state_create(self->world, &options, &model->state);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "big", model->big, FLOATS, SHOAL_F64,
                                   SHOAL_STATE_SHARDED);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "small", model->small, SMALL, SHOAL_F32,
                                   SHOAL_STATE_SHARDED);
    return status;
}

static size_t owned(struct model *model, const char *name)
{
    size_t count = 0;
    if (shoal_state_owned(model->state, name, model->ranges, RANGES, &count) != SHOAL_OK)
        abort();
    return count;
}

/* What this member owns is that of the committed steps; change it for the next. */
static bool update(struct member *self, struct model *model, uint64_t step)
{
    uint64_t elements = 0;
    size_t count = owned(model, "big");
    for (size_t r = 0; r < count; r++)
        for (uint64_t i = model->ranges[r].first, k = 0; k < model->ranges[r].count; k++, i++) {
            elements++;
            if (model->big[i] != finding_big_value(step, i))
                return wrong(self, "big", step, i, model->big[i]);
            model->big[i] = finding_big_value(step + 1, i);
        }
    count = owned(model, "small");
    for (size_t r = 0; r < count; r++)
        for (uint64_t i = model->ranges[r].first, k = 0; k < model->ranges[r].count; k++, i++) {
            if (model->small[i] != finding_small_value(step, i))
                return wrong(self, "small", step, i, (double)model->small[i]);
            model->small[i] = finding_small_value(step + 1, i);
        }
    shared->told[self->slot].owned = elements;
    return true;
}

/* Nobody has them: the program knows what they were. */
static void restore(struct member *self, struct model *model, uint64_t step)
{
    static struct shoal_state_loss losses[2 * RANGES];
    size_t count = 0;
    shoal_state_lost(model->state, losses, 2 * RANGES, &count);
    for (size_t r = 0; r < count; r++)
        for (uint64_t k = 0, i = losses[r].first; k < losses[r].count; k++, i++) {
            shared->told[self->slot].lost_elements++;
            if (strcmp(losses[r].name, "big") == 0)
                model->big[i] = finding_big_value(step, i);
            else
                model->small[i] = finding_small_value(step, i);
        }
    shared->told[self->slot].lost++;
}

/* All elements of all owners, each of the same version. */
static int look_at_all(struct member *self, struct model *model, uint64_t step)
{
    int status = shoal_state_gather(model->state, "big");
    for (uint64_t i = 0; i < FLOATS && status == SHOAL_OK; i++)
        if (model->big[i] != finding_big_value(step, i) &&
            !wrong(self, "gathered", step, i, model->big[i]))
            return SHOAL_ERR_INTERNAL;
    return status;
}

static void tell(struct member *self, struct model *model)
{
    struct told *told = &shared->told[self->slot];
    struct shoal_state_info info = {.struct_size = sizeof(info)};
    shoal_state_info(model->state, &info);
    told->moved = info.bytes_moved;
    told->handed = info.bytes_handed;
    told->settled = info.settled;
    told->refreshed = info.refresh_bytes;
    told->received = info.bytes_received;
}

/* Memory that is never touched costs nothing, so all there is can be had. */
static void fill_memory(struct member *self, struct model *model)
{
    bool lacks = shared->lacks == self->slot + 1;
    if (lacks == (model->fills > 0))
        return;
    for (size_t bytes = (size_t)1 << 46; lacks && bytes >= 4096; bytes /= 2)
        while (model->fills < 64 &&
               shoal_mem_alloc(self->context, bytes, &model->fill[model->fills]) == SHOAL_OK)
            model->fills++;
    while (!lacks && model->fills > 0)
        if (shoal_mem_free(self->context, model->fill[--model->fills]) != SHOAL_OK)
            abort();
}

static int train(struct member *self, struct model *model)
{
    fill_memory(self, model);
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(self->world, &step);
    struct shoal_view view = {.struct_size = sizeof(view)};
    shoal_world_view(self->world, &view);
    if (status == SHOAL_ERR_STATE_LOST) {
        restore(self, model, view.step);
        return SHOAL_OK;
    }
    if (status != SHOAL_OK)
        return status;
    tell(self, model);
    if (step.step % 4 == 1)
        status = look_at_all(self, model, step.step);
    model->send[0] = self->shared->stop;
    bool then = shared->leave_at && step.step >= shared->leave_at;
    if ((shared->leavers | (then ? shared->leave_then : 0)) >> self->slot & 1)
        shoal_leave(self->world, 0);
    if (status == SHOAL_OK)
        status =
            shoal_world_allreduce(self->world, model->send, model->recv, 2, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK && !update(self, model, step.step))
        return SHOAL_ERR_INTERNAL;
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    model->stop = model->recv[0] > 0;
    self->report->count++;
    return SHOAL_OK;
}

/* What it could still save. */
static void count_kept(struct member *self, struct model *model, uint64_t step)
{
    size_t count = owned(model, "big");
    for (size_t r = 0; r < count; r++)
        for (uint64_t i = model->ranges[r].first, k = 0; k < model->ranges[r].count; k++, i++)
            shared->told[self->slot].kept += model->big[i] == finding_big_value(step, i);
}

static void body(struct member *self)
{
    struct model model = {.state = NULL};
    struct shoal_view view = {.struct_size = sizeof(view)};
    int status = open_model(self, &model);
    while (status == SHOAL_OK && !model.stop) {
        status = train(self, &model);
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            status = SHOAL_OK;
        }
    }
    shoal_world_view(self->world, &view);
    if (view.left)
        count_kept(self, &model, view.step);
    self->report->left = view.left != 0;
    self->report->status = view.left ? SHOAL_OK : status;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
    shoal_state_destroy(model.state);
    free(model.big);
    free(model.small);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

struct members_job sharded_make_job(uint32_t start, uint32_t replicas, const char *const *settings)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    shared->replicas = replicas;
    return (struct members_job){.start = start,
                                .min = 1,
                                .mode = SHOAL_STEP_ABORT,
                                .settings = settings,
                                .op_timeout_ms = 20000,
                                .recovery_timeout_ms = 20000,
                                .body = body};
}

void sharded_check_member(const struct members *members, uint32_t slot, const char *story)
{
    const struct member_report *report = &members->shared->reports[slot];
    finding_fail(&shared->told[slot].finding, story, slot);
    if (report->status != SHOAL_OK || report->join_status != SHOAL_OK)
        fail_msg("%s: member %u: %d %d \"%s\"", story, slot, report->join_status, report->status,
                 report->text);
}

void sharded_await_settled(const struct members *members, uint32_t slot, uint32_t settled)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (shared->told[slot].settled < settled && members_now_s() < end_s)
        usleep(500);
    if (shared->told[slot].settled < settled)
        fail_msg("member %u settled %u times, not %u; %d \"%s\"", slot, shared->told[slot].settled,
                 settled, members->shared->reports[slot].status,
                 members->shared->reports[slot].text);
}

void sharded_await_left(const struct members *members, uint32_t slot)
{
    const struct member_report *report = &members->shared->reports[slot];
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!report->done && members_now_s() < end_s)
        usleep(500);
    if (!report->left)
        fail_msg("member %u did not leave; %d \"%s\"", slot, report->status, report->text);
}

void sharded_end(void)
{
    munmap(shared, sizeof(*shared));
    shared = NULL;
}

void sharded_kill_at(const char *call, unsigned k, uint32_t replicas, unsigned leave_at)
{
    char fault[96], story[64];
    snprintf(fault, sizeof(fault), "SHOAL_TEST_FAULT=on=%s,k=%u,do=kill", call, k);
    snprintf(story, sizeof(story), "killed at %s %u, leaves at %u", call, k, leave_at);
    const char *const settings[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", fault, NULL};
    struct members members;
    struct members_job job = sharded_make_job(4, replicas, sharded_tcp);
    shared->leave_at = leave_at;
    shared->leave_then = 1 << 1;
    job.victim = 1 + 1;
    job.victim_settings = settings;
    members_open(&members, &job);
    sharded_await_settled(&members, 0, 2); /* without it */
    members_await(&members, 0, 5);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++) {
        if (i == 1)
            continue;
        sharded_check_member(&members, i, story);
        assert_int_equal(shared->told[i].lost, shared->told[0].lost);
    }
    assert_in_range(shared->told[0].lost, 0, replicas == SHOAL_STATE_NO_REPLICAS);
    sharded_end();
}
