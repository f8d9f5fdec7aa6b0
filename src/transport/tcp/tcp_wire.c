/*
 * Encodes, decodes and validates the frames of tcp_wire.h.
 *
 * Headers have a fixed size, so the fields are loaded and stored at fixed offsets; on a little
 * endian machine each compiles to one move.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_wire.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum offsets {
    AT_TYPE = 0,
    AT_FLAGS = 1,
    AT_ELEM = 2,
    AT_RESERVED = 3,
    AT_LENGTH = 4,
    AT_EPOCH = 8,
    AT_SEQUENCE = 12,
    AT_ACK = 16,
    AT_BLOCKS = 20,
    AT_SLOTS = 22,
    AT_TAG_SEQ = 24,
    AT_TAG_COMM = 32,
    AT_TAG_MSG = 36,
    AT_COUNT = 40,
    AT_CALL = 48,
    AT_OFFSET = 56
};

static void put_u16(uint8_t *bytes, uint16_t value)
{
    value = htole16(value);
    memcpy(bytes, &value, sizeof(value));
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    value = htole32(value);
    memcpy(bytes, &value, sizeof(value));
}

static void put_u64(uint8_t *bytes, uint64_t value)
{
    value = htole64(value);
    memcpy(bytes, &value, sizeof(value));
}

static uint16_t get_u16(const uint8_t *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof(value));
    return le16toh(value);
}

static uint32_t get_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return le64toh(value);
}

void shl_tcp_header_encode(const struct shl_tcp_header *header, uint8_t *bytes)
{
    bytes[AT_TYPE] = header->type;
    bytes[AT_FLAGS] = header->flags;
    bytes[AT_ELEM] = header->elem_bytes;
    bytes[AT_RESERVED] = 0;
    put_u32(bytes + AT_LENGTH, header->length);
    put_u32(bytes + AT_EPOCH, header->epoch);
    put_u32(bytes + AT_SEQUENCE, header->sequence);
    put_u32(bytes + AT_ACK, header->ack);
    put_u16(bytes + AT_BLOCKS, header->blocks);
    put_u16(bytes + AT_SLOTS, header->slots);
    put_u64(bytes + AT_TAG_SEQ, header->tag.seq);
    put_u32(bytes + AT_TAG_COMM, header->tag.comm);
    put_u32(bytes + AT_TAG_MSG, header->tag.msg);
    put_u64(bytes + AT_COUNT, header->signature.count);
    put_u64(bytes + AT_CALL, header->signature.call);
    put_u64(bytes + AT_OFFSET, header->offset);
}

static void load(const uint8_t *bytes, struct shl_tcp_header *header)
{
    header->type = bytes[AT_TYPE];
    header->flags = bytes[AT_FLAGS];
    header->elem_bytes = bytes[AT_ELEM];
    header->length = get_u32(bytes + AT_LENGTH);
    header->epoch = get_u32(bytes + AT_EPOCH);
    header->sequence = get_u32(bytes + AT_SEQUENCE);
    header->ack = get_u32(bytes + AT_ACK);
    header->blocks = get_u16(bytes + AT_BLOCKS);
    header->slots = get_u16(bytes + AT_SLOTS);
    header->tag.seq = get_u64(bytes + AT_TAG_SEQ);
    header->tag.comm = get_u32(bytes + AT_TAG_COMM);
    header->tag.msg = get_u32(bytes + AT_TAG_MSG);
    header->signature.count = get_u64(bytes + AT_COUNT);
    header->signature.call = get_u64(bytes + AT_CALL);
    header->offset = get_u64(bytes + AT_OFFSET);
}

/* What each type may carry; index: type. */
static const struct rule {
    const char *name;
    uint8_t flags;
    uint8_t elem_max;
    bool names_message; /* else tag, signature and offset are 0 */
    bool has_offset;
    uint32_t length_max;
} rules[] = {
    [SHL_TCP_EAGER] = {"EAGER", SHL_TCP_VOID, 0, true, false, SHL_TCP_EAGER_BYTES},
    [SHL_TCP_ANNOUNCE] = {"ANNOUNCE", SHL_TCP_ANSWER, SHL_TCP_ELEM_BYTES_MAX, true, true, 0},
    [SHL_TCP_CHUNK] = {"CHUNK", SHL_TCP_VOID | SHL_TCP_PUSH, 0, true, true,
                       SHL_TCP_CHUNK_BYTES_MAX},
    [SHL_TCP_ASK] = {"ASK", SHL_TCP_AGAIN, 0, true, true, 0},
    [SHL_TCP_ACK] = {"ACK", 0, 0, false, false, 0},
    [SHL_TCP_BYE] = {"BYE", 0, 0, false, false, 0},
};

