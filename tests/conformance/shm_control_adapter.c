/*
 * Conformance of the shared-memory transport over channels that real control objects make.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_adapter.h"

int main(void)
{
    static const char *const settings[] = {"SHOAL_SHM_COPY=auto", NULL};
    static const struct control_adapter adapter = {
        .name = "shm with control", .seeds = 1, .ops = &shl_transport_shm, .settings = settings};
    return control_adapter_run(&adapter);
}
