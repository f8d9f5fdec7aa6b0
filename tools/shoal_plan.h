/*
 * What `shoal plan` is asked, and what it finds out about each algorithm.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_PLAN_H
#define SHOAL_PLAN_H

#include "collectives/schedule.h"
#include "collectives/simulate.h"

#include <jansson.h>

#define PLAN_ALGORITHMS_MAX 64

struct plan_request {
    enum shoal_collective collective;
    uint32_t ranks, root, chunks; /* chunks 0: those with the least predicted time */
    uint64_t bytes;
    uint32_t hosts, local; /* hosts of so many neighbouring ranks; 0: every rank its own host */
    uint32_t *host_of;     /* NULL when hosts is 0 */
    const char *algorithm; /* NULL: all that suit */
    int64_t rank;          /* whose schedule to print; -1: nobody's */
    bool prove, simulate, in_rank_order, json;
    struct shl_costs costs;
    double oversubscription;
};

/* One algorithm's line. */
struct plan_line {
    const struct shl_algorithm *algorithm;
    uint32_t chunks;
    double predicted_s;
    bool chosen;    /* what the library would use */
    uint32_t steps; /* most of a rank; from here on of rank 0 unless simulated */
    uint64_t bytes_sent, messages;
    bool proved, refuted;
    char finding[512]; /* when refuted */
    bool simulated;
    struct shl_simulation simulation;
};

struct plan {
    const struct plan_request *request;
    struct shl_host_map hosts;
    uint32_t count;
    struct plan_line lines[PLAN_ALGORITHMS_MAX];
};

/* plan_make - fill the lines in; nearest predicted time first. Errors carry a detail. */
enum shoal_status plan_make(const struct plan_request *request, struct plan *plan);

/* plan_shape - the shape that a line is about, for one rank. */
struct shl_shape plan_shape(const struct plan *plan, const struct plan_line *line, uint32_t rank);

void plan_print(const struct plan *plan);
/* All of it as JSON, with the steps of `schedule` when not NULL; NULL: no memory. */
json_t *plan_json(const struct plan *plan, const struct shl_schedule *schedule);
void plan_list(bool json);

#endif
