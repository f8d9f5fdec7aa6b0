/*
 * Choosing an algorithm: the one that the user forced, else the cheapest legal one.
 *
 * Invariant: a pure function of query and costs, which are the same on every rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/select.h"

#include "collectives/cost.h"

#include <string.h>

/* More pieces than this cost more memory than they can gain time. */
#define CHUNKS_MAX 128u
#define UNITS_MAX 8192u

/* ---- names -------------------------------------------------------------------------------- */

/* Edits (insert, delete, replace) between a name and a word that is not zero-terminated. */
static uint32_t distance(const char *name, const char *word, size_t length)
{
    uint32_t row[SHL_NAME_BYTES + 1];
    size_t name_length = strlen(name);
    if (length > SHL_NAME_BYTES || name_length > SHL_NAME_BYTES)
        return UINT32_MAX;
    for (size_t i = 0; i <= length; i++)
        row[i] = (uint32_t)i;
    for (size_t n = 1; n <= name_length; n++) {
        uint32_t diagonal = row[0];
        row[0] = (uint32_t)n;
        for (size_t i = 1; i <= length; i++) {
            uint32_t replaced = diagonal + (name[n - 1] != word[i - 1]);
            uint32_t edited = (row[i] < row[i - 1] ? row[i] : row[i - 1]) + 1;
            diagonal = row[i];
            row[i] = replaced < edited ? replaced : edited;
        }
    }
    return row[length];
}

struct word {
    const char *text;
    size_t length;
};

static bool equals(struct word word, const char *name)
{
    return strlen(name) == word.length && memcmp(word.text, name, word.length) == 0;
}

static enum shoal_status find_collective(struct word word, enum shoal_collective *found)
{
    const char *nearest = "";
    uint32_t best = UINT32_MAX;
    for (int i = 0; i < SHOAL_COLLECTIVE_COUNT; i++) {
        const char *name = shoal_collective_string((enum shoal_collective)i);
        uint32_t edits = distance(name, word.text, word.length);
        if (edits < best) {
            best = edits;
            nearest = name;
        }
        if (equals(word, name)) {
            *found = (enum shoal_collective)i;
            return SHOAL_OK;
        }
    }
    return shl_fail(SHOAL_ERR_CONFIG, "\"%.*s\" is no collective%s%s%s", (int)word.length,
                    word.text, *nearest ? "; did you mean \"" : "", nearest, *nearest ? "\"?" : "");
}

static enum shoal_status find_algorithm(enum shoal_collective collective, struct word word,
                                        const struct shl_algorithm **found)
{
    const char *nearest = "";
    uint32_t best = UINT32_MAX;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        if (algorithm->collective != collective)
            continue;
        uint32_t edits = distance(algorithm->name, word.text, word.length);
        if (edits < best) {
            best = edits;
            nearest = algorithm->name;
        }
        if (equals(word, algorithm->name)) {
            *found = algorithm;
            return SHOAL_OK;
        }
    }
    return shl_fail(SHOAL_ERR_CONFIG,
                    "\"%.*s\" is no algorithm of %s%s%s%s; `shoal plan --list` shows all",
                    (int)word.length, word.text, shoal_collective_string(collective),
                    *nearest ? "; did you mean \"" : "", nearest, *nearest ? "\"?" : "");
}

/* ---- forced algorithms -------------------------------------------------------------------- */

static struct word trim(const char *begin, const char *end)
{
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct word){begin, (size_t)(end - begin)};
}

enum shoal_status shl_forced_find(const char *forced, enum shoal_collective collective,
                                  const struct shl_algorithm **algorithm)
{
    *algorithm = NULL;
    while (forced && *forced) {
        const char *end = forced + strcspn(forced, ",");
        const char *equal = memchr(forced, '=', (size_t)(end - forced));
        struct word item = trim(forced, end);
        forced = *end ? end + 1 : end;
        if (item.length == 0)
            continue;
        if (!equal)
            return shl_fail(SHOAL_ERR_CONFIG,
                            "forced algorithm \"%.*s\" is not of the form collective=algorithm",
                            (int)item.length, item.text);
        enum shoal_collective which = SHOAL_ALLREDUCE;
        const struct shl_algorithm *found = NULL;
        SHL_TRY(find_collective(trim(item.text, equal), &which));
        SHL_TRY(find_algorithm(which, trim(equal + 1, end), &found));
        if (which == collective)
            *algorithm = found;
    }
    return SHOAL_OK;
}

static enum shoal_status check_forced(const struct shl_algorithm *algorithm,
                                      const struct shl_select_query *query)
{
    if (!query->commutes && !algorithm->in_rank_order)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "forced algorithm %s=%s does not combine in rank order, which this "
                        "operation needs as it does not commute",
                        shoal_collective_string(algorithm->collective), algorithm->name);
    /* One rank only copies, whatever the algorithm. */
    return query->rank_count == 1 ? SHOAL_OK
                                  : shl_algorithm_legal(algorithm, query->rank_count, query->hosts);
}

/* ---- choosing ----------------------------------------------------------------------------- */

/* Powers of two up to the limits; the predicted time has one minimum, but ties are common. */
static void price_algorithm(const struct shl_algorithm *algorithm, struct shl_price *price,
                            struct shl_choice *best)
{
    for (uint32_t chunks = 1; chunks <= CHUNKS_MAX; chunks *= 2) {
        if (chunks > 1 &&
            (!algorithm->pipelined || (uint64_t)chunks * price->rank_count > UNITS_MAX))
            break;
        price->chunks = chunks;
        double seconds =
            price->rank_count > 1 ? shl_time_seconds(price, algorithm->cost(price)) : 0;
        if (!best->algorithm || seconds < best->predicted_s)
            *best = (struct shl_choice){algorithm, chunks, seconds};
    }
}

enum shoal_status shl_select(const struct shl_select_query *query, const struct shl_costs *costs,
                             struct shl_choice *choice)
{
    struct shl_choice best = {0};
    struct shl_price price;
    const struct shl_algorithm *forced;
    SHL_TRY(shl_forced_find(query->forced, query->collective, &forced));
    shl_price_init(&price, query, costs);
    if (forced) {
        SHL_TRY(check_forced(forced, query));
        price_algorithm(forced, &price, &best);
    }
    for (size_t i = 0; i < shl_algorithm_count() && !forced; i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        if (algorithm->collective == query->collective &&
            (query->commutes || algorithm->in_rank_order) &&
            shl_algorithm_suits(algorithm, query->rank_count, query->hosts))
            price_algorithm(algorithm, &price, &best);
    }
    if (!best.algorithm)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "no algorithm for %s on %u ranks",
                        shoal_collective_string(query->collective), query->rank_count);
    *choice = best;
    return SHOAL_OK;
}
