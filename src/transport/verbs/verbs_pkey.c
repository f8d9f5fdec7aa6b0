/*
 * Partition keys.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_pkey.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MASK 0x7fffu

enum shoal_status shl_verbs_pkey_parse(const char *text, struct shl_verbs_pkey *pkey)
{
    bool by_value = strncmp(text, "0x", 2) == 0 || strncmp(text, "0X", 2) == 0;
    char *end;
    *pkey = (struct shl_verbs_pkey){0};
    if (!*text)
        return SHOAL_OK;
    errno = 0;
    unsigned long number = strtoul(text, &end, by_value ? 16 : 10);
    bool digits = *text >= '0' && *text <= '9' && end != text && !*end;
    if (errno || !digits || number > UINT16_MAX || (by_value && (number & KEY_MASK) == 0))
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_IB_PKEY=\"%s\" is neither an index of a table of partition keys (0 "
                        "to 65535) nor a key (0x1 to 0xffff)",
                        text);
    *pkey = (struct shl_verbs_pkey){true, by_value, (uint32_t)number};
    return SHOAL_OK;
}

/* The key at an index; 0: there is none. */
static uint32_t key_at(struct ibv_context *context, const struct shl_verbs_port *port,
                       uint32_t index)
{
    uint16_t key = 0;
    if (shl_verbs->query_pkey(context, (uint8_t)port->port, (int)index, &key) != 0)
        return 0;
    return (uint32_t)(key >> 8 | (key & 0xff) << 8) & KEY_MASK; /* it comes in network order */
}

void shl_verbs_pkey_find(const struct shl_verbs_pkey *pkey, struct ibv_context *context,
                         uint32_t entries, struct shl_verbs_port *port)
{
    if (!pkey->wanted || !port->usable)
        return;
    uint32_t first = pkey->by_value ? 0 : pkey->number;
    uint32_t end = pkey->by_value ? entries : first + 1;
    for (uint32_t index = first; index < end && index < entries; index++) {
        uint32_t key = key_at(context, port, index);
        if (key == 0 || (pkey->by_value && key != (pkey->number & KEY_MASK)))
            continue;
        port->pkey_index = index;
        return;
    }
    snprintf(port->reason, sizeof(port->reason),
             pkey->by_value ? "its table of %u partition keys has no 0x%x (SHOAL_IB_PKEY)"
                            : "its table of %u partition keys has none at index %u (SHOAL_IB_PKEY)",
             entries, pkey->number);
    port->usable = false;
}
