/*
 * The virtual clock as the library's clock: shl_now_ns() reads it, sleeping advances it.
 *
 * Invariant: while installed, no wait takes real time; one network at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "transport/sim/sim_network.h"

static struct shl_sim_network *installed;

static uint64_t now_ns(void)
{
    return shl_sim_network_now_ns(installed);
}

static void sleep_ns(uint64_t ns)
{
    shl_sim_network_advance_to(installed, now_ns() + ns);
}

/* Whoever yields waits for something, and only events can bring it. */
static void yield(void)
{
    (void)shl_sim_network_advance(installed);
}

static const struct shl_sys_time virtual_time = {
    .now_ns = now_ns,
    .sleep_ns = sleep_ns,
    .yield = yield,
};

void shl_sim_clock_install(struct shl_sim_network *network)
{
    installed = network;
    shl_time = &virtual_time;
}

void shl_sim_clock_remove(void)
{
    shl_time = &shl_time_kernel;
    installed = NULL;
}
