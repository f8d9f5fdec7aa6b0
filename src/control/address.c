/*
 * The wire form of the address that a rank publishes.
 *
 * Invariant: get accepts exactly what put writes; every text ends within its array.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"

#include <string.h>

void shl_control_address_put(struct shl_bytes *out, const struct shl_control_address *address)
{
    shl_bytes_put_u8(out, (uint8_t)address->count);
    for (uint32_t i = 0; i < address->count; i++)
        shl_bytes_put_string(out, address->text[i]);
    shl_bytes_put_string(out, address->unix_name);
    shl_bytes_put_string(out, address->host_id);
    shl_bytes_put_u64(out, address->pid);
}

bool shl_control_address_get(struct shl_bytes *in, struct shl_control_address *address)
{
    struct shl_control_address read;
    memset(&read, 0, sizeof(read));
    read.count = shl_bytes_get_u8(in);
    if (in->failed || read.count > SHL_CONTROL_ADDRESSES)
        return false;
    for (uint32_t i = 0; i < read.count; i++)
        shl_bytes_get_string(in, read.text[i], sizeof(read.text[i]));
    shl_bytes_get_string(in, read.unix_name, sizeof(read.unix_name));
    shl_bytes_get_string(in, read.host_id, sizeof(read.host_id));
    read.pid = shl_bytes_get_u64(in);
    if (in->failed)
        return false;
    *address = read;
    return true;
}
