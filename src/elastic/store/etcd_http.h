/*
 * One POST at a time to one of etcd's endpoints, over a connection that is kept.
 *
 * Threads  one at a time
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_ETCD_HTTP_H
#define SHL_ELASTIC_STORE_ETCD_HTTP_H

#include "core/config.h"
#include "elastic/store/etcd_text.h"

struct shl_etcd_http {
    const struct shl_etcd_libs *libs;
    CURL *handle;
    char *request, *answer; /* SHL_ETCD_TEXT_MAX each; the caller fills the first */
    size_t answer_bytes;
    char token[1024]; /* of a login; "": none */
};

enum shoal_status shl_etcd_http_open(const struct shl_config *config, struct shl_etcd_http *http);
void shl_etcd_http_close(struct shl_etcd_http *http);

/*
 * shl_etcd_http_post - send `request` and wait for the answer.
 *
 * url     of the endpoint: "http://host:port"
 * code    the HTTP status
 * Errors  SHOAL_ERR_TIMEOUT, SHOAL_ERR_PEER: it may or may not have arrived
 */
enum shoal_status shl_etcd_http_post(struct shl_etcd_http *http, const char *url, const char *path,
                                     uint64_t deadline_ns, long *code);

#endif
