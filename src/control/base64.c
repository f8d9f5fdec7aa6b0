/*
 * Base64, by libcrypto, with the checks that it leaves out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/base64.h"

#include <openssl/evp.h>
#include <string.h>

void shl_base64_encode(char *text, const void *data, size_t bytes)
{
    int length = EVP_EncodeBlock((unsigned char *)text, data, (int)bytes);
    text[length] = '\0';
}

bool shl_base64_decode(const char *text, size_t length, uint8_t *data, size_t capacity,
                       size_t *bytes)
{
    size_t padding = 0;
    uint8_t last[3];
    if (length % 4 || length / 4 * 3 > capacity + 2)
        return false;
    *bytes = 0;
    if (!length)
        return true;
    while (padding < 2 && text[length - 1 - padding] == '=')
        padding++;
    size_t whole = length - 4;
    /* The last four letters apart: they may stand for less than three bytes of room. */
    if (EVP_DecodeBlock(data, (const unsigned char *)text, (int)whole) != (int)(whole / 4 * 3) ||
        EVP_DecodeBlock(last, (const unsigned char *)text + whole, 4) != 3 ||
        memchr(text, '=', length - padding))
        return false;
    *bytes = whole / 4 * 3 + 3 - padding;
    if (*bytes > capacity)
        return false;
    memcpy(data + whole / 4 * 3, last, 3 - padding);
    return true;
}
