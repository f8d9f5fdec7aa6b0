/*
 * Dialling: rounds of attempts over a peer's addresses.
 *
 * Invariant: while it runs, at least one attempt or the timer is pending, so it always ends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/dial.h"
#include "core/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define MS 1000000ull
#define BACKOFF_FIRST_MS 4
#define BACKOFF_LAST_MS 250

static void on_attempt(void *arg, uint32_t events);
static void on_attempt_timeout(void *arg);
static void on_timer(void *arg);
static void note(struct shl_dialler *dialler, uint32_t candidate, const char *what, int error);

void shl_dialler_init(struct shl_dialler *dialler, struct shl_loop *loop)
{
    memset(dialler, 0, sizeof(*dialler));
    dialler->loop = loop;
    shl_timer_init(&dialler->timer, on_timer, dialler);
    for (int i = 0; i < SHL_DIAL_PARALLEL; i++) {
        struct shl_dial_attempt *attempt = &dialler->attempts[i];
        attempt->dialler = dialler;
        shl_watch_init(&attempt->watch, on_attempt, attempt);
        shl_timer_init(&attempt->timer, on_attempt_timeout, attempt);
    }
}

/* Ends an attempt; its descriptor stays open and is the caller's. */
static int release(struct shl_dial_attempt *attempt)
{
    int fd = attempt->watch.fd;
    shl_loop_unwatch(attempt->dialler->loop, &attempt->watch);
    shl_loop_timer_stop(attempt->dialler->loop, &attempt->timer);
    attempt->used = false;
    return fd;
}

void shl_dialler_stop(struct shl_dialler *dialler)
{
    for (int i = 0; i < SHL_DIAL_PARALLEL; i++)
        if (dialler->attempts[i].used)
            shl_fd->close(release(&dialler->attempts[i]));
    shl_loop_timer_stop(dialler->loop, &dialler->timer);
    dialler->running = false;
}

static void conclude(struct shl_dialler *dialler, enum shl_dial_outcome outcome,
                     enum shoal_status status, uint8_t welcome, int fd)
{
    char cause[sizeof(dialler->cause)];
    struct shl_dial_result result = {outcome, status, welcome, fd, cause};
    memcpy(cause, dialler->cause, sizeof(cause));
    shl_dialler_stop(dialler);
    dialler->done(dialler->arg, &result);
}

/* ---- rounds ------------------------------------------------------------------------------ */

static bool all_idle(const struct shl_dialler *dialler)
{
    for (int i = 0; i < SHL_DIAL_PARALLEL; i++)
        if (dialler->attempts[i].used)
            return false;
    return true;
}

/* Up to half of it is left to chance, so that ranks which failed together do not come back
 * together. */
static uint64_t jittered_ns(uint32_t backoff_ms)
{
    uint32_t chance = 0;
    if (shl_random->bytes(&chance, sizeof(chance)))
        chance = 0x80000000u;
    return (uint64_t)backoff_ms * MS / 2 + (((uint64_t)backoff_ms * MS / 2) * chance >> 32);
}

/* Nobody listens there any more: the address that used to work says so, or all that can be
 * reached do. */
static bool host_refuses(const struct shl_dialler *dialler)
{
    if (dialler->worked)
        return dialler->first_refused;
    return dialler->refused &&
           (dialler->refused | dialler->unreachable) == (1u << dialler->target->count) - 1;
}

static void end_round(struct shl_dialler *dialler)
{
    uint64_t now = shl_now_ns();
    bool refused = host_refuses(dialler);
    dialler->tried = dialler->refused = dialler->unreachable = 0;
    dialler->first_refused = false;
    if (refused && dialler->give_up_when_refused) {
        if (dialler->worked) /* what the other addresses said does not matter */
            note(dialler, dialler->first, "", ECONNREFUSED);
        conclude(dialler, SHL_DIAL_REFUSED, SHOAL_ERR_PEER, 0, -1);
        return;
    }
    if (now >= dialler->deadline_ns) {
        conclude(dialler, SHL_DIAL_EXPIRED, SHOAL_ERR_TIMEOUT, 0, -1);
        return;
    }
    uint64_t next = now + jittered_ns(dialler->backoff_ms);
    dialler->backoff_ms =
        dialler->backoff_ms * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : dialler->backoff_ms * 2;
    shl_loop_timer_set(dialler->loop, &dialler->timer,
                       next < dialler->deadline_ns ? next : dialler->deadline_ns);
}

