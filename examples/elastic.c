/*
 * Training that goes on when workers fail, leave or join. Each worker is one process:
 *
 *     shoal coordinator --listen 127.0.0.1:7777 --journal job.journal &
 *     for i in 1 2 3; do ./elastic 127.0.0.1:7777 1000 3 & done
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/shoal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define N 1000

/* The gradient of (w - 3)^2 / 2, as if from as many samples as the rank is high. */
static double compute(const float *weights, float *grad, uint32_t rank)
{
    for (size_t i = 0; i < N; i++)
        grad[i] = weights[i] - 3;
    usleep(1000);
    return rank + 1;
}

static void update(float *weights, const float *mean)
{
    for (size_t i = 0; i < N; i++)
        weights[i] -= 0.01f * mean[i];
}

static enum shoal_status train(struct shoal_world *world, float *weights, uint64_t steps)
{
    static float grad[N], mean[N];
    for (;;) {
        struct shoal_step step = {.struct_size = sizeof(step)};
        enum shoal_status status = shoal_step_begin(world, &step);
        if (status == SHOAL_OK && step.joined) /* somebody is new: the lowest rank has the state */
            status = shoal_world_broadcast(world, weights, weights, N, SHOAL_F32, 0);
        if (status == SHOAL_OK && step.step == steps)
            return SHOAL_OK;
        double samples = compute(weights, grad, step.rank);
        if (status == SHOAL_OK)
            status = shoal_world_mean(world, grad, mean, N, SHOAL_F32, samples);
        if (status == SHOAL_OK)
            status = shoal_step_commit(world, (uint64_t)samples);
        if (status == SHOAL_OK)
            update(weights, mean);
        else if (status != SHOAL_ERR_STEP_RETRY)
            return status;
        if (step.step % 50 == 0)
            printf("step %llu of %u workers\n", (unsigned long long)step.step, step.size);
    }
}

int main(int argc, char **argv)
{
    static float weights[N];
    struct shoal_context *context;
    struct shoal_world *world;
    struct shoal_world_options options = {.struct_size = sizeof(options)};
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 4)
        return fprintf(stderr, "usage: elastic STORE STEPS WORKERS-TO-START\n"), 2;
    options.store = argv[1];
    options.world_start = (uint32_t)atoi(argv[3]);
    if (shoal_context_create(NULL, &context) || shoal_world_join(context, &options, &world) ||
        train(world, weights, strtoull(argv[2], NULL, 10)))
        return fprintf(stderr, "%s\n", shoal_last_error()), 1;
    printf("done: %.6f\n", (double)weights[0]);
    shoal_world_destroy(world);
    return shoal_context_destroy(context) != SHOAL_OK;
}
