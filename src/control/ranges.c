/*
 * Compact lists of ranks for error texts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/ranges.h"

#include <stdio.h>
#include <string.h>

uint32_t shl_ranges_format(bool (*contains)(const void *arg, uint32_t rank), const void *arg,
                           uint32_t size, char *text, size_t capacity)
{
    uint32_t found = 0;
    size_t at = 0;
    bool full = false;
    text[0] = '\0';
    for (uint32_t first = 0; first < size; first++) {
        if (!contains(arg, first))
            continue;
        uint32_t last = first;
        while (last + 1 < size && contains(arg, last + 1))
            last++;
        found += last - first + 1;
        char piece[32];
        int length = first == last
                         ? snprintf(piece, sizeof(piece), "%s%u", at ? ", " : "", first)
                         : snprintf(piece, sizeof(piece), "%s%u-%u", at ? ", " : "", first, last);
        if (!full && at + (size_t)length + sizeof(", ...") <= capacity) {
            memcpy(text + at, piece, (size_t)length + 1);
            at += (size_t)length;
        } else if (!full) {
            full = true;
            snprintf(text + at, capacity - at, ", ...");
        }
        first = last;
    }
    return found;
}
