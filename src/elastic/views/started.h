/*
 * Operations that were started: a queue, in the order of the calls.
 *
 * They are carried out one after the other, just as if the program had called them then: by whoever
 * waits for one of them, else by a thread of the world. So all that holds for a call when members
 * are lost holds for them. Calls that block come after all that was started before.
 *
 * Threads  the world's lock; `carrying out` also needs its `calling`
 * Invariant: one leaves the queue when its status is there, and whoever took it from the front
 * holds `calling`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_VIEWS_STARTED_H
#define SHL_ELASTIC_VIEWS_STARTED_H

#include "core/list.h"

#include <pthread.h>
#include <shoal/elastic.h>
#include <stdbool.h>

#define SHL_STARTED_TEXT 512

/* Memory that keeps the input of an operation, which that overwrites. */
struct shl_input {
    uint8_t *at; /* NULL: none */
    size_t bytes;
};

struct shoal_world_request {
    struct shl_list queued, link; /* in `queue` until it is over; in `all` until it is destroyed */
    struct shoal_world *world;    /* NULL: that is destroyed */
    struct shoal_call call;
    bool is_mean;
    double weight;
    struct shl_input input; /* found when it was started: then nothing of its own can fail later */
    enum shoal_status status;
    struct shoal_op_info info;
    char text[SHL_STARTED_TEXT];
};

struct shl_started {
    struct shl_list queue, all;
    struct shoal_world_request *carried; /* the first one, while it is carried out */
    bool driven;                         /* somebody is about to carry the first one out, or does */
    bool running;                        /* the thread */
    bool stop;
    pthread_t thread;
    enum shoal_status failure; /* the first of the open step that is not SHOAL_OK */
    char failure_text[SHL_STARTED_TEXT];
};

void shl_started_init(struct shoal_world *world);
/* Those that are not over end with SHOAL_ERR_ABORTED, and the thread ends. */
void shl_started_detach(struct shoal_world *world);

/* A call whose arguments are checked. Takes the locks, as do the next two. */
enum shoal_status shl_started_add(struct shoal_world *world, const struct shoal_world_request *what,
                                  struct shoal_world_request **request);
/* Until it is over, or for so long; SHOAL_IN_PROGRESS: it is not. */
enum shoal_status shl_started_wait(struct shoal_world_request *request, uint32_t timeout_ms);
void shl_started_destroy(struct shoal_world_request *request);

/* calling, lock: carry all of them out. */
void shl_started_drain(struct shoal_world *world);
/* lock: the step is given up, and with it what was started in it and not begun. */
void shl_started_drop(struct shoal_world *world);
/* lock: what a commit fails with, since not all that was started in its step is done. */
enum shoal_status shl_started_failure(const struct shoal_world *world);

#endif
