/*
 * A rank of an MPI job that reduces 1 KiB for ever and says what becomes of it when another is
 * killed. Errors are asked to be returned.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <mpi.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    float values[256] = {0};
    int rank, status = MPI_SUCCESS;
    MPI_Init(&argc, &argv);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Barrier(MPI_COMM_WORLD);
    printf("rank %d %d\n", rank, (int)getpid());
    fflush(stdout);
    while (status == MPI_SUCCESS)
        status = MPI_Allreduce(MPI_IN_PLACE, values, 256, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    printf("error %.6f status %d\n", now_s(), status);
    fflush(stdout);
    MPI_Abort(MPI_COMM_WORLD, 1);
    return 1;
}
