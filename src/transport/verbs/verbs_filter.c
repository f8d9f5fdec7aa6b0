/*
 * Parses and applies SHOAL_IB_HCA.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_filter.h"

#include <string.h>

/* "name" or "name:port". */
static enum shoal_status parse_item(const char *item, size_t length, struct shl_verbs_filter *out)
{
    const char *colon = memchr(item, ':', length);
    size_t name_length = colon ? (size_t)(colon - item) : length;
    uint32_t port = 0;
    if (name_length == 0 || name_length >= SHL_VERBS_NAME_BYTES)
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_IB_HCA has an empty or overlong item \"%.*s\"",
                        (int)length, item);
    if (out->count == SHL_VERBS_FILTER_MAX)
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_IB_HCA has more than %d items",
                        SHL_VERBS_FILTER_MAX);
    for (const char *at = colon ? colon + 1 : item + length; at < item + length; at++) {
        bool digit = *at >= '0' && *at <= '9';
        port = digit ? port * 10 + (uint32_t)(*at - '0') : 256;
        if (port > 255)
            break;
    }
    if (colon && (port == 0 || port > 255))
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_IB_HCA: \"%.*s\" names no port; write e.g. mlx5_0:1", (int)length,
                        item);
    memcpy(out->items[out->count].name, item, name_length);
    out->items[out->count].port = port;
    out->count++;
    return SHOAL_OK;
}

enum shoal_status shl_verbs_filter_parse(const char *spec, struct shl_verbs_filter *filter)
{
    struct shl_verbs_filter parsed = {0};
    const char *at = spec;
    for (; *at == '^' || *at == '='; at++) {
        parsed.exclude |= *at == '^';
        parsed.exact |= *at == '=';
    }
    if (at != spec && !*at)
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_IB_HCA=\"%s\" names no device", spec);
    while (*at) {
        size_t length = strcspn(at, ",");
        SHL_TRY(parse_item(at, length, &parsed));
        at += length + (at[length] == ',');
    }
    *filter = parsed;
    return SHOAL_OK;
}

bool shl_verbs_filter_allows(const struct shl_verbs_filter *filter, const char *device,
                             uint32_t port)
{
    bool named = false;
    for (uint32_t i = 0; i < filter->count && !named; i++) {
        const char *name = filter->items[i].name;
        uint32_t wanted = filter->items[i].port;
        if (filter->exact ? strcmp(device, name) != 0 : strncmp(device, name, strlen(name)) != 0)
            continue;
        /* Of a device as a whole: excluding one port of it leaves the others. */
        named = wanted == 0 || (port == 0 ? !filter->exclude : wanted == port);
    }
    return filter->count == 0 || named != filter->exclude;
}
