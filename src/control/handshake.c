/*
 * The mutual challenge-response: what each side sends, expects and refuses.
 *
 * Invariant: shl_handshake_feed returns DONE only after the peer's MAC over every byte that was
 * exchanged, its own role, has been verified.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/handshake.h"
#include "control/mac.h"
#include "core/bytes.h"
#include "core/sys.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAGIC 0x314c4853u /* "SHL1" */
#define LABEL_BYTES 16
#define TRANSCRIPT_BYTES (LABEL_BYTES + SHL_HELLO_BYTES + 8 + 32)

enum stage {
    DIALLER_AWAITS_PROOF,
    ACCEPTOR_AWAITS_HELLO,
    ACCEPTOR_AWAITS_PROOF,
    FINISHED,
    REFUSED
};

_Static_assert(SHL_PROOF_ACCEPTOR_BYTES == 8 + 32 + SHL_MAC_BYTES, "rank, version, nonce, mac");
_Static_assert(SHL_PROOF_DIALLER_BYTES == SHL_MAC_BYTES, "mac");

static void encode_hello(const struct shl_hello *hello, uint8_t *wire)
{
    struct shl_bytes out = shl_bytes_writer(wire, SHL_HELLO_BYTES);
    memset(wire, 0, SHL_HELLO_BYTES);
    shl_bytes_put_u32(&out, MAGIC);
    shl_bytes_put_u16(&out, hello->version);
    shl_bytes_put_u8(&out, hello->kind);
    shl_bytes_put_u8(&out, 0);
    shl_bytes_put_u32(&out, hello->index);
    shl_bytes_put_u32(&out, hello->rank);
    shl_bytes_put_u32(&out, hello->target_rank);
    shl_bytes_put_u32(&out, 0);
    shl_bytes_put_u64(&out, hello->incarnation);
    shl_bytes_put_u64(&out, hello->epoch);
    shl_bytes_put(&out, hello->job, sizeof(hello->job));
    shl_bytes_put(&out, hello->nonce, sizeof(hello->nonce));
    SHL_ASSERT(!out.failed);
}

/* False: no dialler of any version wrote this. */
static bool decode_hello(const uint8_t *wire, struct shl_hello *hello)
{
    struct shl_bytes in = shl_bytes_reader(wire, SHL_HELLO_BYTES);
    uint8_t again[SHL_HELLO_BYTES];
    if (shl_bytes_get_u32(&in) != MAGIC)
        return false;
    hello->version = shl_bytes_get_u16(&in);
    hello->kind = shl_bytes_get_u8(&in);
    (void)shl_bytes_get_u8(&in);
    hello->index = shl_bytes_get_u32(&in);
    hello->rank = shl_bytes_get_u32(&in);
    hello->target_rank = shl_bytes_get_u32(&in);
    (void)shl_bytes_get_u32(&in);
    hello->incarnation = shl_bytes_get_u64(&in);
    hello->epoch = shl_bytes_get_u64(&in);
    shl_bytes_get(&in, hello->job, sizeof(hello->job));
    shl_bytes_get(&in, hello->nonce, sizeof(hello->nonce));
    /* Reserved bytes are zero: they are not kept, and the MAC is over what is kept. */
    encode_hello(hello, again);
    return memcmp(again, wire, SHL_HELLO_BYTES) == 0;
}

/* The MAC of one role over the whole exchange. */
static enum shoal_status compute_proof(const struct shl_handshake *hs, const char *role,
                                       uint16_t acceptor_version, uint8_t *mac)
{
    uint8_t transcript[TRANSCRIPT_BYTES] = {0};
    struct shl_bytes out = shl_bytes_writer(transcript, sizeof(transcript));
    char label[LABEL_BYTES] = {0};
    memcpy(label, role, strlen(role));
    shl_bytes_put(&out, label, sizeof(label));
    encode_hello(&hs->hello, transcript + out.at);
    out.at += SHL_HELLO_BYTES;
    shl_bytes_put_u32(&out, hs->acceptor_rank);
    shl_bytes_put_u32(&out, acceptor_version);
    shl_bytes_put(&out, hs->acceptor_nonce, sizeof(hs->acceptor_nonce));
    SHL_ASSERT(!out.failed && out.at == sizeof(transcript));
    return shl_mac_compute(hs->key->bytes, transcript, sizeof(transcript), mac);
}

