/*
 * Inside of `shoal run`.
 *
 *   shoal_run.c   options, rendezvous and secret     run_launch.c  starting one rank
 *   run_watch.c   signals, exits, deadlines          run_output.c  lines with the rank's prefix
 *   run_elastic.c workers that are started again
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_EXIT_TIMEOUT 124 /* as timeout(1) */
#define RUN_EXIT_CANNOT_RUN 127

/* One output stream of one rank: bytes are held until their line is whole. */
struct run_stream {
    int from; /* read end of the pipe; -1: none, or at its end */
    int to;   /* our stdout or stderr */
    char *held;
    size_t held_bytes;
};

struct run_rank {
    uint32_t rank;
    pid_t pid; /* 0: not started, or reaped */
    struct run_stream streams[2];
    uint64_t born_ns;
    uint64_t restart_ns; /* elastic: when it is started again; 0: it is not */
    uint32_t restarts;   /* elastic: in a row */
};

struct run {
    char **command; /* ends with NULL */
    uint32_t count; /* local ranks */
    uint32_t first, size;
    bool prefix;
    double timeout_s; /* 0: none */
    double grace_s;
    const char *job;         /* NULL: as the environment says */
    const char *secret_file; /* for the ranks; NULL: as the environment says */
    const char *rendezvous;

    bool elastic;     /* the ranks are workers of an elastic job, which outlives each of them */
    const char *join; /* its store */
    uint32_t world_min, world_max, world_start;
    uint32_t restarts; /* in a row, of one worker */
    double backoff_s;  /* before the first of them; doubles */
    double healthy_s;  /* a worker that lived so long begins a new row */
    bool spare;        /* one of the workers is more than are asked for */
    bool over;         /* a worker has ended with status 0: so has the job */

    struct run_rank *ranks;
    int signal_fd;
    uint32_t running;
    uint64_t begun_ns;
    uint64_t oom_kills; /* of the cgroup, before the ranks ran */
    int exit_status;
    bool failed;          /* the first failure has been named */
    bool interrupted;     /* by a signal of the user */
    bool output_gone;     /* nobody reads our output any more */
    int escalation;       /* 0: let them be, 1: SIGTERM was sent, 2: SIGKILL was */
    uint64_t escalate_ns; /* when the next step is due; 0: none */
};

/* run_launch - start one rank. False: a line was printed. */
bool run_launch(struct run *run, struct run_rank *rank);

/* run_stream_read - move what is there, whole lines only. At the end of file the rest follows and
 * the stream is closed. False: nobody reads our output. */
bool run_stream_read(struct run_stream *stream, const char *prefix);
/* run_stream_end - write what is held and close; for when others still hold the pipe open. */
void run_stream_end(struct run_stream *stream, const char *prefix);

/* run_elastic_ended - a worker of an elastic job ended: it is started again later, or is not. */
void run_elastic_ended(struct run *run, struct run_rank *rank, int status);
/* When the next worker is to be started again; UINT64_MAX: none is. */
uint64_t run_elastic_due(const struct run *run);
void run_elastic_restart(struct run *run); /* those that are due */

/* run_watch - until every rank has ended. Returns the exit status of `shoal run`. */
int run_watch(struct run *run);
/* Kill what ranks left behind, and reap it. */
void run_reap_orphans(void);
uint64_t run_oom_kills(void);

#endif
