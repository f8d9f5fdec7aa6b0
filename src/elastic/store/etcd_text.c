/*
 * Requests to etcd, and reading its answers.
 *
 * Invariant: an answer is believed only when every field that is needed is there, of the right type
 * and in range.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/etcd_text.h"

#include "control/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ------------------------------------------------------------------------------ */

void shl_etcd_put_range(char *text, const char *key)
{
    snprintf(text, SHL_ETCD_TEXT_MAX, "{\"key\":\"%s\"}", key);
}

void shl_etcd_put_txn(char *text, const char *key, uint64_t mod_revision,
                      const struct shl_cell *desired)
{
    int at =
        snprintf(text, SHL_ETCD_TEXT_MAX,
                 "{\"compare\":[{\"target\":\"MOD\",\"key\":\"%s\",\"mod_revision\":\"%llu\"}],"
                 "\"success\":[{\"requestPut\":{\"key\":\"%s\",\"value\":\"",
                 key, (unsigned long long)mod_revision, key);
    shl_base64_encode(text + at, desired->bytes, desired->size);
    strcat(text + at, "\"}}]}");
}

static bool is_plain(const char *text)
{
    for (; *text; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < 0x20)
            return false;
    return true;
}

bool shl_etcd_put_login(char *text, const char *name, const char *password)
{
    if (!is_plain(name) || !is_plain(password) || strlen(name) + strlen(password) > 2048)
        return false;
    snprintf(text, SHL_ETCD_TEXT_MAX, "{\"name\":\"%s\",\"password\":\"%s\"}", name, password);
    return true;
}

/* ---- answers ------------------------------------------------------------------------------- */

static json_t *parse(const struct shl_etcd_libs *libs, const char *text, size_t bytes)
{
    json_error_t error;
    return libs->loadb(text, bytes, 0, &error);
}

/* Nobody else refers to it. */
static void drop(const struct shl_etcd_libs *libs, json_t *root)
{
    if (root)
        libs->delete (root);
}

/* A 64-bit integer, which the gateway writes as a string. */
static bool get_u64(const struct shl_etcd_libs *libs, const json_t *object, const char *key,
                    uint64_t *value)
{
    const char *text = libs->string_value(libs->object_get(object, key));
    char *end;
    if (!text || text[0] < '0' || text[0] > '9')
        return false;
    *value = strtoull(text, &end, 10);
    return !*end;
}

bool shl_etcd_get_range(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                        struct shl_cell *cell)
{
    json_t *root = parse(libs, text, bytes);
    const json_t *pairs = libs->object_get(root, "kvs");
    bool good = root && json_is_object(libs->object_get(root, "header"));
    cell->size = 0;
    cell->token = 0;
    if (good && pairs && libs->array_size(pairs)) {
        const json_t *pair = libs->array_get(pairs, 0);
        const json_t *value = libs->object_get(pair, "value");
        const char *encoded = libs->string_value(value);
        good = libs->array_size(pairs) == 1 && encoded &&
               get_u64(libs, pair, "mod_revision", &cell->token) && cell->token &&
               shl_base64_decode(encoded, libs->string_length(value), cell->bytes,
                                 sizeof(cell->bytes), &cell->size);
    }
    drop(libs, root);
    return good;
}

bool shl_etcd_get_txn(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                      bool *succeeded)
{
    json_t *root = parse(libs, text, bytes);
    const json_t *flag = libs->object_get(root, "succeeded");
    bool good = root && json_is_object(libs->object_get(root, "header")) &&
                (!flag || json_is_boolean(flag));
    *succeeded = good && json_is_true(flag); /* false is left out */
    drop(libs, root);
    return good;
}

bool shl_etcd_get_token(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                        char *token, size_t capacity)
{
    json_t *root = parse(libs, text, bytes);
    const char *found = libs->string_value(libs->object_get(root, "token"));
    bool good = found && found[0] && strlen(found) < capacity && is_plain(found);
    if (good)
        snprintf(token, capacity, "%s", found);
    drop(libs, root);
    return good;
}

void shl_etcd_get_error(const struct shl_etcd_libs *libs, const char *text, size_t bytes,
                        char *message, size_t capacity)
{
    json_t *root = parse(libs, text, bytes);
    const char *found = libs->string_value(libs->object_get(root, "message"));
    if (!found)
        found = libs->string_value(libs->object_get(root, "error"));
    snprintf(message, capacity, "%s", found ? found : "");
    drop(libs, root);
}