static bool start_attempt(struct shl_dialler *dialler, struct shl_dial_attempt *attempt,
                          uint32_t candidate);

/* ---- brisk ------------------------------------------------------------------------------- */

static void fail_briskly(struct shl_dialler *dialler);

/* Of the attempts that got no answer, the oldest but `skip`; NULL: none. */
static struct shl_dial_attempt *oldest_unanswered(struct shl_dialler *dialler,
                                                  const struct shl_dial_attempt *skip)
{
    struct shl_dial_attempt *oldest = NULL;
    for (int i = 0; i < SHL_DIAL_PARALLEL; i++) {
        struct shl_dial_attempt *attempt = &dialler->attempts[i];
        if (attempt->used && !attempt->connected && attempt != skip &&
            (!oldest || attempt->since_ns < oldest->since_ns))
            oldest = attempt;
    }
    return oldest;
}

/* The oldest attempt is spared for a while: the others have no time for an answer that travels
 * longer than they take turns. NULL: all got one. */
static struct shl_dial_attempt *make_place(struct shl_dialler *dialler)
{
    uint64_t now = shl_now_ns();
    for (int i = 0; i < SHL_DIAL_PARALLEL; i++)
        if (!dialler->attempts[i].used)
            return &dialler->attempts[i];
    struct shl_dial_attempt *spared = oldest_unanswered(dialler, NULL), *given_up = spared;
    if (now < dialler->spare_until_ns)
        given_up = oldest_unanswered(dialler, spared);
    else
        dialler->spare_until_ns = now + jittered_ns(SHL_DIAL_SPARE_MS);
    if (given_up) {
        note(dialler, given_up->candidate, "", ETIMEDOUT);
        shl_fd->close(release(given_up));
    }
    return given_up;
}

static void pace(struct shl_dialler *dialler)
{
    uint64_t next = shl_now_ns() + SHL_DIAL_BRISK_MS * MS;
    shl_loop_timer_set(dialler->loop, &dialler->timer,
                       next < dialler->deadline_ns ? next : dialler->deadline_ns);
}

/* Every second attempt goes to the address that last worked. */
static uint32_t next_candidate(struct shl_dialler *dialler)
{
    uint32_t count = dialler->target->count, turn = dialler->tried++;
    if (!dialler->worked)
        return (dialler->first + turn) % count;
    if (turn % 2 == 0 || count == 1)
        return dialler->first;
    return (dialler->first + 1 + turn / 2 % (count - 1)) % count;
}

static void advance_briskly(struct shl_dialler *dialler)
{
    struct shl_dial_attempt *attempt = dialler->target->count ? make_place(dialler) : NULL;
    pace(dialler);
    if (attempt && !start_attempt(dialler, attempt, next_candidate(dialler)))
        fail_briskly(dialler);
}

/* An attempt got an answer, or could not be made: what is not tried yet need not wait. */
static void fail_briskly(struct shl_dialler *dialler)
{
    if (host_refuses(dialler) && dialler->give_up_when_refused)
        end_round(dialler);
    else if (dialler->tried < dialler->target->count)
        advance_briskly(dialler);
    else
        pace(dialler);
}

/* ---- one after the other ----------------------------------------------------------------- */

/* Start the next candidate; when there is none and all have failed the round is over. */
static void advance(struct shl_dialler *dialler)
{
    while (dialler->tried < dialler->target->count) {
        struct shl_dial_attempt *free_attempt = NULL;
        for (int i = 0; i < SHL_DIAL_PARALLEL; i++)
            if (!dialler->attempts[i].used)
                free_attempt = &dialler->attempts[i];
        if (!free_attempt)
            return; /* one of them will end */
        uint32_t candidate = (dialler->first + dialler->tried++) % dialler->target->count;
        if (start_attempt(dialler, free_attempt, candidate)) {
            shl_loop_timer_set(dialler->loop, &dialler->timer,
                               shl_now_ns() + SHL_DIAL_STAGGER_MS * MS);
            return;
        }
    }
    shl_loop_timer_stop(dialler->loop, &dialler->timer);
    if (all_idle(dialler))
        end_round(dialler);
    else
        shl_loop_timer_set(dialler->loop, &dialler->timer, dialler->deadline_ns);
}

