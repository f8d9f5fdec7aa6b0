/*
 * See guest_member.h. A thread copies between the member's memory and the file. What the guest
 * writes reaches the host's file at once, but what it has read it keeps, so it is made to forget.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/guest_member.h"

#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVERY_US 5000
#define HEAD_BYTES offsetof(struct member_report, saw)

struct mirror {
    int fd;
    off_t at; /* of the report in the file */
    struct member_report *report, *head;
    struct members_shared *shared;
    uint32_t written; /* operations */
    _Atomic int over;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void put(const struct mirror *mirror, const void *data, size_t bytes, size_t offset)
{
    if (pwrite(mirror->fd, data, bytes, mirror->at + (off_t)offset) != (ssize_t)bytes)
        fail("the file of reports");
}

/* The head is copied before operations are counted, so that it never says `done` too early. */
static void put_report(struct mirror *mirror)
{
    const struct member_report *report = mirror->report;
    memcpy(mirror->head, report, HEAD_BYTES);
    uint32_t count = report->count;
    const struct member_saw *first = &report->saw[mirror->written];
    put(mirror, first, (count - mirror->written) * sizeof(*first),
        (size_t)((const char *)first - (const char *)report));
    mirror->head->count = mirror->written = count;
    put(mirror, mirror->head, HEAD_BYTES, 0);
}

static void get_orders(const struct mirror *mirror)
{
    int orders[2];
    posix_fadvise(mirror->fd, 0, offsetof(struct members_shared, reports), POSIX_FADV_DONTNEED);
    if (pread(mirror->fd, orders, sizeof(orders), 0) != sizeof(orders))
        fail("the file of orders");
    mirror->shared->stop = orders[0];
    mirror->shared->leave = orders[1];
}

static void *run_mirror(void *arg)
{
    struct mirror *mirror = arg;
    while (!mirror->over) {
        put_report(mirror);
        get_orders(mirror);
        usleep(EVERY_US);
    }
    put_report(mirror);
    return NULL;
}

void guest_member_run(const struct members_job *job, const char *path, uint32_t slot)
{
    pthread_t thread;
    size_t offset =
        offsetof(struct members_shared, reports[0]) + slot * sizeof(struct member_report);
    struct members_shared *shared = aligned_alloc(alignof(struct members_shared), sizeof(*shared));
    struct mirror mirror = {
        .fd = open(path, O_RDWR | O_CLOEXEC),
        .at = (off_t)offset,
        .shared = shared,
        .head = aligned_alloc(alignof(struct member_report), sizeof(struct member_report))};
    if (mirror.fd < 0 || !shared || !mirror.head)
        fail(path);
    _Static_assert(offsetof(struct members_shared, leave) == sizeof(int), "as it is read");
    mirror.report = &shared->reports[slot];
    memset(mirror.report, 0, sizeof(*mirror.report));
    get_orders(&mirror);
    struct member self = {.slot = slot, .report = mirror.report, .shared = shared, .job = job};
    if (pthread_create(&thread, NULL, run_mirror, &mirror))
        fail("a thread");
    members_take_part(&self, job->address);
    mirror.over = 1;
    pthread_join(thread, NULL);
    close(mirror.fd);
    free(mirror.head);
    free(shared);
}
