/*
 * The libraries that speaking with etcd needs: libcurl for HTTP and TLS, jansson for JSON. They are
 * loaded when the first etcd store is opened, so that nobody else carries them, and stay loaded.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_ETCD_LIBS_H
#define SHL_ELASTIC_STORE_ETCD_LIBS_H

#include "core/status.h"

#include <curl/curl.h>
#include <jansson.h>

struct shl_etcd_libs {
    CURLcode (*global_init)(long flags);
    CURL *(*init)(void);
    void (*cleanup)(CURL *handle);
    CURLcode (*setopt)(CURL *handle, CURLoption option, ...);
    CURLcode (*perform)(CURL *handle);
    CURLcode (*getinfo)(CURL *handle, CURLINFO info, ...);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free)(struct curl_slist *list);
    const char *(*strerror)(CURLcode code);
    json_t *(*loadb)(const char *data, size_t bytes, size_t flags, json_error_t *error);
    json_t *(*object_get)(const json_t *object, const char *key);
    json_t *(*array_get)(const json_t *array, size_t index);
    size_t (*array_size)(const json_t *array);
    const char *(*string_value)(const json_t *string);
    size_t (*string_length)(const json_t *string);
    void (*delete)(json_t *value);
};

/* SHOAL_ERR_UNSUPPORTED says which library is missing. Threads: any. */
enum shoal_status shl_etcd_libs_load(const struct shl_etcd_libs **libs);

#endif
