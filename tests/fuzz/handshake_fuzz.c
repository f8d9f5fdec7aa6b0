/*
 * Bytes of a stranger against both sides of the handshake, in pieces of any size: nobody who does
 * not know the key gets through, and the acceptor says nothing to whoever sends no proper HELLO.
 *
 * The first byte chooses the size of the pieces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/handshake.h"
#include "fuzz/fuzz.h"

#include <string.h>

static void feed(struct shl_handshake *hs, const uint8_t *data, size_t bytes, size_t piece)
{
    enum shl_handshake_result result = SHL_HANDSHAKE_MORE;
    while (result == SHL_HANDSHAKE_MORE && bytes > 0) {
        size_t used = 0, offered = bytes < piece ? bytes : piece;
        hs->out_bytes = 0;
        result = shl_handshake_feed(hs, data, offered, &used);
        FUZZ_REQUIRE(used <= offered && hs->out_bytes <= sizeof(hs->out));
        FUZZ_REQUIRE(result != SHL_HANDSHAKE_MORE || used == offered);
        data += used;
        bytes -= used;
    }
    FUZZ_REQUIRE(result != SHL_HANDSHAKE_DONE);
    if (result == SHL_HANDSHAKE_REFUSED) {
        FUZZ_REQUIRE(hs->status == SHOAL_ERR_AUTH || hs->status == SHOAL_ERR_VERSION);
        FUZZ_REQUIRE(hs->cause[0] != 0 && memchr(hs->cause, 0, sizeof(hs->cause)) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char secret[] = "a secret that the input does not know";
    struct shl_key key;
    struct shl_handshake hs;
    struct shl_hello hello = {.kind = 2, .rank = 1, .target_rank = 0, .incarnation = 7, .epoch = 1};
    if (bytes < 1)
        return 0;
    FUZZ_REQUIRE(shl_key_derive(secret, sizeof(secret), "job", &key) == SHOAL_OK);
    size_t piece = 1 + data[0] % 128u;

    FUZZ_REQUIRE(shl_handshake_dial(&hs, &key, &hello) == SHOAL_OK);
    feed(&hs, data + 1, bytes - 1, piece);

    hello.rank = 0;
    FUZZ_REQUIRE(shl_handshake_accept(&hs, &key, &hello) == SHOAL_OK);
    feed(&hs, data + 1, bytes - 1, piece);
    return 0;
}
