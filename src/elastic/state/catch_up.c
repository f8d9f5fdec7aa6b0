/*
 * What learners and members write to each other, as bytes. See catch_up.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/catch_up.h"

#include "core/bytes.h"

static bool has_chunk(enum shl_catch_up_kind kind)
{
    return kind <= SHL_CATCH_UP_SAME || kind == SHL_CATCH_UP_LATER;
}

size_t shl_catch_up_put(uint8_t head[SHL_CATCH_UP_HEAD], const struct shl_catch_up_mail *mail)
{
    struct shl_bytes out = shl_bytes_writer(head, SHL_CATCH_UP_HEAD);
    shl_bytes_put_u8(&out, (uint8_t)mail->kind);
    if (has_chunk(mail->kind))
        shl_bytes_put_u64(&out, mail->chunk);
    if (mail->kind == SHL_CATCH_UP_ASK) {
        shl_bytes_put(&out, mail->schema, SHL_HASH_BYTES);
        shl_bytes_put(&out, mail->hash, SHL_HASH_BYTES);
    }
    return out.at;
}

bool shl_catch_up_get(const void *bytes, size_t size, struct shl_catch_up_mail *mail)
{
    struct shl_bytes in = shl_bytes_reader(bytes, size);
    *mail = (struct shl_catch_up_mail){.kind = (enum shl_catch_up_kind)shl_bytes_get_u8(&in)};
    if (mail->kind < SHL_CATCH_UP_ASK || mail->kind > SHL_CATCH_UP_DROPPED)
        return false;
    if (has_chunk(mail->kind))
        mail->chunk = shl_bytes_get_u64(&in);
    if (mail->kind == SHL_CATCH_UP_ASK) {
        shl_bytes_get(&in, mail->schema, SHL_HASH_BYTES);
        shl_bytes_get(&in, mail->hash, SHL_HASH_BYTES);
    }
    mail->data = in.data + in.at;
    mail->bytes = shl_bytes_left(&in);
    return !in.failed && (mail->kind == SHL_CATCH_UP_DATA || mail->bytes == 0);
}