__attribute__((format(printf, 3, 4))) static enum shl_handshake_result
refuse(struct shl_handshake *hs, enum shoal_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(hs->cause, sizeof(hs->cause), format, args);
    va_end(args);
    hs->status = status;
    hs->stage = REFUSED;
    hs->in_need = 0;
    return SHL_HANDSHAKE_REFUSED;
}

enum shoal_status shl_handshake_dial(struct shl_handshake *hs, const struct shl_key *key,
                                     const struct shl_hello *hello)
{
    memset(hs, 0, sizeof(*hs));
    hs->key = key;
    hs->dialler = true;
    hs->stage = DIALLER_AWAITS_PROOF;
    hs->hello = *hello;
    hs->hello.version = SHL_PROTOCOL_VERSION;
    if (shl_random->bytes(hs->hello.nonce, sizeof(hs->hello.nonce)))
        return shl_fail_errno("no random bytes for a nonce");
    encode_hello(&hs->hello, hs->out);
    hs->out_bytes = SHL_HELLO_BYTES;
    hs->in_need = SHL_PROOF_ACCEPTOR_BYTES;
    return SHOAL_OK;
}

enum shoal_status shl_handshake_accept(struct shl_handshake *hs, const struct shl_key *key,
                                       const struct shl_hello *expect)
{
    memset(hs, 0, sizeof(*hs));
    hs->key = key;
    hs->stage = ACCEPTOR_AWAITS_HELLO;
    hs->hello = *expect;
    hs->acceptor_rank = expect->rank;
    hs->in_need = SHL_HELLO_BYTES;
    return SHOAL_OK;
}

/* What an honest dialler of this job, who means this rank, would have sent. */
static enum shl_handshake_result check_hello(struct shl_handshake *hs, const struct shl_hello *got)
{
    const struct shl_hello *expect = &hs->hello;
    if (memcmp(got->job, expect->job, sizeof(got->job)))
        return refuse(hs, SHOAL_ERR_AUTH, "the peer names another job");
    if (got->version != SHL_PROTOCOL_VERSION)
        return SHL_HANDSHAKE_MORE;
    if (expect->kind && got->kind != expect->kind)
        return refuse(hs, SHOAL_ERR_AUTH, "the peer asks for channel kind %u, here is %u",
                      got->kind, expect->kind);
    if (got->target_rank != expect->rank)
        return refuse(hs, SHOAL_ERR_AUTH, "the peer means rank %u, this is rank %u",
                      got->target_rank, expect->rank);
    if (expect->incarnation && got->incarnation != expect->incarnation)
        return refuse(hs, SHOAL_ERR_AUTH, "rank %u is of another incarnation of the job",
                      got->rank);
    if (expect->epoch && got->epoch != expect->epoch)
        return refuse(hs, SHOAL_ERR_AUTH, "rank %u is in epoch %llu, here is %llu", got->rank,
                      (unsigned long long)got->epoch, (unsigned long long)expect->epoch);
    return SHL_HANDSHAKE_MORE;
}

static enum shl_handshake_result on_hello(struct shl_handshake *hs)
{
    struct shl_hello got;
    if (!decode_hello(hs->in, &got))
        return refuse(hs, SHOAL_ERR_AUTH, "what came is no shoal handshake");
    if (check_hello(hs, &got) == SHL_HANDSHAKE_REFUSED)
        return SHL_HANDSHAKE_REFUSED;
    hs->hello = got;

    uint8_t mac[SHL_MAC_BYTES];
    if (shl_random->bytes(hs->acceptor_nonce, sizeof(hs->acceptor_nonce)) ||
        compute_proof(hs, "acceptor", SHL_PROTOCOL_VERSION, mac) < 0)
        return refuse(hs, SHOAL_ERR_SYSTEM, "no nonce or MAC could be made: %s", shl_error_text());
    struct shl_bytes out = shl_bytes_writer(hs->out, SHL_PROOF_ACCEPTOR_BYTES);
    shl_bytes_put_u32(&out, hs->acceptor_rank);
    shl_bytes_put_u32(&out, SHL_PROTOCOL_VERSION);
    shl_bytes_put(&out, hs->acceptor_nonce, sizeof(hs->acceptor_nonce));
    shl_bytes_put(&out, mac, sizeof(mac));
    hs->out_bytes = SHL_PROOF_ACCEPTOR_BYTES;
    if (got.version != SHL_PROTOCOL_VERSION)
        return refuse(hs, SHOAL_ERR_VERSION, "the peer speaks protocol version %u, this is %u",
                      got.version, SHL_PROTOCOL_VERSION);
    hs->stage = ACCEPTOR_AWAITS_PROOF;
    hs->in_need = SHL_PROOF_DIALLER_BYTES;
    return SHL_HANDSHAKE_MORE;
}

