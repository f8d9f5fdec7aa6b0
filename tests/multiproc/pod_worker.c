/*
 * pod_worker STOP: a worker of an elastic job, as `shoal run` starts them. Steps until the file
 * STOP is there, and says when the number of workers changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/shoal.h>
#include <stdio.h>
#include <unistd.h>

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
        if (status != SHOAL_OK || all[1])
            return status;
        if ((uint32_t)all[0] != size)
            printf("%lld workers at step %llu\n", (long long)all[0], (unsigned long long)step.step);
        size = (uint32_t)all[0];
        usleep(1000);
    }
}

int main(int argc, char **argv)
{
    struct shoal_context *context;
    struct shoal_world *world;
    struct shoal_world_options options = {.struct_size = sizeof(options)};
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 2)
        return 2;
    if (shoal_context_create(NULL, &context) || shoal_world_join(context, &options, &world) ||
        work(world, argv[1]))
        return fprintf(stderr, "%s\n", shoal_last_error()), 1;
    printf("done\n");
    shoal_world_destroy(world);
    return shoal_context_destroy(context) != SHOAL_OK;
}
