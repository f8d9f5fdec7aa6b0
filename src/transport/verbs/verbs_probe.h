/*
 * A try of one port: memory is registered, a queue pair made and connected to itself, and bytes are
 * written through it. What tables and files say of a device is only half of the truth; this is what
 * limits, container runtimes and drivers really allow.
 *
 * No type of libibverbs shows here, so that programs beside the library can include this.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_PROBE_H
#define SHL_TRANSPORT_VERBS_PROBE_H

#include "transport/verbs/verbs_port.h"

#define SHL_VERBS_PROBE_SMALL_BYTES 8192
#define SHL_VERBS_PROBE_LARGE_BYTES (64u << 20)
#define SHL_VERBS_PROBE_SEEN_BYTES 320

/* In the order in which they are made. */
enum shl_verbs_probe_step {
    SHL_VERBS_PROBE_OPEN,    /* the device, and a protection domain */
    SHL_VERBS_PROBE_SMALL,   /* SHL_VERBS_PROBE_SMALL_BYTES are registered */
    SHL_VERBS_PROBE_LARGE,   /* large_bytes are */
    SHL_VERBS_PROBE_PAIR,    /* a completion queue and a queue pair are made */
    SHL_VERBS_PROBE_CONNECT, /* the pair is connected to itself */
    SHL_VERBS_PROBE_WRITE,   /* an RDMA WRITE completes, and its bytes are there */
    SHL_VERBS_PROBE_RELEASE, /* everything is given back */
    SHL_VERBS_PROBE_STEPS
};

enum shl_verbs_probe_verdict {
    SHL_VERBS_PROBE_SKIPPED, /* it needs a step that failed; nothing was seen */
    SHL_VERBS_PROBE_GOOD,
    SHL_VERBS_PROBE_BAD
};

struct shl_verbs_probe {
    struct {
        enum shl_verbs_probe_verdict verdict;
        char seen[SHL_VERBS_PROBE_SEEN_BYTES];
    } steps[SHL_VERBS_PROBE_STEPS];
};

struct shl_verbs_probe_settings {
    const struct shl_config *config; /* traffic class, hop limit, retries */
    size_t large_bytes;
    uint32_t timeout_ms; /* for the write to complete */
};

/*
 * shl_verbs_probe_run - all steps on a usable port of shl_verbs_ports_find or
 * shl_verbs_gids_find, with its GID. Later steps go on without a step that they can do without.
 *
 * Whatever fails, nothing stays open, registered or allocated. Only the write is waited for; the
 * other calls return when the kernel does.
 */
void shl_verbs_probe_run(const struct shl_verbs_port *port,
                         const struct shl_verbs_probe_settings *settings,
                         struct shl_verbs_probe *probe);

#endif