static enum shl_handshake_result on_acceptor_proof(struct shl_handshake *hs)
{
    struct shl_bytes in = shl_bytes_reader(hs->in, SHL_PROOF_ACCEPTOR_BYTES);
    uint8_t mac[SHL_MAC_BYTES], expected[SHL_MAC_BYTES];
    hs->acceptor_rank = shl_bytes_get_u32(&in);
    uint32_t version = shl_bytes_get_u32(&in);
    shl_bytes_get(&in, hs->acceptor_nonce, sizeof(hs->acceptor_nonce));
    shl_bytes_get(&in, mac, sizeof(mac));
    if (version > UINT16_MAX)
        return refuse(hs, SHOAL_ERR_AUTH, "the acceptor's answer is malformed");
    if (compute_proof(hs, "acceptor", (uint16_t)version, expected) < 0)
        return refuse(hs, SHOAL_ERR_SYSTEM, "no MAC could be made: %s", shl_error_text());
    if (CRYPTO_memcmp(mac, expected, sizeof(mac)))
        return refuse(hs, SHOAL_ERR_AUTH, "the acceptor did not prove knowledge of the job secret");
    if (version != SHL_PROTOCOL_VERSION)
        return refuse(hs, SHOAL_ERR_VERSION, "the acceptor speaks protocol version %u, this is %u",
                      version, SHL_PROTOCOL_VERSION);
    if (hs->acceptor_rank != hs->hello.target_rank)
        return refuse(hs, SHOAL_ERR_AUTH, "rank %u answered instead of rank %u", hs->acceptor_rank,
                      hs->hello.target_rank);
    if (compute_proof(hs, "dialler", SHL_PROTOCOL_VERSION, hs->out) < 0)
        return refuse(hs, SHOAL_ERR_SYSTEM, "no MAC could be made: %s", shl_error_text());
    hs->out_bytes = SHL_PROOF_DIALLER_BYTES;
    hs->stage = FINISHED;
    hs->in_need = 0;
    return SHL_HANDSHAKE_DONE;
}

static enum shl_handshake_result on_dialler_proof(struct shl_handshake *hs)
{
    uint8_t expected[SHL_MAC_BYTES];
    if (compute_proof(hs, "dialler", SHL_PROTOCOL_VERSION, expected) < 0)
        return refuse(hs, SHOAL_ERR_SYSTEM, "no MAC could be made: %s", shl_error_text());
    if (CRYPTO_memcmp(hs->in, expected, sizeof(expected)))
        return refuse(hs, SHOAL_ERR_AUTH, "the dialler did not prove knowledge of the job secret");
    hs->stage = FINISHED;
    hs->in_need = 0;
    return SHL_HANDSHAKE_DONE;
}

enum shl_handshake_result shl_handshake_feed(struct shl_handshake *hs, const void *data,
                                             size_t bytes, size_t *used)
{
    *used = 0;
    if (hs->stage == FINISHED)
        return SHL_HANDSHAKE_DONE;
    if (hs->stage == REFUSED)
        return SHL_HANDSHAKE_REFUSED;
    size_t take = hs->in_need - hs->in_bytes;
    if (take > bytes)
        take = bytes;
    memcpy(hs->in + hs->in_bytes, data, take);
    hs->in_bytes += take;
    *used = take;
    if (hs->in_bytes < hs->in_need)
        return SHL_HANDSHAKE_MORE;
    hs->in_bytes = 0;
    switch (hs->stage) {
    case ACCEPTOR_AWAITS_HELLO:
        return on_hello(hs);
    case ACCEPTOR_AWAITS_PROOF:
        return on_dialler_proof(hs);
    default:
        return on_acceptor_proof(hs);
    }
}
