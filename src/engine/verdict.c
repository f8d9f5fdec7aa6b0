/*
 * Turning statements into one status and one line. Path: from incident.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/verdict.h"

#include "control/ranges.h"
#include "engine/comm.h"

#include <stdarg.h>
#include <stdio.h>

#define RANKS_BYTES 120
#define GROUPS_MAX 3 /* different calls that the text spells out */

struct text {
    char *at;
    size_t left;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int used = vsnprintf(text->at, text->left, format, args);
    va_end(args);
    if (used < 0)
        return;
    size_t step = (size_t)used < text->left ? (size_t)used : text->left - 1;
    text->at += step;
    text->left -= step;
}

enum choice { LOST, LEFT, NOT_CALLED, DONE, SAME_CALL };

struct chosen {
    const struct shl_statement *statements;
    enum choice choice;
    const struct shl_signature *signature; /* SAME_CALL */
};

static bool is_chosen(const void *arg, uint32_t rank)
{
    const struct chosen *chosen = arg;
    const struct shl_statement *statement = &chosen->statements[rank];
    switch (chosen->choice) {
    case LOST:
        return statement->lost && !statement->left;
    case LEFT:
        return statement->left;
    case NOT_CALLED:
        return !statement->lost && !statement->called;
    case DONE:
        return statement->done;
    default:
        return statement->called && shl_signature_equal(&statement->signature, chosen->signature);
    }
}

/* "rank 3" or "ranks 0, 2-5"; returns how many. */
static uint32_t add_ranks(struct text *text, const struct shl_statement *statements, uint32_t count,
                          enum choice choice, const struct shl_signature *signature)
{
    struct chosen chosen = {statements, choice, signature};
    char ranks[RANKS_BYTES];
    uint32_t found = shl_ranges_format(is_chosen, &chosen, count, ranks, sizeof(ranks));
    if (found > 0)
        add(text, found == 1 ? "rank %s" : "ranks %s", ranks);
    return found;
}

static const struct shl_statement *first_called(const struct shl_statement *statements,
                                                uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (statements[i].called)
            return &statements[i];
    return NULL;
}

/* Is this the first statement with its signature? */
static bool opens_group(const struct shl_statement *statements, uint32_t at)
{
    if (!statements[at].called)
        return false;
    struct chosen same = {statements, SAME_CALL, &statements[at].signature};
    for (uint32_t i = 0; i < at; i++)
        if (is_chosen(&same, i))
            return false;
    return true;
}

static bool disagree(const struct shl_statement *statements, uint32_t count)
{
    const struct shl_statement *first = first_called(statements, count);
    for (uint32_t i = 0; first && i < count; i++)
        if (statements[i].called &&
            !shl_signature_equal(&statements[i].signature, &first->signature))
            return true;
    return false;
}

static void tell_calls(struct text *text, uint64_t seq, const struct shl_statement *statements,
                       uint32_t count)
{
    char call[128];
    uint32_t groups = 0;
    add(text, "ranks disagree on operation #%llu: ", (unsigned long long)seq);
    for (uint32_t i = 0; i < count; i++) {
        if (!opens_group(statements, i))
            continue;
        if (++groups > GROUPS_MAX)
            continue;
        shl_signature_text(&statements[i].signature, seq, call, sizeof(call));
        add(text, groups == 1 ? "" : "; ");
        add_ranks(text, statements, count, SAME_CALL, &statements[i].signature);
        add(text, " called %s", call);
    }
    if (groups > GROUPS_MAX)
        add(text, "; and %u other calls", groups - GROUPS_MAX);
}

static void tell_absent(struct text *text, uint64_t seq, const struct shl_statement *statements,
                        uint32_t count)
{
    const struct shl_statement *first = first_called(statements, count);
    struct text before = *text;
    char call[128];
    add(text, "; ");
    if (add_ranks(text, statements, count, NOT_CALLED, NULL) == 0) {
        *text = before;
        *text->at = '\0';
        return;
    }
    if (first)
        shl_signature_text(&first->signature, seq, call, sizeof(call));
    else
        snprintf(call, sizeof(call), "operation #%llu", (unsigned long long)seq);
    add(text, " had not called %s", call);
}

static void tell_done(struct text *text, const struct shl_statement *statements, uint32_t count)
{
    struct text before = *text;
    add(text, "; ");
    if (add_ranks(text, statements, count, DONE, NULL) > 0) {
        add(text, " had finished it");
        return;
    }
    *text = before;
    *text->at = '\0';
}

bool shl_verdict_is_uneven(const struct shl_statement *statements, uint32_t count)
{
    bool uneven = false;
    for (uint32_t i = 0; i < count; i++)
        uneven |= statements[i].done;
    return uneven;
}

enum shoal_status shl_verdict(uint64_t seq, const struct shl_statement *statements, uint32_t count,
                              const char *reason, char *text_out, size_t text_bytes)
{
    struct text text = {text_out, text_bytes};
    uint32_t raiser = 0;
    if (add_ranks(&text, statements, count, LOST, NULL) > 0 ||
        add_ranks(&text, statements, count, LEFT, NULL) > 0) {
        add(&text, " lost (%s); destroy the communicator", reason);
        return SHOAL_ERR_PEER;
    }
    if (disagree(statements, count)) {
        tell_calls(&text, seq, statements, count);
        return SHOAL_ERR_MISMATCH;
    }
    while (raiser < count && statements[raiser].raised == SHOAL_OK)
        raiser++;
    enum shoal_status status = raiser < count ? statements[raiser].raised : SHOAL_ERR_ABORTED;
    add(&text, "rank %u gave up operation #%llu: %s", raiser < count ? raiser : 0,
        (unsigned long long)seq, reason);
    tell_absent(&text, seq, statements, count);
    tell_done(&text, statements, count);
    return status;
}
