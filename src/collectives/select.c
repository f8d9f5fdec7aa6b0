/*
 * Choosing an algorithm: the one that the user forced, else the cheapest legal one.
 *
 * Invariant: a pure function of query and costs, which are the same on every rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/select.h"

#include "collectives/cost.h"
#include "core/suggest.h"

#include <stdio.h>
#include <string.h>

/* More pieces than this cost more memory than they can gain time. */
#define CHUNKS_MAX 128u
#define UNITS_MAX 8192u
/* The model shares a port among many senders without loss. In a network its queue overflows, or
 * their pacing leaves gaps: on shaped links such algorithms reach three quarters of the goodput
 * where a ring reaches 95 %. */
#define FAN_IN_WEIGHT 1.15
/* Nor does it know that a connection which rested begins slowly, and that no message of a round
 * leaves before all of the last round has come: on shaped links of 1 Gbit/s and 100 Mbit/s, 8
 * hosts, such algorithms reach 55 to 73 % where a ring reaches 95 %. Up to a size where each
 * message leaves at once they are as fast as predicted. */
#define NEW_PARTNERS_WEIGHT 1.3
#define NEW_PARTNERS_BYTES 65536
/* Two ranks send as many bytes at once as in a phase that scatters and one that gathers. The model
 * lets these two flow into each other without loss. They do over TCP, and not where each message
 * waits to be told its place: over Soft-RoCE that cost a fifth. */
#define TWO_PHASES_WEIGHT 1.05

/* Between hosts each piece wakes its receiver, which the model knows only as a part of alpha:
 * ranks' shares are not cut finer than this. */
#define SHARE_PIECE_BYTES 4096

/* ---- names -------------------------------------------------------------------------------- */

#define NAMES_MAX 32

static enum shoal_status find_collective(const char *word, enum shoal_collective *found)
{
    const char *names[SHOAL_COLLECTIVE_COUNT + 1] = {NULL};
    for (int i = 0; i < SHOAL_COLLECTIVE_COUNT; i++) {
        names[i] = shoal_collective_string((enum shoal_collective)i);
        if (strcmp(word, names[i]) == 0) {
            *found = (enum shoal_collective)i;
            return SHOAL_OK;
        }
    }
    const char *nearest = shl_suggest(word, names);
    return shl_fail(SHOAL_ERR_CONFIG, "\"%s\" is no collective%s%s%s", word,
                    nearest ? "; did you mean \"" : "", nearest ? nearest : "",
                    nearest ? "\"?" : "");
}

static enum shoal_status find_algorithm(enum shoal_collective collective, const char *word,
                                        const struct shl_algorithm **found)
{
    const char *names[NAMES_MAX + 1] = {NULL};
    uint32_t count = 0;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        if (algorithm->collective == collective && count < NAMES_MAX)
            names[count++] = algorithm->name;
    }
    *found = shl_algorithm_find(collective, word);
    if (*found)
        return SHOAL_OK;
    const char *nearest = shl_suggest(word, names);
    return shl_fail(SHOAL_ERR_CONFIG,
                    "\"%s\" is no algorithm of %s%s%s%s; `shoal plan --list` "
                    "shows all",
                    word, shoal_collective_string(collective), nearest ? "; did you mean \"" : "",
                    nearest ? nearest : "", nearest ? "\"?" : "");
}

/* ---- forced algorithms -------------------------------------------------------------------- */

/* Copies begin..end without blanks around; what is too long for any name is cut. */
static void copy_word(const char *begin, const char *end, char word[SHL_NAME_BYTES])
{
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t length = (size_t)(end - begin);
    length = length < SHL_NAME_BYTES ? length : SHL_NAME_BYTES - 1;
    memcpy(word, begin, length);
    word[length] = '\0';
}

enum shoal_status shl_forced_find(const char *forced, enum shoal_collective collective,
                                  const struct shl_algorithm **algorithm)
{
    const struct shl_algorithm *last = NULL, *found = NULL;
    char word[SHL_NAME_BYTES];
    for (const char *end; forced && *forced; forced = *end ? end + 1 : end) {
        enum shoal_collective which = SHOAL_ALLREDUCE;
        end = forced + strcspn(forced, ",");
        const char *equal = memchr(forced, '=', (size_t)(end - forced));
        copy_word(forced, equal ? equal : end, word);
        if (!equal && *word == '\0')
            continue;
        if (!equal)
            return shl_fail(SHOAL_ERR_CONFIG,
                            "forced algorithm \"%s\" is not of the form collective=algorithm",
                            word);
        SHL_TRY(find_collective(word, &which));
        copy_word(equal + 1, end, word);
        SHL_TRY(find_algorithm(which, word, &found));
        if (which == collective)
            last = found;
    }
    *algorithm = last;
    return SHOAL_OK;
}

enum shoal_status shl_forced_check(const char *forced)
{
    const struct shl_algorithm *unused;
    char text[256];
    enum shoal_status status = shl_forced_find(forced, SHOAL_ALLREDUCE, &unused);
    if (status == SHOAL_OK)
        return SHOAL_OK;
    snprintf(text, sizeof(text), "%.250s", shl_error_text());
    return shl_fail(status, "SHOAL_ALGORITHM: %s", text);
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

static double weight(const struct shl_algorithm *algorithm, const struct shl_price *price)
{
    bool two_phases = algorithm->collective == SHOAL_ALLREDUCE &&
                      (algorithm->pipelined || algorithm->new_partners);
    if (price->net_places && price->rank_count == 2 && price->hosts == 2)
        return two_phases ? TWO_PHASES_WEIGHT : 1;
    if (price->hosts <= 2)
        return 1;
    if (algorithm->fans_in)
        return FAN_IN_WEIGHT;
    return algorithm->new_partners && price->bytes > NEW_PARTNERS_BYTES ? NEW_PARTNERS_WEIGHT : 1;
}

static bool is_cut_fine(const struct shl_algorithm *algorithm, const struct shl_price *price,
                        uint32_t chunks)
{
    bool shares = algorithm->collective == SHOAL_ALLREDUCE ||
                  algorithm->collective == SHOAL_REDUCE_SCATTER ||
                  algorithm->collective == SHOAL_ALLGATHER;
    return shares && price->hosts > 1 &&
           price->bytes < (double)SHARE_PIECE_BYTES * price->rank_count * chunks;
}

/* Chunk counts are powers of two; the fewest win where times are equal. */
static void price_algorithm(const struct shl_algorithm *algorithm, struct shl_price *price,
                            struct shl_choice *best)
{
    for (uint32_t chunks = 1; chunks <= CHUNKS_MAX; chunks *= 2) {
        if (chunks > 1 &&
            (!algorithm->pipelined || (uint64_t)chunks * price->rank_count > UNITS_MAX ||
             is_cut_fine(algorithm, price, chunks)))
            break;
        price->chunks = chunks;
        double seconds =
            price->rank_count > 1 ? shl_time_seconds(price, algorithm->cost(price)) : 0;
        if (!best->algorithm ||
            seconds * weight(algorithm, price) < best->predicted_s * weight(best->algorithm, price))
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
