/*
 * A server of a job, the rendezvous or the coordinator: it listens, takes callers that have proved
 * the job's secret, and serves them on one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_SERVER_H
#define SHL_ELASTIC_SERVER_H

#include "control/listener.h"
#include "control/loop.h"
#include "core/config.h"

#include <pthread.h>
#include <stdatomic.h>

/* All calls are made by the server's thread. */
struct shl_server_options {
    const struct shl_config *config;
    const char *what;               /* names it in errors: "rendezvous" */
    const char *thread;             /* name of the thread, 15 bytes at most */
    const char *address;            /* as shl_listen_at takes it */
    const struct shl_key *key;      /* copied */
    const struct shl_hello *expect; /* of callers; copied */
    void *arg;
    void (*accepted)(void *arg, int fd); /* takes the descriptor of one that proved the secret */
    void (*stopping)(void *arg);         /* the last thing done by the thread; may be NULL */
};

/* Part of the object that serves; zero before it starts. */
struct shl_server {
    struct shl_loop loop;
    struct shl_listener listener;
    struct shl_key key;
    char address[SHL_SOCK_TEXT_BYTES]; /* with the port that was bound */
    pthread_t thread;
    _Atomic bool stop_requested;
    void *arg;
    void (*accepted)(void *arg, int fd);
    void (*stopping)(void *arg);
};

/*
 * shl_server_start - listen, and serve on a thread.
 * Errors  those of shl_listen_at; then there is nothing to finish
 */
enum shoal_status shl_server_start(struct shl_server *server,
                                   const struct shl_server_options *options);

/* shl_server_stop - wait until the thread has ended. Callers that were taken are still watched. */
void shl_server_stop(struct shl_server *server);

/* shl_server_fini - after stop, once all callers are closed. */
void shl_server_fini(struct shl_server *server);

#endif
