/*
 * The virtual clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/clock.h"

#include "core/sys.h"

#include <sched.h>
#include <stdatomic.h>

static _Atomic uint64_t virtual_ns;

static uint64_t virtual_now_ns(void)
{
    return atomic_load(&virtual_ns);
}

static void virtual_yield(void)
{
    shl_test_clock_advance(1000);
    sched_yield(); /* other threads of the test still have to run */
}

static const struct shl_sys_time virtual_time = {
    .now_ns = virtual_now_ns,
    .sleep_ns = shl_test_clock_advance,
    .yield = virtual_yield,
};

void shl_test_clock_install(uint64_t start_ns)
{
    atomic_store(&virtual_ns, start_ns);
    shl_time = &virtual_time;
}

void shl_test_clock_advance(uint64_t ns)
{
    atomic_fetch_add(&virtual_ns, ns);
}

void shl_test_clock_remove(void)
{
    shl_time = &shl_time_kernel;
}
