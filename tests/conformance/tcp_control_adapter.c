/*
 * Conformance of the tcp transport over connections that real control objects make.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_adapter.h"

int main(void)
{
    static const char *const settings[] = {"SHOAL_TCP_FLOWS=2", NULL};
    static const struct control_adapter adapter = {
        .name = "tcp with control", .seeds = 1, .ops = &shl_transport_tcp, .settings = settings};
    return control_adapter_run(&adapter);
}
