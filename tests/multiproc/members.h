/*
 * Real members of an elastic world: processes that find each other through a coordinator, which is
 * a process too. What they saw stays in shared memory, also of those that are killed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_MEMBERS_H
#define TESTS_MULTIPROC_MEMBERS_H

#include <shoal/shoal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define MEMBERS_MAX 40
#define MEMBERS_SEEN 65536
#define MEMBERS_SAMPLES 61 /* of a data epoch */
#define MEMBERS_SECONDS 60 /* then everything is killed and the test fails */

/* One operation that returned OK. */
struct member_saw {
    uint64_t seq, epoch;
    uint64_t mask; /* slots whose values are in the result */
    uint32_t contributors;
    double at_s;
};

struct member_report {
    /* Status: what ended its loop. Reports begin at pages, as other kernels may write them. */
    alignas(4096) int join_status;
    int status;
    char text[512];
    uint32_t rank;            /* in its first view */
    _Atomic uint32_t count;   /* of `saw` */
    uint64_t state;           /* of members_steps: the sum of all steps' masks */
    _Atomic uint32_t retries; /* steps that began again */
    _Atomic int left;         /* its loop ended because it left as it asked */
    _Atomic int done;         /* its body has returned */
    struct member_saw saw[MEMBERS_SEEN];
    /* Of members_steps, by step: a bit for each sample that was read for it, committed or not. */
    uint64_t read[MEMBERS_SEEN], data_epoch[MEMBERS_SEEN];
};

struct members_shared {
    _Atomic int stop;  /* members end their loops, together */
    _Atomic int leave; /* slot + 1 of who is to leave */
    struct member_report reports[MEMBERS_MAX];
};

struct member {
    uint32_t slot; /* of the process; members' values are 1 << slot */
    struct shoal_context *context;
    struct shoal_world *world;
    struct member_report *report;
    struct members_shared *shared;
    const struct members_job *job;
};

struct members_job {
    uint32_t start, min;
    enum shoal_step_mode mode;
    const char *const *settings; /* "SHOAL_KEY=value", NULL at the end */
    uint32_t hosts;    /* of hosts.h, which are open; slot s is on s modulo them, the coordinator on
                          the next one; 0: all on this host */
    uint32_t domains;  /* slot s is in failure domain s modulo them; 0: not told */
    const char *store; /* of somebody else's; NULL: a coordinator of this job's */
    bool catch_up;     /* whoever comes later gets state before it is let in */
    const char *address; /* of this job's coordinator; NULL: any that is free */
    const char *file;    /* `members_shared` is this file, which is made; NULL: of no file */
    void (*before)(uint32_t slot); /* in the member's process, before it joins; NULL: nothing */
    void (*boot)(uint32_t slot);   /* becomes the program that takes part; NULL: the process does */
    bool restarts; /* the coordinator keeps a journal, so that it can be started again */
    size_t elements;
    bool in_place; /* members_sum */
    uint32_t op_timeout_ms, recovery_timeout_ms;
    void (*body)(struct member *self);
    uint32_t victim; /* slot + 1 of a member with settings of its own: */
    const char *const *victim_settings;
};

struct members {
    const struct members_job *job;
    struct members_shared *shared;
    char address[256];
    char journal[64];        /* of the coordinator */
    pid_t coordinator;       /* 0: the store is somebody else's */
    pid_t pids[MEMBERS_MAX]; /* 0: not started, or reaped */
    int exits[MEMBERS_MAX];  /* status of waitpid */
};

void members_open(struct members *members, const struct members_job *job);
void members_start(struct members *members, uint32_t slot);
/* After its death: it goes on from its journal. */
void members_start_coordinator(struct members *members);
/* Until a slot's member has seen `more` operations more than now. Fails the test in the end. */
void members_await(struct members *members, uint32_t slot, uint32_t more);
void members_kill(struct members *members, uint32_t slot, int signal);
/* Wait for everybody to exit, fail on hangs, and end the coordinator. */
void members_close(struct members *members);

/* These slots' members joined and came to the end of what they do. */
void members_check_ended(const struct members *members, const uint32_t *slots, uint32_t count);
/* No two of these slots saw different results of one operation. Returns the number of operations
 * that were compared. */
uint32_t members_check_history(const struct members *members, const uint32_t *slots,
                               uint32_t count);

/* The usual end: each of these slots sees `more` operations and the job stops. They have come to
 * the end of what they do, with one history of at least 20 operations. */
void members_finish(struct members *members, const uint32_t *slots, uint32_t count, uint32_t more);

/* What was read for the steps that members_steps committed is each sample exactly once in each data
 * epoch. `slots`: who came through to the end. */
void members_check_samples(const struct members *members, const uint32_t *slots, uint32_t count);

/* Joins, does the job's body and ends: the whole life of a member's process. */
void members_take_part(struct member *self, const char *store);

/* A body: sums of 1 << slot in a loop, every value checked, until `stop`. */
void members_loop(struct member *self);
/* A body: steps of two such sums over some samples; whoever joins gets the state by a broadcast,
 * and whoever is told to by `leave` or by SIGTERM leaves. */
void members_steps(struct member *self);
/* A body: as members_loop, but the results are in memory of shoal_mem_alloc, and each is checked
 * again some operations later: what a former member writes late is found wherever it lands. */
void members_keep(struct member *self);
/* For other bodies: what an operation or a step came to, and why the loop ended. */
/* An array of a state by its few settings; shoal_state_add. */
int members_add_array(struct shoal_state *state, const char *name, void *data, uint64_t count,
                      enum shoal_dtype dtype, enum shoal_state_kind kind);
void members_note(struct member *self, uint64_t seq, uint64_t epoch, int64_t mask);
void members_end_with(struct member *self, int status);
/* One such sum. *stop: somebody wants to end. */
int members_sum(struct member *self, int64_t *send, int64_t *recv, bool *stop);
double members_now_s(void);

#endif
