/*
 * Rules of CRDs: each operator and function, what is absent, and what is beyond the part of CEL
 * that is understood.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cel.h"

#include "read.h"

#define H CNI_CEL_HOLDS
#define B CNI_CEL_BROKEN
#define U CNI_CEL_UNKNOWN

static const char document[] =
    "{name: rail0, count: 3, on: true, off: false, none: null, empty: [],\n"
    " words: [a, b, c], parts: [{x: 1}, {x: 2, y: z}],\n"
    " inner: {deep: {word: end}}}\n";

static const struct {
    const char *rule;
    enum cni_cel_verdict verdict;
} rules[] = {
    {"true", H},
    {"!true", B},
    {"!!true", H},
    {"self.on && !self.off", H},
    {"self.off || self.on", H},
    {"(self.off || self.on) && self.off", B},
    {"self.name == 'rail0'", H},
    {"self.name != \"rail0\"", B},
    {"self.count >= 3 && self.count <= 3", H},
    {"self.count > 3", B},
    {"self.count < 4", H},
    {"self.name in ['rail1', 'rail0']", H},
    {"self.name in []", B},
    {"'b' in self.words", H},
    {"has(self.name)", H},
    {"has(self.none)", B},
    {"has(self.missing)", B},
    {"has(self.inner.deep.word)", H},
    {"has(self.inner.other.word)", B},
    {"size(self.name) == 5 && self.words.size() == 3 && size(self.inner) == 1", H},
    {"self.name.matches('^[a-z]+[0-9]$')", H},
    {"self.name.matches('^[0-9]')", B},
    {"self.name.startsWith('rail') && self.name.endsWith('0') && self.name.contains('ail')", H},
    {"self.name.endsWith('a longer text than this')", B},
    {"self.words.all(w, size(w) == 1)", H},
    {"self.words.all(w, w != 'b')", B},
    {"self.empty.all(w, w == 'no')", H},
    {"self.words.exists(w, w == 'c')", H},
    {"self.empty.exists(w, w == 'c')", B},
    {"self.parts.exists(p, has(p.y))", H},
    {"self.parts.all(p, has(p.y))", B},
    {"self.parts.all(p, self.words.exists(w, w == 'a'))", H},
    {"[has(self.name), has(self.missing), has(self.count)].filter(x, x).size() <= 1", B},
    {"[has(self.name), has(self.missing)].filter(x, x).size() <= 1", H},
    /* Errors spread, but for what decides alone. */
    {"self.missing == 'a'", U},
    {"self.missing == 'a' || true", H},
    {"true || self.missing", H},
    {"self.missing && false", B},
    {"self.missing && true", U},
    {"self.name == 3", U},
    {"self.words > 3", U},
    {"self.parts.all(p, p.y == 'z')", U},
    {"self.parts.exists(p, p.y == 'z')", H},
    {"self.name", U},
    {"!self.name", U},
    {"self.name.all(x, true)", U},
    /* Beyond. */
    {"", U},
    {"self.count + 1 == 4", U},
    {"self.on ? true : false", U},
    {"self.words[0] == 'a'", U},
    {"self.words.map(w, w)", U},
    {"unknown == 1", U},
    {"self == oldSelf", U},
    {"self.name == 'rail", U},
    {"self.name.matches('[')", U},
    {"(true", U},
    {"true)", U},
    {"self.", U},
    {"self.words.all(1, true)", U},
    {"[true", U},
    {"true &&", U},
};

static void verdicts(void **state)
{
    (void)state;
    struct cni_arena *arena = cni_arena_create();
    struct cni_document *documents;
    struct cni_problem problem;
    assert_true(
        cni_yaml_read(arena, "self.yaml", document, sizeof(document) - 1, &documents, &problem));
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (cni_cel_check(arena, rules[i].rule, documents->root) != rules[i].verdict)
            fail_msg("%s is not %d", rules[i].rule, (int)rules[i].verdict);
    cni_arena_destroy(arena);
}

/* Nesting without end is not followed. */
static void deep(void **state)
{
    (void)state;
    static char rule[20001];
    struct cni_arena *arena = cni_arena_create();
    const struct cni_node self = {.kind = CNI_TEXT, .text = "x"};
    memset(rule, '(', sizeof(rule) - 1);
    assert_int_equal(cni_cel_check(arena, rule, &self), CNI_CEL_UNKNOWN);
    memset(rule, '!', sizeof(rule) - 1);
    assert_int_equal(cni_cel_check(arena, rule, &self), CNI_CEL_UNKNOWN);
    cni_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
