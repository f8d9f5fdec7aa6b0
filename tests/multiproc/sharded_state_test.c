/*
 * Sharded state in worlds whose members join and are killed. Every element is a function of the
 * steps that were committed, so any that is of another version, or of two, shows. A member is
 * killed at one message after another, between a commit and the end of the refresh of the next;
 * a whole host is lost; all copies of a shard are lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "multiproc/finding.h"
#include "multiproc/hosts.h"
#include "multiproc/members.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FLOATS (SHARDS * 256) /* all shards are alike */
#define SMALL 700             /* fewer elements than shards */
#define SHARDS 512
#define RANGES 512
#define SHARD_BYTES (256 * sizeof(double))
#define SMALL_BYTES (SMALL * sizeof(float))

struct told {
    _Atomic uint32_t lost; /* SHOAL_ERR_STATE_LOST so far */
    _Atomic uint32_t settled;
    _Atomic uint64_t moved, handed;
    uint64_t lost_elements, refreshed, owned, received;
    uint64_t kept; /* owned when its loop ended, and of the last version that was committed */
    struct finding finding;
};

static struct {
    uint32_t replicas;        /* as in shoal_state_options */
    _Atomic uint32_t leavers; /* a bit for each slot */
    uint64_t leave_at;        /* the step in which these slots are to leave; 0: none */
    uint32_t leave_then;
    _Atomic uint32_t lacks;  /* slot + 1 of who gets no memory for copies of shards */
    _Atomic uint32_t lacked; /* how often */
    struct told told[MEMBERS_MAX];
} * shared;

struct model {
    struct shoal_state *state;
    double *big;
    float *small;
    struct shoal_state_range ranges[RANGES];
    int64_t send[2], recv[2];
    bool stop;
};

static bool wrong(struct member *self, const char *what, uint64_t step, uint64_t i, double value)
{
    finding_keep(&shared->told[self->slot].finding, what, step, i, value);
    return false;
}

/* ---- memory ------------------------------------------------------------------------------------
 */

static uint32_t slot_here = UINT32_MAX; /* of this process */

static void *alloc_or_lack(size_t bytes)
{
    if (bytes == SHARD_BYTES && shared->lacks && shared->lacks == slot_here + 1) {
        shared->lacked++;
        return NULL;
    }
    return shl_mem_kernel.alloc(bytes);
}

/* ---- a member ----------------------------------------------------------------------------------
 */

static int add(struct model *model, const char *name, void *data, uint64_t count,
               enum shoal_dtype dtype)
{
    struct shoal_state_array array = {.struct_size = sizeof(array),
                                      .name = name,
                                      .data = data,
                                      .count = count,
                                      .dtype = dtype,
                                      .kind = SHOAL_STATE_SHARDED};
    return shoal_state_add(model->state, &array);
}

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
        status = add(model, "big", model->big, FLOATS, SHOAL_F64);
    if (status == SHOAL_OK)
        status = add(model, "small", model->small, SMALL, SHOAL_F32);
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

static int train(struct member *self, struct model *model)
{
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
    slot_here = self->slot;
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

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", "SHOAL_LOG_LEVEL=off", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", NULL};

static struct members_job make_job(uint32_t start, uint32_t replicas, const char *const *settings)
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

static void check_member(const struct members *members, uint32_t slot, const char *story)
{
    const struct member_report *report = &members->shared->reports[slot];
    finding_fail(&shared->told[slot].finding, story, slot);
    if (report->status != SHOAL_OK || report->join_status != SHOAL_OK)
        fail_msg("%s: member %u: %d %d \"%s\"", story, slot, report->join_status, report->status,
                 report->text);
}

static void await_settled(const struct members *members, uint32_t slot, uint32_t settled)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (shared->told[slot].settled < settled && members_now_s() < end_s)
        usleep(500);
    if (shared->told[slot].settled < settled)
        fail_msg("member %u settled %u times, not %u; %d \"%s\"", slot, shared->told[slot].settled,
                 settled, members->shared->reports[slot].status,
                 members->shared->reports[slot].text);
}

static void await_left(const struct members *members, uint32_t slot)
{
    const struct member_report *report = &members->shared->reports[slot];
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!report->done && members_now_s() < end_s)
        usleep(500);
    if (!report->left)
        fail_msg("member %u did not leave; %d \"%s\"", slot, report->status, report->text);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* As many bytes as the copies that must be made have. */
