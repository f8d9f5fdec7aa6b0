/*
 * HTTP and TLS for etcd, by libcurl.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/etcd_http.h"

#include "core/sys.h"

#include <stdio.h>
#include <string.h>

#define MS 1000000ull

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
    struct shl_etcd_http *http = arg;
    size_t bytes = size * count;
    if (bytes > SHL_ETCD_TEXT_MAX - http->answer_bytes)
        return 0; /* more than any answer: libcurl gives up */
    memcpy(http->answer + http->answer_bytes, data, bytes);
    http->answer_bytes += bytes;
    return bytes;
}

/* Options that stay. curl_easy_setopt takes each by its own type. */
static bool set_options(struct shl_etcd_http *http, const struct shl_config *config)
{
    const struct shl_etcd_libs *libs = http->libs;
    CURL *handle = http->handle;
    bool good = libs->setopt(handle, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
                libs->setopt(handle, CURLOPT_NOPROXY, "*") == CURLE_OK &&
                libs->setopt(handle, CURLOPT_WRITEFUNCTION, on_data) == CURLE_OK &&
                libs->setopt(handle, CURLOPT_WRITEDATA, http) == CURLE_OK;
    if (config->etcd_ca_file[0])
        good = good && libs->setopt(handle, CURLOPT_CAINFO, config->etcd_ca_file) == CURLE_OK;
    if (config->etcd_cert_file[0])
        good = good && libs->setopt(handle, CURLOPT_SSLCERT, config->etcd_cert_file) == CURLE_OK;
    if (config->etcd_key_file[0])
        good = good && libs->setopt(handle, CURLOPT_SSLKEY, config->etcd_key_file) == CURLE_OK;
    return good;
}

enum shoal_status shl_etcd_http_open(const struct shl_config *config, struct shl_etcd_http *http)
{
    memset(http, 0, sizeof(*http));
    SHL_TRY(shl_etcd_libs_load(&http->libs));
    http->request = shl_mem->alloc(SHL_ETCD_TEXT_MAX);
    http->answer = shl_mem->alloc(SHL_ETCD_TEXT_MAX);
    http->handle = http->libs->init();
    if (http->request && http->answer && http->handle && set_options(http, config))
        return SHOAL_OK;
    shl_etcd_http_close(http);
    return shl_fail(SHOAL_ERR_NOMEM, "no memory for a client of etcd, or its libcurl is too old");
}

void shl_etcd_http_close(struct shl_etcd_http *http)
{
    if (http->handle)
        http->libs->cleanup(http->handle);
    shl_mem->free(http->request);
    shl_mem->free(http->answer);
    explicit_bzero(http, sizeof(*http));
}

static struct curl_slist *headers_of(const struct shl_etcd_http *http)
{
    char line[sizeof(http->token) + 32];
    struct curl_slist *headers = http->libs->slist_append(NULL, "Content-Type: application/json");
    /* Nobody is asked for leave to send a body. */
    struct curl_slist *more = headers ? http->libs->slist_append(headers, "Expect:") : NULL;
    if (more && http->token[0]) {
        snprintf(line, sizeof(line), "Authorization: %s", http->token);
        more = http->libs->slist_append(headers, line);
    }
    if (!more)
        http->libs->slist_free(headers);
    return more ? headers : NULL;
}

enum shoal_status shl_etcd_http_post(struct shl_etcd_http *http, const char *url, const char *path,
                                     uint64_t deadline_ns, long *code)
{
    const struct shl_etcd_libs *libs = http->libs;
    char whole[512];
    uint64_t now = shl_now_ns();
    if (now >= deadline_ns)
        return shl_fail(SHOAL_ERR_TIMEOUT, "no time left to ask etcd at %s", url);
    struct curl_slist *headers = headers_of(http);
    if (!headers)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a request to etcd");
    snprintf(whole, sizeof(whole), "%s%s", url, path);
    http->answer_bytes = 0;
    CURLcode result = libs->setopt(http->handle, CURLOPT_URL, whole);
    if (result == CURLE_OK)
        result = libs->setopt(http->handle, CURLOPT_HTTPHEADER, headers);
    if (result == CURLE_OK)
        result = libs->setopt(http->handle, CURLOPT_POSTFIELDS, http->request);
    if (result == CURLE_OK)
        result = libs->setopt(http->handle, CURLOPT_POSTFIELDSIZE, (long)strlen(http->request));
    if (result == CURLE_OK)
        result = libs->setopt(http->handle, CURLOPT_TIMEOUT_MS,
                              (long)((deadline_ns - now + MS - 1) / MS));
    if (result == CURLE_OK)
        result = libs->perform(http->handle);
    *code = 0;
    if (result == CURLE_OK)
        result = libs->getinfo(http->handle, CURLINFO_RESPONSE_CODE, code);
    libs->setopt(http->handle, CURLOPT_HTTPHEADER, NULL);
    libs->slist_free(headers);
    if (result == CURLE_OK)
        return SHOAL_OK;
    return shl_fail(result == CURLE_OPERATION_TIMEDOUT ? SHOAL_ERR_TIMEOUT : SHOAL_ERR_PEER,
                    "etcd at %s: %s", url, libs->strerror(result));
}
