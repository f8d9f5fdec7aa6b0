/*
 * A proxy for connections, moved by the test's own thread, that cuts each after some bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef UNIT_TRANSPORT_TCP_PROXY_H
#define UNIT_TRANSPORT_TCP_PROXY_H

#include "unit/transport/tcp_world.h"

struct tcp_proxy;

struct tcp_proxy *tcp_proxy_create(uint64_t seed, const struct tcp_setup *setup);
void tcp_proxy_destroy(struct tcp_proxy *proxy);
bool tcp_proxy_connect(void *proxy, int fds[2]); /* a tcp_net_connect_fn */
void tcp_proxy_step(struct tcp_proxy *proxy);    /* forward what there is */
uint32_t tcp_proxy_cuts(const struct tcp_proxy *proxy);
void tcp_proxy_calm(struct tcp_proxy *proxy);

#endif
