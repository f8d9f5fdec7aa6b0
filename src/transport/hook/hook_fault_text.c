/*
 * Test faults from text: SHOAL_TEST_FAULT. The grammar is in hook.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/hook/hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES 64
#define NS_PER_MS 1000000u

/* One `key=value`; the words are cut to WORD_BYTES, which no legal one reaches. */
struct setting {
    char key[WORD_BYTES], value[WORD_BYTES];
};

static void copy_word(char *to, const char *from, size_t bytes)
{
    while (bytes > 0 && *from == ' ') {
        from++;
        bytes--;
    }
    while (bytes > 0 && from[bytes - 1] == ' ')
        bytes--;
    if (bytes >= WORD_BYTES)
        bytes = WORD_BYTES - 1;
    memcpy(to, from, bytes);
    to[bytes] = '\0';
}

/* The next setting of a fault; `*text` moves behind it and its comma. */
static enum shoal_status next_setting(const char **text, const char *end, struct setting *setting)
{
    const char *comma = memchr(*text, ',', (size_t)(end - *text));
    const char *stop = comma == NULL ? end : comma;
    const char *equals = memchr(*text, '=', (size_t)(stop - *text));
    if (equals == NULL) {
        copy_word(setting->key, *text, (size_t)(stop - *text));
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_TEST_FAULT: '%s' is not of the form key=value",
                        setting->key);
    }
    copy_word(setting->key, *text, (size_t)(equals - *text));
    copy_word(setting->value, equals + 1, (size_t)(stop - equals - 1));
    *text = comma == NULL ? end : comma + 1;
    return SHOAL_OK;
}

static enum shoal_status get_number(const struct setting *setting, int64_t min, int64_t max,
                                    int64_t *number)
{
    char *end;
    errno = 0;
    long long got = strtoll(setting->value, &end, 10);
    if (errno != 0 || end == setting->value || *end != '\0' || got < min || got > max)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_TEST_FAULT: %s=%s; a number from %lld to %lld is expected",
                        setting->key, setting->value, (long long)min, (long long)max);
    *number = got;
    return SHOAL_OK;
}

static enum shoal_status get_name(const struct setting *setting, const char *const *names,
                                  size_t count, unsigned *index)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(setting->value, names[i]) == 0) {
            *index = (unsigned)i;
            return SHOAL_OK;
        }
    }
    char known[WORD_BYTES] = "";
    for (size_t i = 0; i < count; i++) {
        size_t at = strlen(known);
        snprintf(known + at, sizeof(known) - at, "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_TEST_FAULT: %s=%s; known are %s", setting->key,
                    setting->value, known);
}

static enum shoal_status apply(const struct setting *setting, struct shl_hook_fault *fault)
{
    static const char *const calls[SHL_HOOK_CALL_COUNT] = {"send", "recv", "poll"};
    static const char *const actions[SHL_HOOK_ACTION_COUNT] = {"fail", "delay", "drop", "kill",
                                                               "stop"};
    int64_t number = 0;
    unsigned index = 0;
    if (strcmp(setting->key, "on") == 0) {
        SHL_TRY(get_name(setting, calls, SHL_HOOK_CALL_COUNT, &index));
        fault->call = (enum shl_hook_call)index;
    } else if (strcmp(setting->key, "do") == 0) {
        SHL_TRY(get_name(setting, actions, SHL_HOOK_ACTION_COUNT, &index));
        fault->action = (enum shl_hook_action)index;
    } else if (strcmp(setting->key, "rank") == 0) {
        SHL_TRY(get_number(setting, 0, SHL_HOOK_ANY - 1, &number));
        fault->rank = (uint32_t)number;
    } else if (strcmp(setting->key, "peer") == 0) {
        SHL_TRY(get_number(setting, 0, SHL_HOOK_ANY - 1, &number));
        fault->peer = (uint32_t)number;
    } else if (strcmp(setting->key, "k") == 0) {
        SHL_TRY(get_number(setting, 1, INT64_MAX, &number));
        fault->k = (uint64_t)number;
    } else if (strcmp(setting->key, "status") == 0) {
        SHL_TRY(get_number(setting, -999, -1, &number));
        fault->status = (enum shoal_status)number;
    } else if (strcmp(setting->key, "ms") == 0) {
        SHL_TRY(get_number(setting, 0, 3600000, &number));
        fault->delay_ns = (uint64_t)number * NS_PER_MS;
    } else if (strcmp(setting->key, "transport") == 0) {
        if (strlen(setting->value) >= sizeof(fault->transport))
            return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_TEST_FAULT: no transport is called %s",
                            setting->value);
        strcpy(fault->transport, setting->value);
    } else {
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_TEST_FAULT: unknown key %s; known are rank, transport, on, k, do, "
                        "status, peer, ms",
                        setting->key);
    }
    return SHOAL_OK;
}

static enum shoal_status parse_one(const char *text, const char *end, struct shl_hook_fault *fault)
{
    *fault = (struct shl_hook_fault){
        .rank = SHL_HOOK_ANY,
        .call = SHL_HOOK_CALL_COUNT,
        .k = 1,
        .action = SHL_HOOK_ACTION_COUNT,
        .status = SHOAL_ERR_SYSTEM,
        .peer = SHL_HOOK_ANY,
    };
    while (text < end) {
        struct setting setting;
        SHL_TRY(next_setting(&text, end, &setting));
        SHL_TRY(apply(&setting, fault));
    }
    if (fault->call == SHL_HOOK_CALL_COUNT || fault->action == SHL_HOOK_ACTION_COUNT)
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_TEST_FAULT: a fault needs both on= and do=");
    return SHOAL_OK;
}

enum shoal_status shl_hook_fault_parse(const char *text, struct shl_hook_fault *faults,
                                       size_t capacity, size_t *count)
{
    size_t parsed = 0;
    while (*text != '\0') {
        const char *semicolon = strchr(text, ';');
        const char *end = semicolon == NULL ? text + strlen(text) : semicolon;
        if (parsed == capacity)
            return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_TEST_FAULT: more than %zu faults", capacity);
        SHL_TRY(parse_one(text, end, &faults[parsed]));
        parsed++;
        text = semicolon == NULL ? end : semicolon + 1;
    }
    *count = parsed;
    return SHOAL_OK;
}

enum shoal_status shl_hook_fault_wrap_text(const struct shl_transport_ops *inner, const char *text,
                                           const struct shl_transport_ops **ops)
{
    struct shl_hook_fault faults[SHL_HOOK_FAULTS_MAX];
    size_t count = 0;
    SHL_TRY(shl_hook_fault_parse(text, faults, SHL_HOOK_FAULTS_MAX, &count));
    if (count > 0)
        return shl_hook_fault_wrap(inner, faults, count, ops);
    *ops = inner;
    return SHOAL_OK;
}
