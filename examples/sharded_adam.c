/*
 * Adam with its moments sharded over the ranks, beside the same run on one rank.
 *
 *     shoal run -n 4 -- ./sharded_adam
 *
 * Every rank has all parameters, and the moments of its block alone. A step adds the gradients up
 * and leaves each rank its block of the sum (reduce_scatter), the rank moves its block of the
 * parameters, and an allgather gives them to all. Half-way the last rank leaves: the moments are
 * resharded over those that stay, which go on with the samples where they were. Rank 0 also trains
 * alone, on the samples of all: both runs must agree to rounding. The exit status says whether they
 * do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sharded_adam.h"

#include <shoal/shoal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 1000, BATCH = 64, STEPS = 200, SHOW_EVERY = 40 };

#define DIFFERENCE_ALLOWED 1e-10 /* of the largest parameter; rounding alone makes about 1e-14 */

/* Ends the program with the reason when a call fails; the other ranks are told by its absence. */
static void check(enum shoal_status status)
{
    if (status == SHOAL_OK)
        return;
    fprintf(stderr, "%s\n", shoal_last_error());
    exit(1);
}

/* ---- a run ------------------------------------------------------------------------------------
 */

/* Blocks are equal but for the last ones, which lie partly or wholly behind the parameters. */
struct run {
    struct shoal_context *context;
    struct shoal_comm *comm; /* NULL: alone */
    uint32_t rank, size;
    size_t block, held;                     /* elements of a block; of this rank's that exist */
    double *parameters, *gradient, *summed; /* size blocks, size blocks, one block */
    double *moments;                        /* first, then second; `held` each */
    struct shoal_samples *samples;
    uint64_t indices[BATCH];
};

static double *allocate(struct shoal_context *context, size_t count)
{
    void *memory; /* zero, and within reach of the other ranks of this host */
    check(shoal_mem_alloc(context, count * sizeof(double), &memory));
    return memory;
}

static void open_run(struct run *run, struct shoal_context *context, struct shoal_comm *comm)
{
    const struct shoal_samples_options options = {
        .struct_size = sizeof(options), .seed = 1, .samples = SAMPLES, .batch = BATCH};
    uint64_t held;
    const struct shoal_layout layout = {.struct_size = sizeof(layout)};
    *run = (struct run){.context = context, .comm = comm, .size = 1};
    if (comm) {
        run->rank = shoal_comm_rank(comm);
        run->size = shoal_comm_size(comm);
    }
    check(shoal_layout_count(&layout, PARAMETERS, run->rank, run->size, &held));
    run->held = held;
    run->block = (PARAMETERS + run->size - 1) / run->size;
    run->parameters = allocate(context, run->block * run->size);
    run->gradient = allocate(context, run->block * run->size);
    run->summed = allocate(context, run->block);
    run->moments = allocate(context, 2 * run->held + 1);
    check(shoal_samples_create(&options, &run->samples));
}

static void close_run(struct run *run)
{
    double *const blocks[] = {run->parameters, run->gradient, run->summed, run->moments};
    shoal_samples_destroy(run->samples);
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        check(shoal_mem_free(run->context, blocks[i]));
}

/* One step; returns the sum of this rank's errors. */
static double train(struct run *run)
{
    const struct shoal_samples_view view = {
        .struct_size = sizeof(view), .rank = run->rank, .size = run->size};
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    double error = 0, *own = run->parameters + run->rank * run->block, *sum = run->gradient;
    check(shoal_samples_assign(run->samples, &view, run->indices, BATCH, &share));
    memset(run->gradient, 0, run->block * run->size * sizeof(double));
    for (uint64_t i = 0; i < share.count; i++)
        error += learn(run->parameters, run->indices[i], run->gradient);
    if (run->comm) {
        sum = run->summed;
        check(
            shoal_reduce_scatter(run->comm, run->gradient, sum, run->block, SHOAL_F64, SHOAL_SUM));
    }
    adam(own, sum, run->moments, run->held, (double)share.total, share.step);
    if (run->comm)
        check(shoal_allgather(run->comm, own, run->parameters, run->block, SHOAL_F64));
    check(shoal_samples_commit(run->samples, run->size, NULL, NULL, NULL));
    return error;
}