static void on_timer(void *arg)
{
    struct shl_dialler *dialler = arg;
    if (shl_now_ns() >= dialler->deadline_ns) {
        if (!dialler->cause[0])
            snprintf(dialler->cause, sizeof(dialler->cause), "no answer before the deadline");
        conclude(dialler, SHL_DIAL_EXPIRED, SHOAL_ERR_TIMEOUT, 0, -1);
        return;
    }
    if (dialler->brisk)
        advance_briskly(dialler);
    else
        advance(dialler);
}

void shl_dialler_start(struct shl_dialler *dialler)
{
    SHL_ASSERT(!dialler->running);
    dialler->running = true;
    dialler->tried = dialler->refused = dialler->unreachable = 0;
    dialler->first_refused = false;
    dialler->denied_since_ns = 0;
    dialler->backoff_ms = BACKOFF_FIRST_MS;
    dialler->spare_until_ns = shl_now_ns() + jittered_ns(SHL_DIAL_SPARE_MS);
    dialler->cause[0] = '\0';
    if (!dialler->target->count)
        snprintf(dialler->cause, sizeof(dialler->cause), "it has no address that can be tried");
    /* Not from here: done must not be called inside start. */
    shl_loop_timer_set(dialler->loop, &dialler->timer, shl_now_ns());
}

/* ---- one attempt ------------------------------------------------------------------------- */

static const struct shl_sockaddr *address_of(const struct shl_dial_attempt *attempt)
{
    return &attempt->dialler->target->addresses[attempt->candidate];
}

static void note(struct shl_dialler *dialler, uint32_t candidate, const char *what, int error)
{
    char address[SHL_SOCK_TEXT_BYTES];
    shl_sockaddr_format(&dialler->target->addresses[candidate], address, sizeof(address));
    if (error)
        snprintf(dialler->cause, sizeof(dialler->cause), "%s: %s (errno %d)", address,
                 strerrordesc_np(error), error);
    else
        snprintf(dialler->cause, sizeof(dialler->cause), "%s: %s", address, what);
    if (error == ECONNREFUSED) {
        dialler->refused |= 1u << candidate;
        dialler->first_refused |= candidate == dialler->first;
    } else if (error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL) {
        dialler->unreachable |= 1u << candidate;
    }
}

static void fail_attempt(struct shl_dial_attempt *attempt, const char *what, int error)
{
    struct shl_dialler *dialler = attempt->dialler;
    note(dialler, attempt->candidate, what, error);
    shl_fd->close(release(attempt));
    if (dialler->brisk)
        fail_briskly(dialler);
    else
        advance(dialler);
}

static bool start_attempt(struct shl_dialler *dialler, struct shl_dial_attempt *attempt,
                          uint32_t candidate)
{
    int fd;
    if (shl_sock_connect(&dialler->target->addresses[candidate], &fd) < 0) {
        int error = errno;
        note(dialler, candidate, shl_error_text(), error);
        return false;
    }
    if (shl_loop_watch(dialler->loop, &attempt->watch, fd, EPOLLOUT) < 0) {
        note(dialler, candidate, shl_error_text(), 0);
        shl_fd->close(fd);
        return false;
    }
    attempt->used = true;
    attempt->connected = false;
    attempt->since_ns = shl_now_ns();
    attempt->candidate = candidate;
    shl_loop_timer_set(dialler->loop, &attempt->timer, shl_now_ns() + SHL_HANDSHAKE_MS * MS);
    return true;
}

static void on_attempt_timeout(void *arg)
{
    struct shl_dial_attempt *attempt = arg;
    fail_attempt(attempt,
                 attempt->connected ? "it accepted the connection and then said nothing" : "",
                 attempt->connected ? 0 : ETIMEDOUT);
}

/* The peer's host answers, so the next answer takes as long, unless the network is cut again. */
static void expect_answer(struct shl_dial_attempt *attempt)
{
    struct shl_dialler *dialler = attempt->dialler;
    if (dialler->brisk)
        shl_loop_timer_set(dialler->loop, &attempt->timer,
                           shl_now_ns() + SHL_DIAL_BRISK_ANSWER_MS * MS);
}

