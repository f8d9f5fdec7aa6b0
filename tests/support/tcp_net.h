/*
 * In place of control: hands connected loopback TCP sockets to the tcp transports of one process.
 *
 * The same rules as control's: the lower rank's request makes the connection, the higher rank's end
 * waits for it or is kept for it. A connection may run through a proxy that the test can cut.
 *
 * Threads  any
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_TCP_NET_H
#define SUPPORT_TCP_NET_H

#include "core/config.h"
#include "core/status.h"
#include "transport/transport.h"

#include <stdbool.h>
#include <stdint.h>

struct tcp_net;

/* Every connection is made by it. Returns a pair of connected descriptors, or false. */
typedef bool (*tcp_net_connect_fn)(void *arg, int fds[2]);

/* tcp_net_create - `connect` NULL: plain loopback connections. Becomes the source of channels. */
struct tcp_net *tcp_net_create(uint32_t size, tcp_net_connect_fn connect, void *arg);
/* After all transports are closed. */
void tcp_net_destroy(struct tcp_net *net);

/* What goes into env.control of a rank. */
struct shl_control *tcp_net_control(struct tcp_net *net, uint32_t rank);

/* From now on the rank cannot be reached, and requests for it fail. */
void tcp_net_refuse(struct tcp_net *net, uint32_t rank);
uint32_t tcp_net_connections(struct tcp_net *net); /* made so far */

/* A connected pair over 127.0.0.1, non-blocking. */
bool tcp_net_loopback(void *unused, int fds[2]);

/* A configuration from "SHOAL_KEY=value" texts, `settings` ends with NULL. Fails the test. */
void tcp_net_config(struct shl_config *config, const char *const *settings);

/* The sockets of a transport are shut, as when its process is killed. */
void tcp_net_cut(struct shl_transport *t, uint32_t size);

#endif
