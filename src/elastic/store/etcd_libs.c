/*
 * Loading libcurl and jansson.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/etcd_libs.h"

#include "core/library.h"

#include <pthread.h>
#include <stdio.h>

static struct shl_etcd_libs loaded;
static char why[256]; /* it is not; "": it is */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static enum shoal_status find_all(void)
{
    const struct shl_symbol curl[] = {
        {"curl_global_init", &loaded.global_init},   {"curl_easy_init", &loaded.init},
        {"curl_easy_cleanup", &loaded.cleanup},      {"curl_easy_setopt", &loaded.setopt},
        {"curl_easy_perform", &loaded.perform},      {"curl_easy_getinfo", &loaded.getinfo},
        {"curl_slist_append", &loaded.slist_append}, {"curl_slist_free_all", &loaded.slist_free},
        {"curl_easy_strerror", &loaded.strerror},
    };
    const struct shl_symbol json[] = {
        {"json_loadb", &loaded.loadb},
        {"json_object_get", &loaded.object_get},
        {"json_array_get", &loaded.array_get},
        {"json_array_size", &loaded.array_size},
        {"json_string_value", &loaded.string_value},
        {"json_string_length", &loaded.string_length},
        {"json_delete", &loaded.delete},
    };
    SHL_TRY(
        shl_library_load("libcurl.so.4", "libcurl4", curl, sizeof(curl) / sizeof(curl[0]), NULL));
    SHL_TRY(shl_library_load("libjansson.so.4", "libjansson4", json, sizeof(json) / sizeof(json[0]),
                             NULL));
    if (loaded.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "libcurl cannot be initialised");
    return SHOAL_OK;
}

static void load(void)
{
    if (find_all() < 0)
        snprintf(why, sizeof(why), "%s", shl_error_text());
}

enum shoal_status shl_etcd_libs_load(const struct shl_etcd_libs **libs)
{
    pthread_once(&once, load);
    if (why[0])
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "a store in etcd needs libcurl and jansson: %s",
                        why);
    *libs = &loaded;
    return SHOAL_OK;
}
