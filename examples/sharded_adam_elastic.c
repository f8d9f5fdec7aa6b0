/*
 * Adam with its moments sharded over workers that may be killed and started while it runs, beside
 * one undisturbed worker over the same samples.
 *
 *     shoal coordinator --listen 127.0.0.1:7777 --journal job.journal &
 *     for i in 1 2 3 4; do ./sharded_adam_elastic 127.0.0.1:7777 600 4 & done
 *
 * Every worker has all parameters, and of the moments its own block and that of the next rank. It
 * moves both alike, so nothing is sent for the copy, and any one worker may be lost. When the
 * members change, the moments are dealt out anew. All of a step is put aside until its commit; when
 * members are lost within it, it is given up by all alike (SHOAL_STEP_ABORT) and begins again. It
 * ends after that many steps, when there are as many workers as in the beginning.
 *
 * Workers that were there from the beginning repeat all steps alone in the end, with the samples
 * that were committed: errors and parameters must agree to rounding, and no sample may have come
 * twice in a data epoch. The exit status says whether they do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sharded_adam.h"

#include <shoal/shoal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 1000, BATCH = 64, STEPS_MAX = 20000, MEMBERS_MAX = 16, SHOW_EVERY = 50 };

#define DIFFERENCE_ALLOWED 1e-9 /* relative; rounding alone makes about 1e-13 */

/* Who keeps which block. */
struct layout {
    uint32_t count, rank;
    uint64_t ids[MEMBERS_MAX];
};

/* The moments of a block: first, then second. Room for all, since a worker may be left alone. */
struct block {
    size_t first, count;
    double moments[2 * PARAMETERS];
};

/* What a step makes of the state. */
struct held {
    struct layout layout;
    struct block blocks[2]; /* the own one, and that of the next rank */
    double parameters[PARAMETERS];
};

struct run {
    struct shoal_world *world;
    struct shoal_samples *samples;
    struct held now, next;            /* committed, and by the step under way */
    uint32_t start;                   /* workers that begin, and end */
    uint64_t first_step, steps;       /* that it took part in */
    double errors[STEPS_MAX];         /* mean of a step */
    uint8_t read[STEPS_MAX][SAMPLES]; /* how often, by all */
    bool stop;
};

/* ---- the moments ------------------------------------------------------------------------------
 */

static void place(const struct layout *layout, uint32_t owner, struct block *block)
{
    owner %= layout->count;
    block->first = (size_t)PARAMETERS * owner / layout->count;
    block->count = (size_t)PARAMETERS * (owner + 1) / layout->count - block->first;
}

static bool is_in(const struct layout *layout, uint64_t id)
{
    for (uint32_t i = 0; i < layout->count; i++)
        if (layout->ids[i] == id)
            return true;
    return false;
}

/* Put what this worker is to give of its blocks where it belongs. false: some block is lost. */
static bool give(const struct held *held, const struct layout *next, double *moments)
{
    const struct layout *layout = &held->layout;
    for (uint32_t owner = 0; owner < layout->count; owner++) {
        uint32_t copy = (owner + layout->count - 1) % layout->count;
        bool from_owner = is_in(next, layout->ids[owner]);
        if (!from_owner && !is_in(next, layout->ids[copy]))
            return false;
        const struct block *block = &held->blocks[from_owner ? 0 : 1];
        if (layout->rank != (from_owner ? owner : copy))
            continue;
        for (int moment = 0; moment < 2; moment++)
            memcpy(moments + (size_t)moment * PARAMETERS + block->first,
                   block->moments + (size_t)moment * block->count, block->count * sizeof(double));
    }
    return true;
}

/* The moments go from those who have them to those who will. */
static enum shoal_status deal(struct run *run)
{
    static double given[2 * PARAMETERS], all[2 * PARAMETERS];
    memset(given, 0, sizeof(given));
    if (!give(&run->now, &run->next.layout, given)) {
        fprintf(stderr, "moments are lost with both workers that had them\n");
        exit(1);
    }
    enum shoal_status status =
        shoal_world_allreduce(run->world, given, all, 2 * PARAMETERS, SHOAL_F64, SHOAL_SUM);
    for (uint32_t i = 0; i < 2; i++) {
        struct block *block = &run->next.blocks[i];
        place(&run->next.layout, run->next.layout.rank + i, block);
        for (size_t moment = 0; moment < 2; moment++)
            memcpy(block->moments + moment * block->count, all + moment * PARAMETERS + block->first,
                   block->count * sizeof(double));
    }
    return status;
}

/* The members in whose view the last operation was done. When that is over already, members were
 * lost within the step, and it will be given up. */
