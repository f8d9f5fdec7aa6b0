/*
 * pod_worker STOP [RECOVERY_MS]: a worker of an elastic job, as `shoal run` starts them. Steps
 * until the file STOP is there; says how far it is, when the number of workers changes, and how it
 * ended.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/shoal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SAY_EVERY 64

static enum shoal_status check(struct shoal_world *world, int64_t counted)
{
    uint32_t contributors = 0;
    enum shoal_status status = shoal_step_contributors(world, NULL, 0, &contributors);
    return status == SHOAL_OK && counted != contributors ? SHOAL_ERR_INTERNAL : status;
}

/* Each step counts the workers, and asks whether anybody has seen the file. */
static enum shoal_status work(struct shoal_world *world, const char *stop)
{
    uint32_t size = 0;
    for (;;) {
        struct shoal_step step = {.struct_size = sizeof(step)};
        int64_t mine[2] = {1, access(stop, F_OK) == 0}, all[2] = {0, 0};
        enum shoal_status status = shoal_step_begin(world, &step);
        if (status == SHOAL_OK)
            status = shoal_world_allreduce(world, mine, all, 2, SHOAL_I64, SHOAL_SUM);
        if (status == SHOAL_OK)
            status = shoal_step_commit(world, 1);
        if (status == SHOAL_ERR_STEP_RETRY)
            continue;
        if (status == SHOAL_OK)
            status = check(world, all[0]);
        if (status != SHOAL_OK || all[1])
            return status;
        if ((uint32_t)all[0] != size)
            printf("%lld workers at step %llu\n", (long long)all[0], (unsigned long long)step.step);
        size = (uint32_t)all[0];
        if (step.step % SAY_EVERY == 0)
            printf("step %llu\n", (unsigned long long)step.step);
        usleep(1000);
    }
}

static int fail(enum shoal_status status)
{
    fprintf(stderr, "ended by %s: %s\n", shoal_status_string(status), shoal_last_error());
    return 1;
}

int main(int argc, char **argv)
{
    struct shoal_context *context;
    struct shoal_world *world;
    struct shoal_world_options options = {.struct_size = sizeof(options)};
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2 || argc > 3)
        return 2;
    if (argc > 2)
        options.recovery_timeout_ms = (uint32_t)atoi(argv[2]);
    enum shoal_status status = shoal_context_create(NULL, &context);
    if (status == SHOAL_OK)
        status = shoal_world_join(context, &options, &world);
    if (status == SHOAL_OK)
        status = work(world, argv[1]);
    if (status != SHOAL_OK)
        return fail(status);
    printf("done\n");
    shoal_world_destroy(world);
    return shoal_context_destroy(context) != SHOAL_OK;
}
