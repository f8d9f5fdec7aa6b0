/*
 * Conformance of the verbs transport, over connections that real control objects make. It needs an
 * RDMA device that works, so it runs in a guest that has soft ones.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_adapter.h"
#include "transport/verbs/verbs_port.h"

static bool have_device(void)
{
    static struct shl_verbs_port ports[SHL_VERBS_PORTS_MAX];
    struct shl_config config;
    uint32_t count = 0;
    if (shl_config_load(NULL, &config) < 0)
        return false;
    enum shoal_status status = shl_verbs_ports_find(&config, ports, SHL_VERBS_PORTS_MAX, &count);
    shl_config_free(&config);
    return status == SHOAL_OK && count > 0 && ports[0].usable;
}

int main(void)
{
    static const char *const settings[] = {"SHOAL_IB_TIMEOUT=18", NULL};
    static const struct control_adapter adapter = {
        .name = "verbs", .seeds = 2, .ops = &shl_transport_verbs, .settings = settings};
    if (!have_device()) {
        puts("no usable RDMA device: shoal info says why");
        return 77;
    }
    return control_adapter_run(&adapter);
}
