/*
 * YAML 1.1 as go-yaml reads it, which is what kubectl uses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scalar.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static bool all_digits(const char *text, int base)
{
    if (!*text)
        return false;
    for (; *text; text++) {
        int digit = *text >= '0' && *text <= '9'   ? *text - '0'
                    : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10
                    : *text >= 'A' && *text <= 'F' ? *text - 'A' + 10
                                                   : 99;
        if (digit >= base)
            return false;
    }
    return true;
}

static bool is_integer(const char *text, int64_t *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    int base = 10;
    if (digits[0] == '0' && digits[1]) {
        bool hex = digits[1] == 'x', binary = digits[1] == 'b';
        base = hex ? 16 : binary ? 2 : 8;
        digits += hex || binary || digits[1] == 'o' ? 2 : 1;
    }
    if (!all_digits(digits, base))
        return false;
    *value = strtoll(digits, NULL, base); /* saturates */
    if (*text == '-')
        *value = -*value;
    return true;
}

/* digits [. digits] [e digits], with at least one digit before the exponent. */
static bool is_real(const char *text)
{
    size_t digits = 0;
    text += *text == '-' || *text == '+';
    for (; isdigit((unsigned char)*text); text++)
        digits++;
    if (*text == '.')
        for (text++; isdigit((unsigned char)*text); text++)
            digits++;
    if (!digits)
        return false;
    if (*text == 'e' || *text == 'E') {
        text += 1 + (text[1] == '-' || text[1] == '+');
        if (!all_digits(text, 10))
            return false;
        text += strlen(text);
    }
    return !*text;
}

void cni_scalar_resolve(struct cni_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES",
                                      "on",   "On",   "ON",   "y",   "Y",   NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO",
                                     "off",   "Off",   "OFF",   "n",  "N",  NULL};
    if (is_one_of(node->text, nulls)) {
        node->kind = CNI_NULL;
    } else if (is_one_of(node->text, yes) || is_one_of(node->text, no)) {
        node->kind = CNI_BOOL;
        node->integer = is_one_of(node->text, yes);
    } else if (is_integer(node->text, &node->integer)) {
        node->kind = CNI_INT;
    } else if (is_real(node->text)) {
        node->kind = CNI_REAL;
    }
}

bool cni_scalar_number(struct cni_node *node)
{
    const char *digits = node->text + (*node->text == '-');
    if (!isdigit((unsigned char)*digits) || (digits[0] == '0' && isdigit((unsigned char)digits[1])))
        return false;
    if (is_integer(node->text, &node->integer)) {
        node->kind = CNI_INT;
        return true;
    }
    const char *point = strchr(node->text, '.');
    if (point && !isdigit((unsigned char)point[1]))
        return false;
    node->kind = CNI_REAL;
    return is_real(node->text);
}
