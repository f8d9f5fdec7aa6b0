/*
 * What members do, and what they note of it. See members.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"

#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define KEPT 5 /* results of members_keep */

/* ---- what members do --------------------------------------------------------------------------
 */

int members_add_array(struct shoal_state *state, const char *name, void *data, uint64_t count,
                      enum shoal_dtype dtype, enum shoal_state_kind kind)
{
    struct shoal_state_array array = {.struct_size = sizeof(array),
                                      .name = name,
                                      .data = data,
                                      .count = count,
                                      .dtype = dtype,
                                      .kind = kind};
    return shoal_state_add(state, &array);
}

void members_note(struct member *self, uint64_t seq, uint64_t epoch, int64_t mask)
{
    struct member_report *report = self->report;
    uint32_t at = report->count;
    if (at == MEMBERS_SEEN)
        return;
    report->saw[at] =
        (struct member_saw){.seq = seq,
                            .epoch = epoch,
                            .mask = (uint64_t)mask,
                            .contributors = (uint32_t)__builtin_popcountll((uint64_t)mask),
                            .at_s = members_now_s()};
    report->count = at + 1;
}

void members_end_with(struct member *self, int status)
{
    self->report->status = status;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
}

/* Element 0 tells who wants to stop; the others are a multiple of the contributors' bits. */
static void fill(const struct member *self, int64_t *send)
{
    for (size_t i = 1; i < self->job->elements; i++)
        send[i] = (int64_t)(1ull << self->slot) * (int64_t)(1 + i % 7);
    send[0] = self->shared->stop;
}

static bool is_right(const struct member *self, const int64_t *recv)
{
    int64_t mask = recv[7];
    for (size_t i = 1; i < self->job->elements; i++)
        if (recv[i] != mask * (int64_t)(1 + i % 7))
            return false;
    return true;
}