static void check_moved(uint64_t moved, uint32_t copies)
{
    uint64_t least = copies * SHARD_BYTES;
    if (moved < least || moved > least + 2 * SMALL_BYTES)
        fail_msg("%llu bytes moved, %llu are the least", (unsigned long long)moved,
                 (unsigned long long)least);
}

/* One after another: each member holds its part of the copies, and no more is moved. */
static void follows(const char *const *settings, bool leaves)
{
    struct members members;
    struct members_job job = make_job(3, 0, settings);
    members_open(&members, &job);
    await_settled(&members, 0, 1);
    check_moved(shared->told[0].moved, SHARDS); /* the first copies */
    members_start(&members, 3);
    await_settled(&members, 0, 2);
    check_moved(shared->told[0].moved, 2 * SHARDS / 4);
    members_await(&members, 3, 5);
    if (leaves)
        shared->leavers = 1 << 1;
    else
        members_kill(&members, 1, SIGKILL);
    await_settled(&members, 0, 3);
    check_moved(leaves ? shared->told[0].handed : shared->told[0].moved, 2 * SHARDS / 4);
    if (leaves)
        assert_int_equal(shared->told[0].moved, 0);
    members_start(&members, 4);
    await_settled(&members, 0, 4);
    check_moved(shared->told[0].moved, 2 * SHARDS / 4);
    members_await(&members, 4, 5);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 5; i++)
        if (leaves || i != 1)
            check_member(&members, i, "follows");
    assert_int_equal(shared->told[0].owned + shared->told[2].owned + shared->told[3].owned +
                         shared->told[4].owned,
                     FLOATS);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(shared->told[i].lost, 0);
}

static void least_bytes_are_moved(void **state)
{
    (void)state;
    follows(tcp, false);
    follows(shm, true);
}

/* Without replicas nothing is lost either, though two leave together. */
static void leavers_hand_over(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(4, SHOAL_STATE_NO_REPLICAS, tcp);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    shared->leavers = 1 << 1 | 1 << 2;
    await_left(&members, 1);
    await_left(&members, 2);
    members_await(&members, 0, 3);
    shared->leavers |= 1 << 0;
    await_left(&members, 0);
    members_await(&members, 3, 3);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++) {
        check_member(&members, i, "leave");
        assert_int_equal(shared->told[i].lost, 0);
        assert_int_equal(members.shared->reports[i].left, i != 3);
    }
    assert_int_equal(shared->told[3].owned, FLOATS);
    assert_true(shared->told[3].handed >= 3 * SHARDS / 4 * SHARD_BYTES);
    munmap(shared, sizeof(*shared));
}

/* Dies at its k-th message. What the others have then is of one version: of the step that was
 * committed last. Without replicas they may have to be told that something is lost, once and all
 * alike. */
static void kill_at(const char *call, unsigned k, uint32_t replicas, unsigned leave_at)
{
    char fault[96], story[64];
    snprintf(fault, sizeof(fault), "SHOAL_TEST_FAULT=on=%s,k=%u,do=kill", call, k);
    snprintf(story, sizeof(story), "killed at %s %u, leaves at %u", call, k, leave_at);
    const char *const settings[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", fault, NULL};
    struct members members;
    struct members_job job = make_job(4, replicas, tcp);
    shared->leave_at = leave_at;
    shared->leave_then = 1 << 1;
    job.victim = 1 + 1;
    job.victim_settings = settings;
    members_open(&members, &job);
    await_settled(&members, 0, 2); /* without it */
    members_await(&members, 0, 5);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++) {
        if (i == 1)
            continue;
        check_member(&members, i, story);
        assert_int_equal(shared->told[i].lost, shared->told[0].lost);
    }
    assert_in_range(shared->told[0].lost, 0, replicas == SHOAL_STATE_NO_REPLICAS);
    munmap(shared, sizeof(*shared));
}

/* Messages one after another: points between a commit, the change, the refresh, and the next
 * commit. */
static void one_version_wherever_a_member_dies(void **state)
{
    (void)state;
    for (unsigned k = 60; k < 85; k++)
        kill_at("send", k, 0, 0);
    for (unsigned k = 61; k < 85; k += 4)
        kill_at("recv", k, 0, 0);
}

