/*
 * MPI_Allreduce of float32 sums, timed as allreduce_bench times Shoal: the same warm-up, the same
 * rule for the number of iterations, the same buffers every time. Built by bench/compare with the
 * mpicc of each MPI it finds. Prints "bytes,us" lines.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET_US 200000.0
#define WARMUPS 5

static float *input, *output;

static double loop(int count, long iterations)
{
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    for (long i = 0; i < iterations; i++)
        MPI_Allreduce(input, output, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    return (MPI_Wtime() - start) * 1e6 / (double)iterations;
}

static long choose(int count)
{
    double us = loop(count, 3), most;
    MPI_Allreduce(&us, &most, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    double fit = TARGET_US / (most > 0.1 ? most : 0.1);
    return fit < 5 ? 5 : fit > 100000 ? 100000 : (long)fit;
}

static int check(int count, int size)
{
    for (int i = 0; i < count; i++)
        if (output[i] != (float)(size * (size + 1) / 2))
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    int rank, size, wrong = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc < 4) {
        fprintf(stderr, "usage: mpi_peer MIN_BYTES MAX_BYTES FACTOR\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    size_t first = strtoull(argv[1], NULL, 10), last = strtoull(argv[2], NULL, 10);
    size_t factor = strtoull(argv[3], NULL, 10);
    if (posix_memalign((void **)&input, 4096, last + 4096) ||
        posix_memalign((void **)&output, 4096, last + 4096))
        MPI_Abort(MPI_COMM_WORLD, 1);
    for (size_t i = 0; i < last / 4; i++)
        input[i] = (float)(rank + 1);
    memset(output, 0, last);
    for (size_t bytes = first; bytes <= last; bytes *= factor) {
        int count = (int)(bytes / 4);
        loop(count, WARMUPS);
        double us = loop(count, choose(count)), mean;
        MPI_Allreduce(&us, &mean, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        wrong |= check(count, size);
        if (rank == 0) {
            printf("%zu,%.4f\n", bytes, mean / size);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return wrong;
}
