/*
 * Streaming copies. A large result that is not read soon should not evict the ring and the cells
 * from the cache, and a store that covers whole lines need not read them first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm_copy.h"

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

#define LINE 64u

static void copy_lines(uint8_t *out, const uint8_t *in, size_t lines)
{
    for (; lines; lines--, out += LINE, in += LINE) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)in);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(in + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(in + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(in + 48));
        _mm_prefetch((const char *)in + 512, _MM_HINT_NTA);
        _mm_stream_si128((__m128i *)(void *)out, a);
        _mm_stream_si128((__m128i *)(void *)(out + 16), b);
        _mm_stream_si128((__m128i *)(void *)(out + 32), c);
        _mm_stream_si128((__m128i *)(void *)(out + 48), d);
    }
    /* Streaming stores are weakly ordered: what is published next must come after them. */
    _mm_sfence();
}

void shl_shm_copy(void *out, const void *in, size_t bytes, bool nontemporal)
{
    uint8_t *to = out;
    const uint8_t *from = in;
    size_t head = (LINE - (uintptr_t)to % LINE) % LINE;
    if (!nontemporal || bytes < head + LINE) {
        memcpy(to, from, bytes);
        return;
    }
    size_t lines = (bytes - head) / LINE;
    size_t body = lines * LINE;
    memcpy(to, from, head);
    copy_lines(to + head, from + head, lines);
    memcpy(to + head + body, from + head + body, bytes - head - body);
}

#else

void shl_shm_copy(void *out, const void *in, size_t bytes, bool nontemporal)
{
    (void)nontemporal; /* no portable way; memcpy of this machine knows its own threshold */
    memcpy(out, in, bytes);
}

#endif
