/*
 * The bytes of frames: fixed places, little endian, every field checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "support/test.h"
#include "transport/tcp/tcp_wire.h"

static const struct shl_tcp_header example = {
    .type = SHL_TCP_CHUNK,
    .flags = 0,
    .length = 0x00030201,
    .epoch = 0x14131211,
    .sequence = 0x24232221,
    .ack = 0x34333231,
    .blocks = 0x4241,
    .slots = 0x5251,
    .tag = {.seq = 0x6867666564636261, .comm = 0x74737271, .msg = 0x84838281},
    .signature = {.count = 0x9897969594939291, .call = 0xa8a7a6a5a4a3a2a1},
    .offset = 0xb8b7b6b5b4b3b2b1,
};

static const uint8_t example_bytes[SHL_TCP_HEADER_BYTES] = {
    3,    0,    0,    0,    0x01, 0x02, 0x03, 0x00, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24,
    0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x51, 0x52, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x71, 0x72, 0x73, 0x74, 0x81, 0x82, 0x83, 0x84, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8,
};

static void layout_is_fixed(void **unused)
{
    uint8_t bytes[SHL_TCP_HEADER_BYTES];
    struct shl_tcp_header read;
    char cause[200];
    (void)unused;
    memset(bytes, 0xff, sizeof(bytes));
    shl_tcp_header_encode(&example, bytes);
    assert_memory_equal(bytes, example_bytes, sizeof(bytes));
    assert_true(shl_tcp_header_decode(example_bytes, example.epoch, &read, cause, sizeof(cause)));
    assert_int_equal(read.type, example.type);
    assert_int_equal(read.length, example.length);
    assert_int_equal(read.sequence, example.sequence);
    assert_int_equal(read.ack, example.ack);
    assert_int_equal(read.blocks, example.blocks);
    assert_int_equal(read.slots, example.slots);
    assert_true(shl_tag_equal(&read.tag, &example.tag));
    assert_true(shl_signature_equal(&read.signature, &example.signature));
    assert_true(read.offset == example.offset);
}

static void nothing_is_written_on_refusal(void **unused)
{
    struct shl_tcp_header read, before;
    char cause[16];
    (void)unused;
    memset(&read, 0x5a, sizeof(read));
    memset(&before, 0x5a, sizeof(before));
    assert_false(
        shl_tcp_header_decode(example_bytes, example.epoch + 1, &read, cause, sizeof(cause)));
    assert_memory_equal(&read, &before, sizeof(read));
    assert_int_equal(strlen(cause), sizeof(cause) - 1); /* cut, and ended */
}

/* What decodes encodes to the same bytes: no bit of a header is without meaning. */
static void decoding_loses_nothing(void **unused)
{
    uint64_t seed = shl_test_seed();
    unsigned legal = 0;
    (void)unused;
    for (int run = 0; run < 200000; run++) {
        uint8_t bytes[SHL_TCP_HEADER_BYTES] = {0}, again[SHL_TCP_HEADER_BYTES];
        struct shl_tcp_header read;
        char cause[200];
        uint64_t chance = shl_test_random(&seed);
        bytes[0] = (uint8_t)(chance % 8);
        bytes[1] = (uint8_t)(chance >> 8 & 0xf);
        bytes[2] = (uint8_t)(chance >> 16 & 0x1f);
        for (uint64_t flips = chance >> 24 & 3; flips; flips--)
            bytes[4 + shl_test_random(&seed) % 60] = (uint8_t)shl_test_random(&seed);
        memset(bytes + 8, 0, 4);
        if (!shl_tcp_header_decode(bytes, 0, &read, cause, sizeof(cause)))
            continue;
        legal++;
        shl_tcp_header_encode(&read, again);
        assert_memory_equal(bytes, again, sizeof(bytes));
    }
    assert_true(legal > 100);
}

static void trailers(void **unused)
{
    uint8_t bytes[SHL_TCP_TRAILER_BYTES];
    (void)unused;
    shl_tcp_trailer_encode(SHL_TCP_TRAILER_VALID, bytes);
    assert_int_equal(shl_tcp_trailer_decode(bytes), SHL_TCP_TRAILER_VALID);
    for (unsigned i = 0; i < sizeof(bytes) * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_not_equal(shl_tcp_trailer_decode(bytes), SHL_TCP_TRAILER_VALID);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    shl_tcp_trailer_encode(SHL_TCP_TRAILER_VOID, bytes);
    assert_int_equal(shl_tcp_trailer_decode(bytes), SHL_TCP_TRAILER_VOID);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(shl_tcp_trailer_decode(bytes), 0);
}

static void types_have_names(void **unused)
{
    (void)unused;
    assert_string_equal(shl_tcp_type_name(SHL_TCP_EAGER), "EAGER");
    assert_string_equal(shl_tcp_type_name(SHL_TCP_BYE), "BYE");
    assert_string_equal(shl_tcp_type_name(0), "unknown");
    assert_string_equal(shl_tcp_type_name(200), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_fixed),        cmocka_unit_test(nothing_is_written_on_refusal),
        cmocka_unit_test(decoding_loses_nothing), cmocka_unit_test(trailers),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
