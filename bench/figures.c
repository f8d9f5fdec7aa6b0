/*
 * Clock, median and complaint of the benches of elastic worlds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "figures.h"

#include <shoal/shoal.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

double figures_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void figures_sort(double *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), by_size);
}

double figures_median(double *values, uint32_t count)
{
    figures_sort(values, count);
    return values[count / 2];
}

void figures_need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, shoal_last_error());
    _exit(1);
}
