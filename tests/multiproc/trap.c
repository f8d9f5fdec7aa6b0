/*
 * See trap.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/trap.h"

#include "control/sock.h"
#include "elastic/membership/message.h"
#include "elastic/node/internal.h"
#include "elastic/store/wire.h"
#include "support/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define NODE_MAGIC 0x4e4c4853u  /* node/link.c */
#define STORE_MAGIC 0x534c4853u /* store/wire.c */

struct laid {
    _Atomic uint32_t number; /* of the trap that is laid; 0: none */
    struct trap trap;
    uint64_t epoch;             /* of the view whose change the trap is for */
    _Atomic uint64_t committed; /* the highest of a view that members told each other of */
    _Atomic pid_t caught;
};

static struct laid *laid;       /* in memory that all processes share */
static _Atomic bool is_subject; /* this process is a member */

/* Of this process; its threads send and receive. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t counted_for, count;
static enum trap_message last_request = TRAP_MESSAGES;
static struct shl_record record;
static struct shl_message message;

const char *trap_text(const struct trap *trap)
{
    static const char *const messages[] = {
        "REACH",    "the swap to PREPARED",  "the answer to it",   "PREPARED",
        "ACK",      "the swap to COMMITTED", "the answer to that", "COMMITTED",
        "ADDRESSES"};
    static const char *const moments[] = {"before sending", "after sending", "on receipt of"};
    static char text[96];
    snprintf(text, sizeof(text), "%s %s, number %u", moments[trap->moment], messages[trap->message],
             trap->k);
    return text;
}

/* ---- which message is it ------------------------------------------------------------------------
 */

/* What is left of the change before may still be under way: it is none of these. A record, and what
 * belongs to one, is of a view to come. */
static bool is_to_come(uint64_t epoch)
{
    return epoch > laid->epoch;
}

static enum trap_message of_phase(enum trap_message prepared, enum trap_message committed)
{
    if (!is_to_come(record.epoch))
        return TRAP_MESSAGES;
    if (record.phase == SHL_PHASE_PREPARED)
        return prepared;
    return record.phase == SHL_PHASE_COMMITTED ? committed : TRAP_MESSAGES;
}

static enum trap_message of_membership(const uint8_t *data, size_t bytes)
{
    if (!shl_message_get(data, bytes, &record, &message))
        return TRAP_MESSAGES;
    if (message.kind == SHL_MESSAGE_REACH)
        return message.epoch >= laid->epoch ? TRAP_REACH : TRAP_MESSAGES;
    if (message.kind == SHL_MESSAGE_ACK)
        return is_to_come(message.epoch) ? TRAP_ACK : TRAP_MESSAGES;
    bool is_record = message.kind == SHL_MESSAGE_RECORD;
    if (is_record && record.phase == SHL_PHASE_COMMITTED && record.epoch > laid->committed)
        laid->committed = record.epoch;
    if (is_record && record.writer == message.from)
        return of_phase(TRAP_PREPARE, TRAP_COMMIT);
    return TRAP_MESSAGES;
}

static enum trap_message of_blob(const uint8_t *body, size_t bytes)
{
    struct shl_bytes in = shl_bytes_reader(body, bytes);
    return is_to_come(shl_bytes_get_u64(&in)) ? TRAP_ADDRESSES : TRAP_MESSAGES;
}

static enum trap_message of_request(const uint8_t *body, size_t bytes)
{
    struct shl_store_request request;
    last_request = TRAP_MESSAGES;
    if (!shl_store_get_request(body, bytes, &request) || !request.swap)
        return TRAP_MESSAGES;
    struct shl_bytes in = shl_bytes_reader(request.bytes, request.size);
    if (shl_record_get(&in, &record))
        last_request = of_phase(TRAP_PREPARE_SWAP, TRAP_COMMIT_SWAP);
    return last_request;
}