int members_sum(struct member *self, int64_t *send, int64_t *recv, bool *stop)
{
    struct member_report *report = self->report;
    struct shoal_op_info info = {.struct_size = sizeof(info)};
    fill(self, send);
    if (self->job->in_place) {
        memcpy(recv, send, self->job->elements * sizeof(*recv));
        send = recv;
    }
    int status =
        shoal_world_allreduce(self->world, send, recv, self->job->elements, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_world_last(self->world, &info);
    if (status != SHOAL_OK)
        return status;
    if (!is_right(self, recv)) {
        print_error("member %u: wrong values in operation %llu\n", self->slot,
                    (unsigned long long)info.seq);
        return SHOAL_ERR_INTERNAL;
    }
    *stop = recv[0] > 0;
    uint32_t at = report->count;
    if (at < MEMBERS_SEEN) {
        report->saw[at] = (struct member_saw){.seq = info.seq,
                                              .epoch = info.epoch,
                                              .mask = (uint64_t)recv[7],
                                              .contributors = info.contributors,
                                              .at_s = members_now_s()};
        report->count = at + 1;
    }
    return SHOAL_OK;
}

void members_loop(struct member *self)
{
    size_t bytes = self->job->elements * sizeof(int64_t);
    int64_t *send = malloc(bytes), *recv = malloc(bytes);
    bool stop = false;
    int status = SHOAL_OK;
    while (status == SHOAL_OK && !stop)
        status = members_sum(self, send, recv, &stop);
    members_end_with(self, status);
    free(recv);
    free(send);
}

/* The result is right, and still that of the operation which `mask` was seen of. */
static int check_kept(const struct member *self, const int64_t *kept, int64_t mask)
{
    if (kept[7] == mask && is_right(self, kept))
        return SHOAL_OK;
    print_error("member %u: a result of contributors %llx has changed since\n", self->slot,
                (unsigned long long)mask);
    return SHOAL_ERR_INTERNAL;
}

void members_keep(struct member *self)
{
    size_t bytes = self->job->elements * sizeof(int64_t);
    void *send = NULL, *recv[KEPT] = {NULL};
    int64_t masks[KEPT] = {0}; /* what memory that holds no result yet looks like */
    bool stop = false;
    int status = shoal_mem_alloc(self->context, bytes, &send);
    for (uint32_t i = 0; i < KEPT && status == SHOAL_OK; i++)
        status = shoal_mem_alloc(self->context, bytes, &recv[i]);
    for (uint32_t at = 0; status == SHOAL_OK && !stop; at = (at + 1) % KEPT) {
        status = check_kept(self, recv[at], masks[at]);
        if (status == SHOAL_OK)
            status = members_sum(self, send, recv[at], &stop);
        masks[at] = ((int64_t *)recv[at])[7];
    }
    for (uint32_t i = 0; i < KEPT && status == SHOAL_OK; i++)
        status = check_kept(self, recv[i], masks[i]);
    members_end_with(self, status);
    for (uint32_t i = 0; i < KEPT; i++)
        shoal_mem_free(self->context, recv[i]);
    shoal_mem_free(self->context, send);
}

/* ---- steps ------------------------------------------------------------------------------------
 */

struct training {
    int64_t *send, *one, *two;
    struct shoal_samples *samples;
    int64_t state;
    bool stop;
};

static struct shoal_samples *open_stream(const struct member *self)
{
    struct shoal_samples *samples;
    bool each = self->job->mode == SHOAL_STEP_ABORT;
    struct shoal_samples_options options = {.struct_size = sizeof(options),
                                            .seed = 7,
                                            .samples = MEMBERS_SAMPLES,
                                            .batch = each ? 3 : 11,
                                            .mode =
                                                each ? SHOAL_BATCH_PER_RANK : SHOAL_BATCH_GLOBAL};
    ASSERT_OK(shoal_samples_create(&options, &samples));
    return samples;
}

static int read_samples(struct member *self, struct training *training, uint64_t step)
{
    uint64_t indices[MEMBERS_SAMPLES], read = 0;
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    int status =
        shoal_step_samples(self->world, training->samples, indices, MEMBERS_SAMPLES, &share);
    if (status != SHOAL_OK)
        return status;
    for (uint64_t i = 0; i < share.count; i++)
        read |= UINT64_C(1) << indices[i];
    if (step < MEMBERS_SEEN) {
        self->report->read[step] = read;
        self->report->data_epoch[step] = share.data_epoch;
    }
    return SHOAL_OK;
}

/* The world's list is that of the members whose values are in the sums. */
static int check_contributors(const struct member *self, uint64_t mask)
{
    uint64_t ids[MEMBERS_MAX];
    uint32_t count;
    int status = shoal_step_contributors(self->world, ids, MEMBERS_MAX, &count);
    if (status == SHOAL_OK && count != (uint32_t)__builtin_popcountll(mask))
        return SHOAL_ERR_INTERNAL;
    return status;
}

static int sum(struct member *self, const int64_t *send, int64_t *recv)
{
    return shoal_world_allreduce(self->world, send, recv, self->job->elements, SHOAL_I64,
                                 SHOAL_SUM);
}

static volatile sig_atomic_t told_to_go;

static void on_terminate(int signal)
{
    (void)signal;
    told_to_go = 1;
}

static int train(struct member *self, struct training *training)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(self->world, &step);
    if (status == SHOAL_OK && step.joined)
        status =
            shoal_world_broadcast(self->world, &training->state, &training->state, 1, SHOAL_I64, 0);
    if (status != SHOAL_OK)
        return status;
    if (told_to_go || self->shared->leave == (int)self->slot + 1)
        shoal_leave(self->world, 0);
    fill(self, training->send);
    fill(self, training->two);
    status = read_samples(self, training, step.step);
    if (status == SHOAL_OK)
        status = sum(self, training->send, training->one);
    if (status == SHOAL_OK)
        status = sum(self, training->two, training->two); /* in place */
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    if (!is_right(self, training->one) || !is_right(self, training->two) ||
        training->one[7] != training->two[7])
        return SHOAL_ERR_INTERNAL;
    training->state += training->one[7];
    training->stop = training->one[0] > 0 && training->two[0] > 0;
    /* Steps are numbered like operations here, and positions rise like epochs. */
    members_note(self, step.step + 1, step.position, training->one[7]);
    return check_contributors(self, (uint64_t)training->one[7]);
}

void members_steps(struct member *self)
{
    size_t bytes = self->job->elements * sizeof(int64_t);
    struct training training = {.send = malloc(bytes),
                                .one = malloc(bytes),
                                .two = malloc(bytes),
                                .samples = open_stream(self)};
    struct shoal_view view = {.struct_size = sizeof(view)};
    int status = SHOAL_OK;
    signal(SIGTERM, on_terminate); /* this process is the member's own */
    while (status == SHOAL_OK && !training.stop) {
        status = train(self, &training);
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            status = SHOAL_OK;
        }
    }
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
    shoal_world_view(self->world, &view);
    self->report->left = view.left != 0;
    self->report->status = view.left ? SHOAL_OK : status;
    self->report->state = (uint64_t)training.state;
    shoal_samples_destroy(training.samples);
    free(training.send);
    free(training.one);
    free(training.two);
}
