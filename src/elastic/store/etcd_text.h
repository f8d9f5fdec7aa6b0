/*
 * What is said to etcd and what it answers, through its JSON gateway: pure text.
 *
 * Source: etcd v3 API reference, KV and Auth services, JSON mapping of grpc-gateway (64-bit
 * integers are strings, bytes are base64).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_ETCD_TEXT_H
#define SHL_ELASTIC_STORE_ETCD_TEXT_H

#include "elastic/store/blocking.h"
#include "elastic/store/etcd_libs.h"

#include <stdbool.h>

#define SHL_ETCD_KEY_MAX 256u
/* A transaction: the value in base64, twice the key, and words. An answer holds no more. */
#define SHL_ETCD_TEXT_MAX (SHL_CELL_BYTES_MAX / 3u * 4u + 4096u)

/* Bodies of requests, into `text` of SHL_ETCD_TEXT_MAX bytes. `key` is in base64. */
void shl_etcd_put_range(char *text, const char *key);
void shl_etcd_put_txn(char *text, const char *key, uint64_t mod_revision,
                      const struct shl_cell *desired);
/* false: name or password hold what JSON would have to escape, or are too long. */
bool shl_etcd_put_login(char *text, const char *name, const char *password);

/* Answers; false: not what etcd says. A range without the key gives a cell of size 0. */
bool shl_etcd_get_range(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                        struct shl_cell *cell);
bool shl_etcd_get_txn(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                      bool *succeeded);
bool shl_etcd_get_token(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                        char *token, size_t capacity);
/* The message of an error, "" when there is none. */
void shl_etcd_get_error(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                        char *message, size_t capacity);

#endif
