/*
 * Heartbeats: every session says something once an interval, and is listened to for the same.
 *
 * A rank counts as silent only after SHOAL_DEAD_AFTER_MS, several intervals, without a frame. When
 * this thread itself was kept from running, all deadlines move by as much: what looked like a
 * peer's silence may have been our own absence. A peer on this host that wants to run and gets no
 * CPU is given SPARED_LIMITS times as long: it can be told from a stopped one.
 *
 * Invariant: nobody is judged before everything that the kernel holds from it has been read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "core/log.h"
#include "core/sys.h"

#include <stdio.h>

#define SPARED_LIMITS 10

static uint64_t half_beat_ns(const struct shl_control *control)
{
    return control->options.config->heartbeat_ms * SHL_MS / 2;
}

/* Time for which this thread should have run and did not. Less than a beat is no absence: busy
 * hosts are that late all the time, and the limit has room for it. */
static uint64_t own_absence_ns(struct shl_control *control, uint64_t now)
{
    uint64_t late = now > control->beat_due_ns ? now - control->beat_due_ns : 0;
    return late > 2 * half_beat_ns(control) ? late : 0;
}

/* Silent for too long, but not the peer's fault, and not for so long that it does not matter. */
static bool spare(struct shl_session *session, uint64_t silent_ns, uint64_t limit_ns)
{
    if (silent_ns >= SPARED_LIMITS * limit_ns || !shl_session_peer_is_starved(session))
        return false;
    if (!session->is_spared)
        shl_log(SHL_LOG_WARN,
                "rank %u is silent for %.1f s, but runnable: this host is short of CPU; waiting up "
                "to %.1f s for it",
                session->peer, (double)silent_ns / 1e9, (double)(SPARED_LIMITS * limit_ns) / 1e9);
    session->is_spared = true;
    return true;
}

static void judge(struct shl_session *session)
{
    struct shl_control *control = session->control;
    uint64_t limit = control->options.config->dead_after_ms * SHL_MS;
    if (session->state != SHL_SESSION_LIVE)
        return;
    if (shl_now_ns() < session->heard_ns + limit) {
        session->is_spared = false;
        return;
    }
    shl_session_read(session);
    uint64_t now = shl_now_ns();
    if (session->state != SHL_SESSION_LIVE || now < session->heard_ns + limit ||
        spare(session, now - session->heard_ns, limit))
        return;
    char cause[480];
    snprintf(cause, sizeof(cause), "no sign of life for %.1f s (%s%.300s)",
             (double)(now - session->heard_ns) / 1e9,
             session->fd >= 0 ? "its connection is open but silent; it may be stopped, cut off or "
                                "starved of CPU"
                              : "not connected: ",
             session->fd >= 0            ? ""
             : session->dialler.cause[0] ? session->dialler.cause
                                         : session->broke);
    shl_verdict_pass(control, session->peer, SHOAL_ERR_PEER, cause);
}

static void on_beat(void *arg)
{
    struct shl_control *control = arg;
    uint64_t now = shl_now_ns();
    uint64_t absent = own_absence_ns(control, now);
    if (absent > control->options.config->dead_after_ms * SHL_MS / 2)
        shl_log(SHL_LOG_INFO, "the control thread did not run for %.1f s; deadlines move",
                (double)absent / 1e9);
    control->beat_half = !control->beat_half;
    for (uint32_t i = 0; i < control->session_count; i++) {
        struct shl_session *session = &control->sessions[i];
        if (!shl_session_open(session))
            continue;
        session->heard_ns = now - session->heard_ns > absent ? session->heard_ns + absent : now;
        if (control->beat_half && session->fd >= 0 && !shl_sock_lags(session->fd)) {
            session->owes_beat = true;
            shl_session_flush(session);
        }
        if (session->state == SHL_SESSION_LIVE && session->fd >= 0 && shl_sock_stalls(session->fd))
            shl_session_refresh(session);
        if (!control->evicted && !control->stopping)
            judge(session);
    }
    control->beat_due_ns = shl_now_ns() + half_beat_ns(control);
    shl_loop_timer_set(&control->loop, &control->beat_timer, control->beat_due_ns);
}

void shl_heartbeat_start(struct shl_control *control)
{
    shl_timer_init(&control->beat_timer, on_beat, control);
    control->beat_due_ns = shl_now_ns() + half_beat_ns(control);
    shl_loop_timer_set(&control->loop, &control->beat_timer, control->beat_due_ns);
}