/* ---- fewer ranks ------------------------------------------------------------------------------
 */

/* The moments go from all ranks to all but the last, straight to where they belong. Parameters are
 * everywhere already. `fresh` is not open on the rank that leaves. */
static void hand_over(struct run *run, struct run *fresh, bool stays)
{
    const struct shoal_layout from = {.struct_size = sizeof(from)};
    const struct shoal_layout to = {.struct_size = sizeof(to), .ranks = run->size - 1};
    static uint8_t position[SHOAL_SAMPLES_BYTES_MAX];
    size_t bytes;
    for (int moment = 0; moment < 2; moment++) {
        double *recv = stays ? fresh->moments + (size_t)moment * fresh->held : NULL;
        const struct shoal_reshard_call call = {.struct_size = sizeof(call),
                                                .count = PARAMETERS,
                                                .dtype = SHOAL_F64,
                                                .from = &from,
                                                .to = &to,
                                                .send = run->moments + (size_t)moment * run->held,
                                                .recv = recv};
        check(shoal_reshard(run->comm, &call));
    }
    if (!stays)
        return;
    memcpy(fresh->parameters, run->parameters, PARAMETERS * sizeof(double));
    check(shoal_samples_save(run->samples, position, &bytes));
    check(shoal_samples_restore(fresh->samples, position, bytes));
}

/* ---- both runs --------------------------------------------------------------------------------
 */

static void begin_alike(struct run *run)
{
    for (int i = 0; i < PARAMETERS; i++)
        run->parameters[i] = sin(12.9898 * (i + 1)) * 0.5;
}

static double difference(const struct run *one, const struct run *other)
{
    double apart = 0, largest = 0;
    for (int i = 0; i < PARAMETERS; i++) {
        apart = fmax(apart, fabs(one->parameters[i] - other->parameters[i]));
        largest = fmax(largest, fabs(other->parameters[i]));
    }
    return apart / largest;
}

static void train_both(struct run *run, struct run *alone, int steps)
{
    double sums[2] = {0, 0}; /* of errors, since the last line */
    for (int i = 0; i < steps; i++) {
        double error = train(run);
        check(shoal_reduce(run->comm, &error, &error, 1, SHOAL_F64, SHOAL_SUM, 0));
        if (run->rank != 0)
            continue;
        sums[0] += error;
        sums[1] += train(alone);
        if ((i + 1) % SHOW_EVERY != 0)
            continue;
        printf("%u ranks: error %.9f, alone %.9f, parameters apart by %.1e; %zu moments here, "
               "%zu alone\n",
               run->size, sums[0] / (SHOW_EVERY * BATCH), sums[1] / (SHOW_EVERY * BATCH),
               difference(run, alone), 2 * run->held, 2 * alone->held);
        sums[0] = sums[1] = 0;
    }
}

int main(void)
{
    struct shoal_context *context;
    struct shoal_comm *comm, *rest;
    struct run run, fresh, alone;
    check(shoal_context_create(NULL, &context));
    check(shoal_comm_create_from_env(context, &comm));
    open_run(&run, context, comm);
    open_run(&alone, context, NULL);
    begin_alike(&run);
    begin_alike(&alone);
    train_both(&run, &alone, STEPS / 2);
    bool leaves = run.size > 1 && run.rank == run.size - 1;
    check(shoal_comm_split(comm, leaves ? SHOAL_COLOR_NONE : 0, 0, &rest));
    if (rest)
        open_run(&fresh, context, rest);
    if (run.size > 1)
        hand_over(&run, &fresh, !leaves);
    struct run *last = run.size > 1 ? &fresh : &run;
    if (!leaves)
        train_both(last, &alone, STEPS / 2);
    double apart = run.rank == 0 ? difference(last, &alone) : 0;
    if (rest)
        close_run(&fresh);
    close_run(&alone);
    close_run(&run);
    check(shoal_comm_destroy(rest));
    check(shoal_comm_destroy(comm));
    check(shoal_context_destroy(context));
    return apart <= DIFFERENCE_ALLOWED ? 0 : 1;
}
