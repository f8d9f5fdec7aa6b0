/*
 * Where a server of a job listens: the rendezvous, the coordinator.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_LISTEN_H
#define SHL_ELASTIC_LISTEN_H

#include "control/listener.h"
#include "core/config.h"

/*
 * shl_listen_at - add the sockets of "host:port", "*:port" or "@name" to a listener. With a key
 * that holds no secret only what this host alone can reach is allowed, unless SHOAL_INSECURE.
 *
 * what    names the server in errors: "rendezvous"
 * text    receives the address with the port that was bound
 * Errors  SHOAL_ERR_CONFIG without a secret; SHOAL_ERR_SYSTEM keeps errno: EADDRINUSE,
 *         EADDRNOTAVAIL
 */
enum shoal_status shl_listen_at(struct shl_listener *listener, const struct shl_config *config,
                                const char *what, const char *address,
                                char text[SHL_SOCK_TEXT_BYTES]);

#endif
