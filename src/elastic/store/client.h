/*
 * The kinds of clients behind store.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_CLIENT_H
#define SHL_ELASTIC_STORE_CLIENT_H

#include "elastic/store/store.h"

/* Of our own coordinator, at "host:port", "[v6]:port" or "@name". */
enum shoal_status shl_store_open_coordinator(const struct shl_store_options *options,
                                             struct shl_store **store);

/* Of the caller's own: options->custom is copied. */
enum shoal_status shl_store_open_custom(const struct shl_store_options *options,
                                        struct shl_store **store);

/* Of etcd, at "etcd://host:port,host:port" (port 2379 if none is named), with TLS at "etcds://". */
enum shoal_status shl_store_open_etcd(const struct shl_store_options *options,
                                      struct shl_store **store);

#endif
