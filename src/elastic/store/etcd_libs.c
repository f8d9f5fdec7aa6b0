/*
 * Loading libcurl and jansson.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/etcd_libs.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct shl_etcd_libs loaded;
static char why[256]; /* it is not; "": it is */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void *open_library(const char *name, const char *package)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library && !why[0])
        snprintf(why, sizeof(why), "%s cannot be loaded; on Debian: apt-get install %s", name,
                 package);
    return library;
}

/* Stores a function's address where a pointer of its type is. */
static void find(void *library, const char *name, void *to)
{
    void *found = library ? dlsym(library, name) : NULL;
    if (!found && !why[0])
        snprintf(why, sizeof(why), "%s is in no library that was found", name);
    memcpy(to, &found, sizeof(found));
}

static void load(void)
{
    void *curl = open_library("libcurl.so.4", "libcurl4");
    void *json = open_library("libjansson.so.4", "libjansson4");
    find(curl, "curl_global_init", &loaded.global_init);
    find(curl, "curl_easy_init", &loaded.init);
    find(curl, "curl_easy_cleanup", &loaded.cleanup);
    find(curl, "curl_easy_setopt", &loaded.setopt);
    find(curl, "curl_easy_perform", &loaded.perform);
    find(curl, "curl_easy_getinfo", &loaded.getinfo);
    find(curl, "curl_slist_append", &loaded.slist_append);
    find(curl, "curl_slist_free_all", &loaded.slist_free);
    find(curl, "curl_easy_strerror", &loaded.strerror);
    find(json, "json_loadb", &loaded.loadb);
    find(json, "json_object_get", &loaded.object_get);
    find(json, "json_array_get", &loaded.array_get);
    find(json, "json_array_size", &loaded.array_size);
    find(json, "json_string_value", &loaded.string_value);
    find(json, "json_string_length", &loaded.string_length);
    find(json, "json_delete", &loaded.delete);
    if (!why[0] && loaded.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        snprintf(why, sizeof(why), "libcurl cannot be initialised");
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
