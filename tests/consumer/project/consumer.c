/*
 * What a user's first program does: print the version of the library it runs with, and reduce
 * something in a world of one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/shoal.h>

#include <stdio.h>

static enum shoal_status reduce_alone(float *sum)
{
    struct shoal_context *context;
    struct shoal_comm *comm;
    struct shoal_comm_options options = {sizeof(options), 0, 1, "127.0.0.1:0", NULL, 0, 0};
    const float mine = 3;
    enum shoal_status status = shoal_context_create(NULL, &context);
    if (status != SHOAL_OK)
        return status;
    status = shoal_comm_create(context, &options, &comm);
    if (status == SHOAL_OK) {
        status = shoal_allreduce(comm, &mine, sum, 1, SHOAL_F32, SHOAL_SUM);
        shoal_comm_destroy(comm);
    }
    shoal_context_destroy(context);
    return status;
}

int main(void)
{
    float sum = 0;
    if (shoal_version() / 1000000u != SHOAL_VERSION_MAJOR)
        return 1;
    if (reduce_alone(&sum) != SHOAL_OK) {
        fprintf(stderr, "%s\n", shoal_last_error());
        return 1;
    }
    printf("shoal %s %g\n", shoal_version_string(), sum);
    return 0;
}
