/*
 * The progress token, and sleeping without it.
 *
 * Invariant: transports are armed exactly while `armed` threads sleep; arming precedes the last
 * look for work, so a wake-up cannot fall between the look and the sleep.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "engine/engine.h"

#include <errno.h>
#include <sys/epoll.h>

#define SLEEP_MS_MAX 50   /* bounds the harm of any wake-up that is missed */
#define SHARED_SLEEP_MS 5 /* several sleepers share one doorbell and may swallow each other's */

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
    const uint64_t one = 1;
    if (atomic_load(&engine->sleepers) != 0)
        (void)!shl_fd->write(engine->doorbell, &one, sizeof(one));
}

static bool arm_all(struct shl_engine *engine)
{
    bool quiet = true;
    for (uint32_t i = 0; i < engine->transport_count; i++)
        quiet &= engine->transports[i].ops->arm(engine->transports[i].t, true);
    return quiet;
}

static int sleep_ms(const struct shl_engine *engine, uint64_t until_ns)
{
    uint64_t now_ns = shl_now_ns();
    uint64_t limit_ms = atomic_load(&engine->sleepers) > 1 ? SHARED_SLEEP_MS : SLEEP_MS_MAX;
    if (until_ns <= now_ns)
        return 0;
    uint64_t left_ms = (until_ns - now_ns + 999999) / 1000000;
    return (int)(left_ms < limit_ms ? left_ms : limit_ms);
}

void shl_engine_sleep(struct shl_engine *engine, uint64_t until_ns)
{
    atomic_fetch_add(&engine->sleepers, 1);
    /* Progress through windows is seen by looking; whoever posts rings once we are armed. */
    bool quiet = arm_all(engine) && !atomic_load(&engine->has_mail) &&
                 shl_engine_advance_groups(engine) == 0;
    if (quiet) {
        struct epoll_event events[4];
        int timeout_ms = sleep_ms(engine, until_ns);
        shl_token_give(engine);
        int n = shl_fd->epoll_wait(engine->epoll, events, 4, timeout_ms);
        uint64_t drained;
        for (int i = 0; i < n; i++)
            if (events[i].data.fd == engine->doorbell)
                (void)!shl_fd->read(engine->doorbell, &drained, sizeof(drained));
        shl_token_take(engine);
    }
    if (atomic_fetch_sub(&engine->sleepers, 1) == 1)
        for (uint32_t i = 0; i < engine->transport_count; i++)
            engine->transports[i].ops->arm(engine->transports[i].t, false);
}
