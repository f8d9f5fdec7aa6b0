/*
 * The smallest whole program: every rank contributes its number and gets the sum.
 *
 *     shoal run -n 4 -- ./allreduce
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/shoal.h>
#include <stdio.h>

int main(void)
{
    struct shoal_context *context;
    struct shoal_comm *comm;
    if (shoal_context_create(NULL, &context) || shoal_comm_create_from_env(context, &comm))
        return fprintf(stderr, "%s\n", shoal_last_error()), 1;
    float mine = (float)shoal_comm_rank(comm), sum;
    if (shoal_allreduce(comm, &mine, &sum, 1, SHOAL_F32, SHOAL_SUM))
        return fprintf(stderr, "%s\n", shoal_last_error()), 1;
    printf("rank %u: the sum of all ranks is %g\n", shoal_comm_rank(comm), sum);
    shoal_comm_destroy(comm);
    return shoal_context_destroy(context) != SHOAL_OK;
}