/* The client reads the header of an answer by itself, and has one request under way. */
static enum trap_message of_answer(void)
{
    if (last_request == TRAP_PREPARE_SWAP)
        return TRAP_PREPARE_ANSWER;
    return last_request == TRAP_COMMIT_SWAP ? TRAP_COMMIT_ANSWER : TRAP_MESSAGES;
}

static bool is_awaited(enum trap_message what, enum trap_moment moment)
{
    uint32_t number = laid->number;
    if (!number || what != laid->trap.message || moment != laid->trap.moment)
        return false;
    if (counted_for != number)
        count = 0;
    counted_for = number;
    return ++count == laid->trap.k;
}

/* One or more frames, from the first on; what does not begin with one is passed by. */
static bool has_awaited(const uint8_t *data, size_t bytes, enum trap_moment moment)
{
    bool found = false, sends = moment != TRAP_ON_RECEIPT;
    struct shl_bytes in = shl_bytes_reader(data, bytes);
    while (!found && shl_bytes_left(&in) >= SHL_STORE_HEADER_BYTES) {
        uint32_t magic = shl_bytes_get_u32(&in), kind = shl_bytes_get_u32(&in), size = kind;
        if (magic == STORE_MAGIC && !sends)
            return is_awaited(of_answer(), moment);
        if (magic == NODE_MAGIC)
            size = shl_bytes_get_u32(&in);
        const uint8_t *body = shl_bytes_take(&in, size);
        if (!body)
            break;
        if (magic == STORE_MAGIC)
            found = is_awaited(of_request(body, size), moment);
        else if (magic == NODE_MAGIC && kind == SHL_NODE_MEMBERSHIP)
            found = is_awaited(of_membership(body, size), moment);
        else if (magic == NODE_MAGIC && kind == SHL_NODE_BLOB)
            found = is_awaited(of_blob(body, size), moment);
        else if (magic != NODE_MAGIC)
            break;
    }
    return found;
}

/* ---- what passes by -----------------------------------------------------------------------------
 */

static void watch(const void *data, size_t bytes, enum trap_moment moment)
{
    pid_t nobody = 0;
    uint32_t magic;
    if (!is_subject || bytes < SHL_STORE_HEADER_BYTES)
        return;
    memcpy(&magic, data, sizeof(magic));
    if (magic != NODE_MAGIC && magic != STORE_MAGIC)
        return;
    pthread_mutex_lock(&lock);
    bool found = has_awaited(data, bytes, moment);
    pthread_mutex_unlock(&lock);
    if (found && atomic_compare_exchange_strong(&laid->caught, &nobody, getpid()))
        kill(getpid(), SIGKILL);
}

static ssize_t trapped_send(int fd, const void *data, size_t bytes, int flags)
{
    watch(data, bytes, TRAP_BEFORE_SENDING);
    ssize_t sent = shl_sock_kernel.send(fd, data, bytes, flags);
    if (sent > 0)
        watch(data, (size_t)sent, TRAP_AFTER_SENDING);
    return sent;
}

static ssize_t trapped_recv(int fd, void *data, size_t bytes, int flags)
{
    ssize_t got = shl_sock_kernel.recv(fd, data, bytes, flags);
    if (got > 0)
        watch(data, (size_t)got, TRAP_ON_RECEIPT);
    return got;
}

void trap_install(void)
{
    static struct shl_sys_sock table;
    laid = mmap(NULL, sizeof(*laid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(laid != MAP_FAILED);
    table = shl_sock_kernel;
    table.send = trapped_send;
    table.recv = trapped_recv;
    shl_sock = &table;
}

void trap_begin(void)
{
    laid->number = 0;
    laid->committed = 0;
}

void trap_enter(void)
{
    is_subject = true;
}

void trap_lay(const struct trap *trap)
{
    static uint32_t number;
    laid->number = 0;
    laid->trap = *trap;
    laid->epoch = laid->committed;
    laid->caught = 0;
    laid->number = ++number;
}

pid_t trap_caught(void)
{
    return laid->caught;
}
