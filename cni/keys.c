/*
 * Members of JSON objects against tables of what is read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keys.h"

#include "core/suggest.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define NAMES_MAX 32
#define GUID_LENGTH 23

const struct cni_key *cni_key_find(const struct cni_key *keys, const char *name)
{
    for (const struct cni_key *key = keys; key->name; key++)
        if (strcasecmp(key->name, name) == 0)
            return key;
    return NULL;
}

const char *cni_key_suggest(const struct cni_key *keys, const char *name)
{
    const char *names[NAMES_MAX + 1] = {NULL};
    for (size_t i = 0; i < NAMES_MAX && keys[i].name; i++)
        names[i] = keys[i].name;
    return shl_suggest(name, names);
}

static bool is_word_of(const char *word, const char *words)
{
    bool any_case = *words == '~';
    size_t length = strlen(word);
    for (words += any_case;;) {
        size_t next = strcspn(words, "|");
        if (next == length && (any_case ? strncasecmp : strncmp)(word, words, length) == 0)
            return true;
        if (!words[next])
            return false;
        words += next + 1;
    }
}

/* Of 6 bytes, or the longer ones that Go takes as well: pairs of digits between : or -. */
static bool is_hardware_address(const char *text)
{
    size_t bytes = (strlen(text) + 1) / 3;
    if (bytes * 3 != strlen(text) + 1 || (bytes != 6 && bytes != 8 && bytes != 20))
        return false;
    for (size_t i = 0; text[i]; i++)
        if (i % 3 == 2 ? text[i] != text[2] || !strchr(":-", text[i])
                       : !isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

/* As /sys spells it, in small letters. */
static bool is_pci_address(const char *text)
{
    static const char form[] = "hhhh:hh:hh.o"; /* hexadecimal digits, and an octal one */
    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; text[i]; i++) {
        const char itself[] = {form[i], '\0'};
        const char *accepted = form[i] == 'h'   ? "0123456789abcdef"
                               : form[i] == 'o' ? "01234567"
                                                : itself;
        if (!strchr(accepted, text[i]))
            return false;
    }
    return true;
}

static void check_form(struct cni_check *check, const struct cni_key *key,
                       const struct cni_node *value, const char *whose)
{
    if (strcmp(key->accepts, "=mac") == 0 && !is_hardware_address(value->text))
        cni_find(check->findings, CNI_RULE_cni_value, value,
                 "%s \"%.60s\" is no hardware address such as 02:00:00:00:00:01", key->name,
                 value->text);
    if (strcmp(key->accepts, "=guid") == 0 &&
        (!is_hardware_address(value->text) || strlen(value->text) != GUID_LENGTH))
        cni_find(check->findings, CNI_RULE_cni_value, value,
                 "%s \"%.60s\" is no GUID such as c2:11:22:33:44:55:66:77", key->name, value->text);
    if (strcmp(key->accepts, "=pci") == 0 && !is_pci_address(value->text))
        cni_find(check->findings, CNI_RULE_cni_value, value,
                 "%s \"%.60s\" is no PCI address as /sys spells it: 0000:3b:00.2", key->name,
                 value->text);
    if (strcmp(key->accepts, "=texts") != 0)
        return;
    CNI_EACH(member, value)
    {
        if (member->kind != CNI_TEXT)
            cni_find(check->findings, CNI_RULE_cni_value, member,
                     "%s of %s holds %s, not texts in quotes", key->name, whose,
                     cni_kind_name(member));
    }
}

static void check_value(struct cni_check *check, const struct cni_key *key,
                        const struct cni_node *value, const char *whose)
{
    static const char *const wanted[] = {
        "", "a boolean", "an integer", "a number", "a text in quotes", "an object", "a list"};
    bool form = key->accepts && *key->accepts == '=';
    if (value->kind == CNI_NULL || key->kind == CNI_NULL)
        return;
    if (value->kind != key->kind)
        cni_find(check->findings, CNI_RULE_cni_value, value, "%s of %s is %s, not %s", key->name,
                 whose, cni_kind_name(value), wanted[key->kind]);
    else if (form && (value->count || *value->text))
        check_form(check, key, value, whose);
    else if (!form && key->accepts && *value->text && !is_word_of(value->text, key->accepts))
        cni_find(check->findings, CNI_RULE_cni_value, value, "%s \"%.60s\" is none of %s",
                 key->name, value->text, key->accepts + (*key->accepts == '~'));
    else if (key->kind == CNI_INT && !key->high && value->integer < key->low)
        cni_find(check->findings, CNI_RULE_cni_value, value, "%s %lld is less than %lld", key->name,
                 (long long)value->integer, (long long)key->low);
    else if (key->kind == CNI_INT && key->high &&
             (value->integer < key->low || value->integer > key->high))
        cni_find(check->findings, CNI_RULE_cni_value, value, "%s %lld lies outside %lld to %lld",
                 key->name, (long long)value->integer, (long long)key->low, (long long)key->high);
}

void cni_check_key(struct cni_check *check, const struct cni_key *key, const struct cni_node *value,
                   const char *whose)
{
    if (strcmp(key->name, value->key) != 0)
        cni_find(check->findings, CNI_RULE_cni_key_case, value, "%.60s is spelt %s", value->key,
                 key->name);
    check_value(check, key, value, whose);
}

void cni_check_key_unknown(struct cni_check *check, const struct cni_key *keys,
                           const struct cni_node *value, const char *whose)
{
    const char *near = cni_key_suggest(keys, value->key);
    cni_find(check->findings, CNI_RULE_cni_key, value, "%s has no key %.60s%s%s%s: it is ignored",
             whose, value->key, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

void cni_check_keys(struct cni_check *check, const struct cni_key *keys, const struct cni_node *map,
                    const char *whose)
{
    CNI_EACH(value, map)
    {
        const struct cni_key *key = value->key ? cni_key_find(keys, value->key) : NULL;
        if (key)
            cni_check_key(check, key, value, whose);
        else if (value->key)
            cni_check_key_unknown(check, keys, value, whose);
    }
}