static bool flush_handshake(struct shl_dial_attempt *attempt)
{
    struct shl_handshake *hs = &attempt->handshake;
    ssize_t sent;
    do
        sent =
            shl_sock->send(attempt->watch.fd, hs->out, hs->out_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    bool whole = sent == (ssize_t)hs->out_bytes; /* a fresh socket takes so few bytes at once */
    hs->out_bytes = 0;
    return whole;
}

static void on_connected(struct shl_dial_attempt *attempt)
{
    struct shl_dialler *dialler = attempt->dialler;
    int error = shl_sock_error(attempt->watch.fd);
    if (error) {
        fail_attempt(attempt, "", error);
        return;
    }
    attempt->connected = true;
    expect_answer(attempt);
    if (dialler->probe) {
        shl_fd->close(release(attempt));
        conclude(dialler, SHL_DIAL_CONNECTED, SHOAL_OK, 0, -1);
        return;
    }
    if (address_of(attempt)->any.sa_family != AF_UNIX)
        shl_sock_tune(attempt->watch.fd, 0);
    if (shl_handshake_dial(&attempt->handshake, dialler->key, &dialler->hello) < 0 ||
        shl_loop_watch(dialler->loop, &attempt->watch, attempt->watch.fd, EPOLLIN) < 0)
        fail_attempt(attempt, shl_error_text(), 0);
    else if (!flush_handshake(attempt))
        fail_attempt(attempt, "it closed during the handshake", 0);
}

/* The peer is no rank of this job, or of another version of Shoal. */
static void on_refused(struct shl_dial_attempt *attempt)
{
    struct shl_dialler *dialler = attempt->dialler;
    enum shoal_status status = attempt->handshake.status;
    uint64_t now = shl_now_ns();
    if (!dialler->denied_since_ns)
        dialler->denied_since_ns = now;
    if (status == SHOAL_ERR_VERSION ||
        (status == SHOAL_ERR_AUTH &&
         now - dialler->denied_since_ns >= SHL_DIAL_AUTH_PATIENCE_MS * MS)) {
        note(dialler, attempt->candidate, attempt->handshake.cause, 0);
        conclude(dialler, SHL_DIAL_DENIED, status, 0, -1);
        return;
    }
    fail_attempt(attempt, attempt->handshake.cause, 0);
}

static void on_welcome(struct shl_dial_attempt *attempt, uint8_t welcome)
{
    struct shl_dialler *dialler = attempt->dialler;
    if (welcome != SHL_WELCOME_OK) {
        note(dialler, attempt->candidate,
             welcome == SHL_WELCOME_EVICTED ? "the peer has given this rank up"
             : welcome == SHL_WELCOME_LEFT  ? "the peer has left the job"
                                            : "the peer does not accept such a channel",
             0);
        conclude(dialler, SHL_DIAL_DENIED, SHOAL_ERR_PEER, welcome, -1);
        return;
    }
    dialler->first = attempt->candidate;
    dialler->worked = true;
    int fd = release(attempt);
    conclude(dialler, SHL_DIAL_CONNECTED, SHOAL_OK, welcome, fd);
}

/* With this side's proof the peer takes the connection for the one in use. Of two that get so far
 * the peer could keep the one that is closed here, so the others end first. */
static void prefer(struct shl_dial_attempt *attempt)
{
    struct shl_dialler *dialler = attempt->dialler;
    for (int i = 0; i < SHL_DIAL_PARALLEL; i++)
        if (dialler->attempts[i].used && &dialler->attempts[i] != attempt)
            shl_fd->close(release(&dialler->attempts[i]));
    shl_loop_timer_set(dialler->loop, &dialler->timer, dialler->deadline_ns);
}

static void on_attempt(void *arg, uint32_t events)
{
    struct shl_dial_attempt *attempt = arg;
    struct shl_handshake *hs = &attempt->handshake;
    uint8_t data[SHL_HELLO_BYTES];
    (void)events;
    if (!attempt->connected) {
        on_connected(attempt);
        return;
    }
    size_t want = hs->in_need ? hs->in_need - hs->in_bytes : 1;
    ssize_t got = shl_sock->recv(attempt->watch.fd, data, want, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        fail_attempt(attempt,
                     "it closed the connection during the handshake; it may belong to another job, "
                     "rank or epoch",
                     0);
        return;
    }
    if (!hs->in_need) {
        on_welcome(attempt, data[0]);
        return;
    }
    size_t used;
    enum shl_handshake_result result = shl_handshake_feed(hs, data, (size_t)got, &used);
    if (result == SHL_HANDSHAKE_REFUSED) {
        on_refused(attempt);
    } else if (result == SHL_HANDSHAKE_DONE) {
        prefer(attempt);
        expect_answer(attempt);
        if (!flush_handshake(attempt))
            fail_attempt(attempt, "it closed during the handshake", 0);
    }
}