static enum shoal_status look(struct run *run, bool *changed)
{
    struct layout *layout = &run->next.layout;
    struct shoal_view view = {.struct_size = sizeof(view)};
    enum shoal_status status =
        shoal_world_members(run->world, layout->ids, MEMBERS_MAX, &layout->count);
    if (status == SHOAL_OK)
        status = shoal_world_view(run->world, &view);
    layout->rank = view.rank;
    *changed = layout->count != run->now.layout.count ||
               memcmp(layout->ids, run->now.layout.ids, layout->count * sizeof(uint64_t)) != 0;
    return status;
}

/* ---- a step -----------------------------------------------------------------------------------
 */

static enum shoal_status agree_to_stop(struct run *run, bool wanted)
{
    static int32_t given, all;
    given = wanted;
    enum shoal_status status =
        shoal_world_allreduce(run->world, &given, &all, 1, SHOAL_I32, SHOAL_MIN);
    run->stop = all;
    return status;
}

/* Adam on both blocks; then everybody gets everybody's own. */
static enum shoal_status move(struct run *run, const double *mean, uint64_t step)
{
    static double own[PARAMETERS], moved[PARAMETERS];
    struct held *next = &run->next;
    for (int i = 0; i < 2; i++) {
        struct block *block = &next->blocks[i];
        memcpy(moved, next->parameters, sizeof(moved));
        adam(moved + block->first, mean + block->first, block->moments, block->count, 1, step);
        if (i == 0) {
            memset(own, 0, sizeof(own));
            memcpy(own + block->first, moved + block->first, block->count * sizeof(double));
        }
    }
    return shoal_world_allreduce(run->world, own, next->parameters, PARAMETERS, SHOAL_F64,
                                 SHOAL_SUM);
}

/* The mean over the samples of all, and which these were. */
static enum shoal_status learn_together(struct run *run, struct shoal_samples_share *share,
                                        double *mean, uint8_t *read)
{
    static double sums[PARAMETERS + 1];
    static uint8_t mine[SAMPLES];
    uint64_t indices[BATCH];
    enum shoal_status status = shoal_step_samples(run->world, run->samples, indices, BATCH, share);
    if (status != SHOAL_OK)
        return status;
    memset(sums, 0, sizeof(sums));
    memset(mine, 0, sizeof(mine));
    for (uint64_t i = 0; i < share->count; i++) {
        sums[PARAMETERS] += learn(run->now.parameters, indices[i], sums);
        mine[indices[i]] = 1;
    }
    for (size_t i = 0; share->count && i <= PARAMETERS; i++)
        sums[i] /= (double)share->count;
    status =
        shoal_world_mean(run->world, sums, mean, PARAMETERS + 1, SHOAL_F64, (double)share->count);
    if (status == SHOAL_OK)
        status = shoal_world_allreduce(run->world, mine, read, SAMPLES, SHOAL_U8, SHOAL_SUM);
    return status;
}

static enum shoal_status try_step(struct run *run, uint64_t steps)
{
    static double mean[PARAMETERS + 1];
    static uint8_t read[SAMPLES];
    struct shoal_step step = {.struct_size = sizeof(step)};
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    bool changed = false;
    enum shoal_status status = shoal_step_begin(run->world, &step);
    if (status == SHOAL_OK) {
        run->next = run->now;
        status = agree_to_stop(run, step.step + 1 >= steps && step.size == run->start);
    }
    if (status == SHOAL_OK)
        status = look(run, &changed);
    if (status == SHOAL_OK && changed)
        status = deal(run);
    if (status == SHOAL_OK)
        status = learn_together(run, &share, mean, read);
    if (status == SHOAL_OK)
        status = move(run, mean, share.step);
    if (status == SHOAL_OK)
        status = shoal_step_commit(run->world, share.count);
    if (status != SHOAL_OK)
        return status;
    if (step.step >= STEPS_MAX) {
        fprintf(stderr, "no room to note more than %d steps\n", STEPS_MAX);
        exit(1);
    }
    run->now = run->next; /* all of the step, or nothing of it */
    if (run->steps++ == 0)
        run->first_step = step.step;
    run->errors[step.step] = mean[PARAMETERS];
    memcpy(run->read[step.step], read, sizeof(read));
    if (step.step % SHOW_EVERY == 0)
        printf("step %llu of %u workers: error %.9f, %zu moments here\n",
               (unsigned long long)step.step, run->now.layout.count, mean[PARAMETERS],
               2 * (run->now.blocks[0].count + run->now.blocks[1].count));
    return SHOAL_OK;
}

/* ---- alone ------------------------------------------------------------------------------------
 */

