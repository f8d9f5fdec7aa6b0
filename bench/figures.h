/*
 * What the benches of elastic worlds measure with: a clock, a median, and an end when a call fails.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

double figures_now_s(void);

/* Ascending. */
void figures_sort(double *values, uint32_t count);

/* The upper one of the two in the middle; sorts the values. */
double figures_median(double *values, uint32_t count);

/* Ends the process when it is not good, with the library's last error. */
void figures_need(bool good, const char *what);

#endif
