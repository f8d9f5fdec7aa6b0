/*
 * A look-up in a thread of its own, which outlives a caller that ran out of time.
 *
 * Invariant: the question is freed by whoever lets go of it last, asker or thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/resolve.h"
#include "control/thread.h"
#include "core/sys.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define FOUND_MAX 8

struct question {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    uint32_t holders;
    bool done;
    char host[256];
    uint16_t port;
    int error; /* of getaddrinfo */
    struct shl_sockaddr found[FOUND_MAX];
    uint32_t count;
};

static void let_go(struct question *question)
{
    pthread_mutex_lock(&question->lock);
    bool last = --question->holders == 0;
    pthread_mutex_unlock(&question->lock);
    if (!last)
        return;
    pthread_cond_destroy(&question->answered);
    pthread_mutex_destroy(&question->lock);
    shl_mem->free(question);
}

static void keep_answers(struct question *question, const struct addrinfo *all)
{
    for (; all && question->count < FOUND_MAX; all = all->ai_next) {
        struct shl_sockaddr *to = &question->found[question->count];
        if (all->ai_family != AF_INET && all->ai_family != AF_INET6)
            continue;
        memset(to, 0, sizeof(*to));
        to->bytes = all->ai_addrlen;
        memcpy(&to->any, all->ai_addr, all->ai_addrlen);
        if (all->ai_family == AF_INET)
            to->v4.sin_port = htons(question->port);
        else
            to->v6.sin6_port = htons(question->port);
        question->count++;
    }
}

static void *ask(void *arg)
{
    struct question *question = arg;
    struct addrinfo *all = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    int error = shl_sock->getaddrinfo(question->host, NULL, &hints, &all);
    pthread_mutex_lock(&question->lock);
    question->error = error;
    if (!error)
        keep_answers(question, all);
    question->done = true;
    pthread_cond_signal(&question->answered);
    pthread_mutex_unlock(&question->lock);
    if (!error)
        shl_sock->freeaddrinfo(all);
    let_go(question);
    return NULL;
}

static enum shoal_status pose(const char *host, uint16_t port, pthread_t *thread,
                              struct question **posed)
{
    pthread_condattr_t monotonic;
    struct question *question = shl_mem->alloc(sizeof(*question));
    if (!question)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to resolve \"%s\"", host);
    pthread_mutex_init(&question->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&question->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);
    snprintf(question->host, sizeof(question->host), "%s", host);
    question->port = port;
    question->holders = 2;
    enum shoal_status status = shl_thread_start(thread, "shoal-resolve", ask, question);
    if (status < 0) {
        question->holders = 1;
        let_go(question);
        return status;
    }
    *posed = question;
    return SHOAL_OK;
}

static enum shoal_status read_answer(const struct question *question, struct shl_sockaddr *found,
                                     uint32_t capacity, uint32_t *count)
{
    if (!question->done)
        return shl_fail(SHOAL_ERR_TIMEOUT,
                        "the name service did not resolve \"%s\" before the deadline",
                        question->host);
    if (question->error || !question->count)
        return shl_fail(SHOAL_ERR_SYSTEM, "cannot resolve host \"%s\": %s", question->host,
                        question->error ? gai_strerror(question->error)
                                        : "it has no IPv4 or IPv6 address");
    *count = question->count < capacity ? question->count : capacity;
    memcpy(found, question->found, *count * sizeof(*found));
    return SHOAL_OK;
}

enum shoal_status shl_resolve(const char *host, uint16_t port, uint64_t deadline_ns,
                              struct shl_sockaddr *found, uint32_t capacity, uint32_t *count)
{
    struct question *question = NULL;
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    if (capacity && shl_sockaddr_parse(host, port, &found[0])) {
        *count = 1;
        return SHOAL_OK;
    }
    pthread_t thread;
    SHL_TRY(pose(host, port, &thread, &question));
    pthread_mutex_lock(&question->lock);
    while (!question->done &&
           pthread_cond_timedwait(&question->answered, &question->lock, &until) == 0)
        ;
    bool done = question->done;
    enum shoal_status status = read_answer(question, found, capacity, count);
    pthread_mutex_unlock(&question->lock);
    if (done)
        pthread_join(thread, NULL); /* it has nothing left to wait for */
    else
        pthread_detach(thread);
    let_go(question);
    return status;
}