static void begin_alike(double *parameters)
{
    for (int i = 0; i < PARAMETERS; i++)
        parameters[i] = sin(12.9898 * (i + 1)) * 0.5;
}

/* No sample twice before all came once. Returns how many came twice, or were left out. */
static uint64_t count_wrong(const struct run *run)
{
    static uint8_t taken[SAMPLES];
    uint64_t wrong = 0, count = 0;
    for (uint64_t step = 0; step < run->steps; step++) {
        for (int i = 0; i < SAMPLES; i++) {
            taken[i] = (uint8_t)(taken[i] + run->read[step][i]);
            count += run->read[step][i];
            wrong += taken[i] > 1 && run->read[step][i];
        }
        if (count == SAMPLES) {
            memset(taken, 0, sizeof(taken));
            count = 0;
        }
    }
    return wrong;
}

/* All steps by one worker. Returns the largest relative difference of errors and parameters. */
static double repeat_alone(const struct run *run)
{
    static double parameters[PARAMETERS], moments[2 * PARAMETERS], sums[PARAMETERS];
    double apart = 0, largest = 0;
    begin_alike(parameters);
    for (uint64_t step = 0; step < run->steps; step++) {
        double error = 0, count = 0;
        memset(sums, 0, sizeof(sums));
        for (uint64_t i = 0; i < SAMPLES; i++) {
            if (!run->read[step][i])
                continue;
            error += learn(parameters, i, sums);
            count++;
        }
        apart = fmax(apart, fabs(error / count - run->errors[step]) / (error / count));
        adam(parameters, sums, moments, PARAMETERS, count, step);
    }
    for (int i = 0; i < PARAMETERS; i++)
        largest = fmax(largest, fabs(parameters[i]));
    for (int i = 0; i < PARAMETERS; i++)
        apart = fmax(apart, fabs(parameters[i] - run->now.parameters[i]) / largest);
    return apart;
}

/* ---- the program ------------------------------------------------------------------------------
 */

/* Ends the program with the reason when a call fails. */
static void check(enum shoal_status status)
{
    if (status == SHOAL_OK)
        return;
    fprintf(stderr, "%s\n", shoal_last_error());
    exit(1);
}

static void train(struct run *run, uint64_t steps)
{
    while (!run->stop || run->steps == 0) {
        enum shoal_status status = try_step(run, steps);
        if (status == SHOAL_ERR_STEP_RETRY)
            run->stop = false;
        else
            check(status);
        usleep(1000); /* as if there were more to compute */
    }
}

int main(int argc, char **argv)
{
    static struct run run;
    struct shoal_context *context;
    struct shoal_state *state;
    const struct shoal_samples_options samples = {
        .struct_size = sizeof(samples), .seed = 1, .samples = SAMPLES, .batch = BATCH};
    struct shoal_world_options options = {.struct_size = sizeof(options),
                                          .step_mode = SHOAL_STEP_ABORT};
    const struct shoal_state_array parameters = {.struct_size = sizeof(parameters),
                                                 .name = "parameters",
                                                 .data = run.now.parameters,
                                                 .count = PARAMETERS,
                                                 .dtype = SHOAL_F64};
    setvbuf(stdout, NULL, _IOLBF, 0);
    uint64_t steps = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    if (steps == 0 || steps > STEPS_MAX)
        return fprintf(stderr, "usage: sharded_adam_elastic STORE STEPS WORKERS-TO-START\n"), 2;
    options.store = argv[1];
    run.start = options.world_start = (uint32_t)atoi(argv[3]);
    options.world_max = MEMBERS_MAX;
    begin_alike(run.now.parameters);
    check(shoal_context_create(NULL, &context));
    check(shoal_samples_create(&samples, &run.samples));
    check(shoal_world_join(context, &options, &run.world));
    check(shoal_state_create(run.world, NULL, &state)); /* joiners get the parameters */
    check(shoal_state_add(state, &parameters));
    train(&run, steps);
    double apart = run.first_step == 0 ? repeat_alone(&run) : 0;
    uint64_t wrong = run.first_step == 0 ? count_wrong(&run) : 0;
    printf(
        "done: %.9f after %llu steps from step %llu; apart from one worker by %.1e, %llu samples "
        "wrong\n",
        run.now.parameters[0], (unsigned long long)run.steps, (unsigned long long)run.first_step,
        apart, (unsigned long long)wrong);
    shoal_state_destroy(state);
    check(shoal_world_destroy(run.world));
    shoal_samples_destroy(run.samples);
    check(shoal_context_destroy(context));
    return apart > DIFFERENCE_ALLOWED || wrong > 0;
}
