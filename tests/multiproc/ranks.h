/*
 * Real ranks: processes that form a communicator over real transports and report to the test.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_RANKS_H
#define TESTS_MULTIPROC_RANKS_H

#include <shoal/shoal.h>
#include <stdbool.h>
#include <sys/types.h>

#define RANKS_MAX 64
#define RANKS_SECONDS 60 /* then everything is killed and the test fails */

/* What a rank tells the test; in memory that both share. */
struct rank_report {
    int status;         /* of the step under test */
    char text[512];     /* shoal_last_error after it */
    int later_status;   /* of an operation after it */
    int init_status;    /* of forming the communicator */
    uint64_t number;    /* free for the test */
    double seconds;     /* that the step took */
    volatile int stage; /* free for the test: how far the rank is */
};

struct rank {
    uint32_t rank, size;
    struct shoal_context *context;
    struct shoal_comm *comm;
    struct rank_report *report;
    struct rank_report *reports; /* all ranks' */
    const void *arg;
};

struct ranks_job {
    uint32_t size;
    const char *const *settings;   /* "SHOAL_KEY=value", NULL at the end; may be NULL */
    void (*before)(uint32_t rank); /* in the rank, before anything of the library; may be NULL */
    void (*body)(struct rank *self);
    /* In the test, once all ranks run; may be NULL. */
    void (*meanwhile)(const struct ranks_job *job, const pid_t *pids, struct rank_report *reports);
    const void *arg;
    uint32_t init_timeout_ms, op_timeout_ms;
    uint32_t absent; /* ranks from here on are not started; 0: all are */
    bool expect_init_error;
};

/* Runs the job; every rank that was not killed must exit by itself. Reports stay valid until the
 * next call. Fails the test when time runs out. */
struct rank_report *ranks_run(const struct ranks_job *job);

/* Sum of one int32 a rank; SHOAL_ERR_INTERNAL when the result is wrong. */
int ranks_sum(struct rank *self);
/* Fill the report from a status. */
void ranks_tell(struct rank *self, int status);
double ranks_now_s(void);
/* Wait (bounded) until all of the first `count` ranks have reached this stage. */
void ranks_await_stage(struct rank_report *reports, uint32_t count, int stage);

#endif
