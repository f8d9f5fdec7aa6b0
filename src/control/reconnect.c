/*
 * Getting a session's connection, and getting it back.
 *
 * The lower rank dials. The higher one cannot, but asks from time to time whether the peer still
 * listens, so that it learns of a dead process as soon as the dialler would.
 *
 * A connection whose packets get no answer is not waited for: TCP repeats them ever more seldom, so
 * that it would take as long again as the network was cut until the peer is heard. Another one is
 * dialled beside it, and takes its place as soon as it is there.
 *
 * Invariant: an open session without a connection has a dialler running or a retry timer set.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "core/log.h"
#include "core/sys.h"

#include <stdio.h>
#include <string.h>

#define RETRY_FIRST_MS 4
#define RETRY_LAST_MS 200
#define PROBE_AT_START_MS 300

static void start_dialler(struct shl_session *session)
{
    shl_loop_timer_stop(&session->control->loop, &session->retry);
    session->dialler.brisk = session->state == SHL_SESSION_LIVE;
    if (!session->dialler.running)
        shl_dialler_start(&session->dialler);
}

static void on_retry(void *arg)
{
    const struct shl_session *session = arg;
    if (session->fd < 0)
        start_dialler(arg);
}

void shl_session_refresh(struct shl_session *session)
{
    if (!session->dials || session->dialler.running || session->retry.armed)
        return;
    shl_log(SHL_LOG_INFO, "connection with rank %u stalls; dialling another", session->peer);
    start_dialler(session);
}

static void retry_later(struct shl_session *session)
{
    shl_loop_timer_set(&session->control->loop, &session->retry,
                       shl_now_ns() + session->retry_ms * SHL_MS);
    session->retry_ms =
        session->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : session->retry_ms * 2;
}

static void on_denied(struct shl_session *session, const struct shl_dial_result *result)
{
    struct shl_control *control = session->control;
    char cause[480];
    bool opening = session->state == SHL_SESSION_OPENING;
    snprintf(cause, sizeof(cause), "rank %u: %s", session->peer, result->cause);
    if (result->welcome == SHL_WELCOME_EVICTED) {
        shl_verdict_evicted(control, cause);
    } else if (result->welcome == SHL_WELCOME_LEFT) {
        shl_session_end(session, SHL_SESSION_LEFT);
        if (opening)
            shl_control_report(control, SHOAL_ERR_PEER, cause);
    } else if (opening) {
        shl_verdict_pass(control, session->peer, result->status, result->cause);
    } else {
        retry_later(session); /* something else took its port; silence will decide */
    }
}

/* A refusal while the connection is there, which only stalls: the peer may have closed its listener
 * to leave, and what it said last is to be read. It counts when it still comes after two beats, in
 * which the peer has said nothing. False: not yet, or what was read decided. */
static bool refusal_counts(struct shl_session *session)
{
    uint64_t beat_ns = session->control->options.config->heartbeat_ms * SHL_MS;
    if (session->fd < 0)
        return true;
    shl_session_read(session);
    if (!shl_session_open(session) || session->fd < 0)
        return false; /* it ended, or is dialled again because it broke */
    uint64_t now = shl_now_ns();
    if (session->refused_ns <= session->heard_ns)
        session->refused_ns = now;
    if (now - session->refused_ns >= 2 * beat_ns)
        return true;
    shl_loop_timer_set(&session->control->loop, &session->retry, now + beat_ns);
    return false;
}

static void pass_refused(struct shl_session *session, const char *refusal)
{
    char cause[640];
    const char *before = session->fd >= 0 ? "its connection is silent" : session->broke;
    snprintf(cause, sizeof(cause), "its process is gone (%s%s%s)", before,
             before[0] ? "; then " : "", refusal);
    shl_verdict_pass(session->control, session->peer, SHOAL_ERR_PEER, cause);
}

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    struct shl_session *session = arg;
    if (result->outcome == SHL_DIAL_CONNECTED && session->dials) {
        shl_session_attach(session, result->fd);
        return;
    }
    if (result->outcome == SHL_DIAL_DENIED) {
        on_denied(session, result);
        return;
    }
    if (result->outcome == SHL_DIAL_REFUSED && !refusal_counts(session))
        return;
    if (result->outcome == SHL_DIAL_REFUSED && session->control->stopping) {
        /* It cannot hear our goodbye any more, and who stays finds out for himself. */
        shl_session_end(session, SHL_SESSION_LEFT);
        return;
    }
    if (result->outcome == SHL_DIAL_REFUSED)
        pass_refused(session, result->cause);
    /* Still open: it listens, or the verdict could not be passed for want of memory. */
    if (shl_session_open(session))
        retry_later(session);
}

static void choose_target(struct shl_session *session)
{
    const struct shl_peer *peer = &session->control->peers[session->peer];
    struct shl_dial_target *target = &session->target;
    target->count = 0;
    if (peer->has_socket)
        target->addresses[target->count++] = peer->socket;
    for (uint32_t i = 0; i < peer->tcp.count && target->count < SHL_DIAL_CANDIDATES; i++)
        target->addresses[target->count++] = peer->tcp.addresses[i];
}

void shl_session_connect_init(struct shl_session *session)
{
    struct shl_control *control = session->control;
    struct shl_dialler *dialler = &session->dialler;
    choose_target(session);
    shl_timer_init(&session->retry, on_retry, session);
    shl_dialler_init(dialler, &control->loop);
    dialler->key = &control->key;
    dialler->hello = (struct shl_hello){.kind = SHL_CHANNEL_SESSION,
                                        .rank = control->options.rank,
                                        .target_rank = session->peer,
                                        .incarnation = control->incarnation,
                                        .epoch = control->epoch};
    memcpy(dialler->hello.job, control->job_hash, sizeof(control->job_hash));
    dialler->target = &session->target;
    dialler->give_up_when_refused = true;
    dialler->probe = !session->dials;
    dialler->deadline_ns = UINT64_MAX; /* the session's silence, or start's deadline, ends it */
    dialler->arg = session;
    dialler->done = on_dialled;
    session->retry_ms = RETRY_FIRST_MS;
}

void shl_session_connect(struct shl_session *session)
{
    if (session->dials)
        start_dialler(session);
    else
        shl_loop_timer_set(&session->control->loop, &session->retry,
                           shl_now_ns() + PROBE_AT_START_MS * SHL_MS);
}

void shl_session_broke(struct shl_session *session)
{
    if (!shl_session_open(session))
        return;
    shl_log(SHL_LOG_DEBUG, "connection with rank %u broke: %s", session->peer, session->broke);
    session->retry_ms = RETRY_FIRST_MS;
    start_dialler(session);
}

enum shl_welcome shl_session_admit(struct shl_control *control, const struct shl_hello *hello)
{
    if (control->lost[hello->rank])
        return SHL_WELCOME_EVICTED;
    if (control->session_of[hello->rank] == UINT32_MAX)
        return SHL_WELCOME_WRONG;
    const struct shl_session *session = &control->sessions[control->session_of[hello->rank]];
    if (session->dials)
        return SHL_WELCOME_WRONG;
    return shl_session_open(session) ? SHL_WELCOME_OK : SHL_WELCOME_LEFT;
}

void shl_session_accepted(struct shl_control *control, int fd, const struct shl_hello *hello)
{
    shl_session_attach(&control->sessions[control->session_of[hello->rank]], fd);
}
