/*
 * The progress token, and sleeping without it.
 *
 * Of several threads that have nothing to do, one listens to the descriptors for all; the others
 * wait until it tells them that something of theirs has changed, or leaves the listening to one of
 * them. So no thread takes another's wake-up.
 *
 * Invariant: transports are armed exactly while a thread listens; arming precedes the last look for
 * work, so a wake-up cannot fall between the look and the sleep.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bell.h"
#include "core/sys.h"
#include "engine/engine.h"

#include <sys/epoll.h>
#include <time.h>

#define SLEEP_MS_MAX 50 /* bounds the harm of any wake-up that is missed */

void shl_token_take(struct shl_engine *engine)
{
    if (SHL_LIKELY(pthread_mutex_trylock(&engine->token) == 0))
        return;
    atomic_fetch_add_explicit(&engine->token_wanted, 1, memory_order_relaxed);
    /* The holder may be asleep in epoll without the token, never with it, so this is short. */
    pthread_mutex_lock(&engine->token);
    atomic_fetch_sub_explicit(&engine->token_wanted, 1, memory_order_relaxed);
}

void shl_token_give(struct shl_engine *engine)
{
    pthread_mutex_unlock(&engine->token);
}

void shl_token_offer(struct shl_engine *engine)
{
    if (SHL_LIKELY(atomic_load_explicit(&engine->token_wanted, memory_order_relaxed) == 0))
        return;
    pthread_mutex_unlock(&engine->token);
    shl_time->yield();
    pthread_mutex_lock(&engine->token);
}

void shl_engine_ring(struct shl_engine *engine)
{
    if (atomic_load(&engine->is_listening))
        shl_bell_ring(engine->doorbell);
}

void shl_engine_wake_all(struct shl_engine *engine)
{
    shl_engine_ring(engine);
    if (SHL_UNLIKELY(engine->followers > 0))
        pthread_cond_broadcast(&engine->changed);
}

void shl_engine_stop_driving(struct shl_engine *engine)
{
    if (SHL_UNLIKELY(engine->followers > 0) && !atomic_load(&engine->is_listening))
        pthread_cond_signal(&engine->changed);
}

static bool arm_all(struct shl_engine *engine)
{
    bool quiet = true;
    for (uint32_t i = 0; i < engine->transport_count; i++)
        quiet &= engine->transports[i].ops->arm(engine->transports[i].t, true);
    return quiet;
}

static uint64_t sleep_ns(uint64_t until_ns)
{
    const uint64_t limit_ns = SLEEP_MS_MAX * UINT64_C(1000000);
    uint64_t now_ns = shl_now_ns();
    uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    return left_ns < limit_ns ? left_ns : limit_ns;
}

/* token: another thread listens. */
static void follow(struct shl_engine *engine, uint64_t until_ns)
{
    uint64_t at_ns = shl_now_ns() + sleep_ns(until_ns);
    struct timespec until = {.tv_sec = (time_t)(at_ns / 1000000000),
                             .tv_nsec = (long)(at_ns % 1000000000)};
    engine->followers++;
    pthread_cond_timedwait(&engine->changed, &engine->token, &until);
    engine->followers--;
}

/* The token is given away meanwhile. */
static void listen_to_all(struct shl_engine *engine, uint64_t until_ns)
{
    struct epoll_event events[4];
    int timeout_ms = (int)((sleep_ns(until_ns) + 999999) / 1000000);
    shl_token_give(engine);
    int n = shl_fd->epoll_wait(engine->epoll, events, 4, timeout_ms);
    uint64_t drained;
    for (int i = 0; i < n; i++)
        if (events[i].data.fd == engine->doorbell)
            (void)!shl_fd->read(engine->doorbell, &drained, sizeof(drained));
    shl_token_take(engine);
}

void shl_engine_sleep(struct shl_engine *engine, uint64_t until_ns)
{
    if (atomic_load(&engine->is_listening)) {
        follow(engine, until_ns);
        return;
    }
    atomic_store(&engine->is_listening, true);
    /* Progress through windows is seen by looking; whoever posts rings once we are armed. */
    bool quiet = arm_all(engine) && !atomic_load(&engine->has_mail) &&
                 shl_engine_advance_groups(engine) == 0;
    if (quiet)
        listen_to_all(engine, until_ns);
    atomic_store(&engine->is_listening, false);
    for (uint32_t i = 0; i < engine->transport_count; i++)
        engine->transports[i].ops->arm(engine->transports[i].t, false);
}