/* Before, while and after it hands over. */
static void one_version_when_a_leaver_dies(void **state)
{
    (void)state;
    for (unsigned k = 60; k < 120; k += 4)
        kill_at("send", k, 0, 3);
}

/* Nobody else has what it had not handed over: nothing stale takes its place. */
static void no_stale_state_when_a_leaver_dies(void **state)
{
    (void)state;
    for (unsigned k = 84; k < 94; k++)
        kill_at("send", k, SHOAL_STATE_NO_REPLICAS, 3);
}

/* All want to leave in the same step: the others' parts go to one of them, which leaves last. */
static void the_last_to_leave_has_it_all(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(4, SHOAL_STATE_NO_REPLICAS, tcp);
    uint32_t with_all = 0;
    shared->leave_at = 3;
    shared->leave_then = 15;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 4; i++)
        await_left(&members, i);
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++) {
        check_member(&members, i, "all leave");
        assert_int_equal(shared->told[i].lost, 0);
        with_all += shared->told[i].kept == FLOATS;
    }
    assert_int_equal(with_all, 1);
    munmap(shared, sizeof(*shared));
}

/* One that stays has no room for what it is to take over: it goes on, and whoever wants to leave
 * does so once there is room. */
static void leavers_wait_for_memory(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(3, SHOAL_STATE_NO_REPLICAS, tcp);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    shared->lacks = 0 + 1;
    shared->leavers = 1 << 1;
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (shared->lacked < 8 && members_now_s() < end_s && !members.shared->reports[0].done)
        usleep(500);
    members_await(&members, 0, 3);
    assert_false(members.shared->reports[1].done);
    shared->lacks = 0;
    await_left(&members, 1);
    members_await(&members, 0, 3);
    members.shared->stop = 1;
    members_close(&members);
    assert_true(shared->lacked >= 8);
    for (uint32_t i = 0; i < 3; i++) {
        check_member(&members, i, "no memory");
        assert_int_equal(shared->told[i].lost, 0);
    }
    assert_int_equal(shared->told[0].owned + shared->told[2].owned, FLOATS);
    munmap(shared, sizeof(*shared));
}

/* A node with two of five members goes, each in a pod of its own: each shard has its second copy on
 * the other node. */
static void a_whole_node_is_lost(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(4, 0, tcp);
    job.hosts = 4;
    job.domains = 2;
    if (!hosts_open(5))
        TEST_SKIP("no network namespaces here");
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_start(&members, 4);
    members_await(&members, 4, 3);
    members_kill(&members, 1, SIGKILL);
    members_kill(&members, 3, SIGKILL);
    members_await(&members, 0, 10);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 5; i += 2) {
        check_member(&members, i, "node lost");
        assert_int_equal(shared->told[i].lost, 0);
    }
}

/* Without replicas exactly what the lost member owned is lost; all members say so alike. */
static void lost_ranges_are_named(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(3, SHOAL_STATE_NO_REPLICAS, shm);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_kill(&members, 1, SIGKILL);
    members_await(&members, 0, 5);
    members_start(&members, 3);
    members_await(&members, 3, 3);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++)
        if (i != 1)
            check_member(&members, i, "lost");
    for (uint32_t i = 0; i < 3; i += 2) {
        assert_int_equal(shared->told[i].lost, 1);
        assert_true(shared->told[i].lost_elements >= shared->told[1].owned);
        assert_true(shared->told[i].lost_elements <= shared->told[1].owned + SMALL);
    }
    assert_int_equal(shared->told[3].lost, 0);
}

int main(void)
{
    static struct shl_sys_mem memory;
    memory = shl_mem_kernel;
    memory.alloc = alloc_or_lack;
    shl_mem = &memory;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_bytes_are_moved),
        cmocka_unit_test(lost_ranges_are_named),
        cmocka_unit_test(a_whole_node_is_lost),
        cmocka_unit_test(leavers_hand_over),
        cmocka_unit_test(one_version_wherever_a_member_dies),
        cmocka_unit_test(one_version_when_a_leaver_dies),
        cmocka_unit_test(no_stale_state_when_a_leaver_dies),
        cmocka_unit_test(the_last_to_leave_has_it_all),
        cmocka_unit_test(leavers_wait_for_memory),
    };
    return cmocka_run_group_tests_name("sharded_state", tests, NULL, NULL);
}
