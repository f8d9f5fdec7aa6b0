/*
 * Edit distance with transpositions, over short names.
 *
 * Source: Damerau, "A technique for computer detection and correction of spelling errors", CACM
 * 1964, in the restricted form (no substring is edited twice).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define WORD_MAX 64 /* what is longer is compared by its first characters */

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned rows[3][WORD_MAX + 1]; /* row i, i - 1 and i - 2 of the table, by i % 3 */
    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned cost = same(a[i - 1], b[j - 1]) ? 0 : 1;
            row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + cost);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

/* A name whose shorter second half was left out is meant rather than one that only looks alike. */
#define CUT_DISTANCE 2

static bool is_cut(const char *word, size_t length, const char *name)
{
    size_t name_length = strnlen(name, WORD_MAX);
    if (name_length <= length || name_length - length >= length / 2)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!same(word[i], name[i]))
            return false;
    return true;
}

const char *shl_suggest(const char *word, const char *const *names)
{
    size_t length = strnlen(word, WORD_MAX);
    unsigned limit = 1 + (unsigned)length / 3; /* beyond a third it is another word */
    const char *nearest = NULL;
    unsigned nearest_distance = limit + 1;
    for (; *names; names++) {
        unsigned d = distance(word, length, *names, strnlen(*names, WORD_MAX));
        if (d > CUT_DISTANCE && is_cut(word, length, *names))
            d = CUT_DISTANCE;
        if (d < nearest_distance) {
            nearest = *names;
            nearest_distance = d;
        }
    }
    return nearest;
}