#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

const char *shl_tcp_type_name(uint8_t type)
{
    return type < RULE_COUNT && rules[type].name ? rules[type].name : "unknown";
}

/* The first field that breaks a rule, NULL when none does. */
static const char *check(const uint8_t *bytes, const struct rule *rule,
                         const struct shl_tcp_header *header)
{
    const struct shl_tag no_tag = {0, 0, 0};
    const struct shl_signature no_signature = {0, 0};
    bool is_void = header->flags & SHL_TCP_VOID;
    if (header->flags & ~rule->flags)
        return "flags";
    if (bytes[AT_RESERVED])
        return "reserved byte";
    if (header->elem_bytes > rule->elem_max || (rule->elem_max && header->elem_bytes == 0))
        return "element size";
    if (header->length > rule->length_max ||
        (is_void && header->type == SHL_TCP_CHUNK && header->length))
        return "length";
    if (header->flags & SHL_TCP_PUSH && header->length > SHL_TCP_PUSH_BYTES)
        return "length";
    if ((!rule->has_offset || header->flags & SHL_TCP_PUSH) && header->offset)
        return "offset";
    if (!rule->names_message && (!shl_tag_equal(&header->tag, &no_tag) ||
                                 !shl_signature_equal(&header->signature, &no_signature)))
        return "tag or signature";
    if (header->type == SHL_TCP_ACK && header->sequence)
        return "sequence";
    return NULL;
}

bool shl_tcp_header_decode(const uint8_t *bytes, uint32_t epoch, struct shl_tcp_header *header,
                           char *cause, size_t cause_bytes)
{
    struct shl_tcp_header read;
    load(bytes, &read);
    if (SHL_UNLIKELY(read.type >= RULE_COUNT || !rules[read.type].name)) {
        snprintf(cause, cause_bytes, "a frame of unknown type %u", read.type);
        return false;
    }
    if (SHL_UNLIKELY(read.epoch != epoch)) {
        snprintf(cause, cause_bytes, "a %s frame of epoch %" PRIu32 " in epoch %" PRIu32,
                 rules[read.type].name, read.epoch, epoch);
        return false;
    }
    const char *wrong = check(bytes, &rules[read.type], &read);
    if (SHL_UNLIKELY(wrong != NULL)) {
        snprintf(cause, cause_bytes,
                 "a %s frame with an illegal %s (flags 0x%x, elem %u, length %" PRIu32
                 ", offset %" PRIu64 ")",
                 rules[read.type].name, wrong, read.flags, read.elem_bytes, read.length,
                 read.offset);
        return false;
    }
    *header = read;
    return true;
}

void shl_tcp_trailer_encode(enum shl_tcp_trailer trailer, uint8_t *bytes)
{
    put_u32(bytes, trailer);
    put_u32(bytes + 4, 0);
}

uint32_t shl_tcp_trailer_decode(const uint8_t *bytes)
{
    uint32_t trailer = get_u32(bytes);
    bool known = trailer == SHL_TCP_TRAILER_VALID || trailer == SHL_TCP_TRAILER_VOID;
    return known && get_u32(bytes + 4) == 0 ? trailer : 0;
}
