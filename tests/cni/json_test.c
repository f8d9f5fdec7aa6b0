/*
 * The JSON reader: all of the grammar, and nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "read.h"

#include <stdlib.h>

static const struct cni_document document = {.file = "test.json"};

static struct cni_node *parse(struct cni_arena *arena, const char *text)
{
    struct cni_node *root;
    struct cni_problem problem;
    if (!cni_json_read(arena, &document, text, strlen(text), &root, &problem))
        fail_msg("%s: line %u: %s", text, problem.line, problem.text);
    return root;
}

static void values(void **state)
{
    (void)state;
    struct cni_arena *arena = cni_arena_create();
    const struct cni_node *root =
        parse(arena, " {\"a\": [1, -2, 0.5, 1e3],\n \"b\": true,"
                     "\"c\": false, \"d\": null, \"e\": {}, \"f\": []}\n");
    const struct cni_node *a = cni_get(root, "a");
    assert_int_equal(a->count, 4);
    assert_int_equal(a->first->next->integer, -2);
    assert_int_equal(a->last->kind, CNI_REAL);
    assert_int_equal(cni_get(root, "b")->integer, 1);
    assert_int_equal(cni_get(root, "b")->line, 2);
    assert_int_equal(cni_get(root, "d")->kind, CNI_NULL);
    assert_int_equal(cni_get(root, "f")->kind, CNI_LIST);
    assert_non_null(cni_get_nocase(root, "A"));
    assert_null(cni_get(root, "A"));
    cni_arena_destroy(arena);
}

static void strings(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"\"", ""},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\b\f\n\r\t"},
        {"\"\\u00e9\\u20ac\"", "\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\ud83dx\"", "\xef\xbf\xbdx"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cni_arena *arena = cni_arena_create();
        assert_string_equal(parse(arena, cases[i][0])->text, cases[i][1]);
        cni_arena_destroy(arena);
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
        uint32_t line;
    } cases[] = {
        {"", "ends where a value", 1},
        {"{\"a\": 1,\n}", "'}' where a key", 2},
        {"[1,]", "']' where a value", 1},
        {"{a: 1}", "'a' where a key", 1},
        {"{'a': 1}", "''' where a key", 1},
        {"{\"a\" 1}", "where ':'", 1},
        {"{\"a\": 1 \"b\": 2}", "where ',' or '}'", 1},
        {"{\"a\": 1}\n\nx", "'x' where the end", 3},
        {"// no\n{}", "'/' where a value", 1},
        {"[01]", "where a value", 1},
        {"[+1]", "where a value", 1},
        {"[.5]", "where a value", 1},
        {"[1.]", "where a value", 1},
        {"[True]", "where a value", 1},
        {"[NaN]", "where a value", 1},
        {"\"a", "ends where the end of a text", 1},
        {"\"a\nb\"", "byte 0x0a", 1},
        {"\"\\x\"", "an escape", 1},
        {"\"\\u12g4\"", "hexadecimal", 1},
        {"\"\\u0000\"", "zero character", 1},
        {"{\"a\": 1,\n\"a\": 2}", "given twice", 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cni_arena *arena = cni_arena_create();
        struct cni_node *root;
        struct cni_problem problem;
        if (cni_json_read(arena, &document, cases[i].text, strlen(cases[i].text), &root, &problem))
            fail_msg("%s was read", cases[i].text);
        if (!strstr(problem.text, cases[i].part) || problem.line != cases[i].line)
            fail_msg("%s: line %u: %s", cases[i].text, problem.line, problem.text);
        cni_arena_destroy(arena);
    }
}

static void hostile_depth(void **state)
{
    (void)state;
    struct cni_arena *arena = cni_arena_create();
    struct cni_node *root;
    struct cni_problem problem;
    size_t depth = 1000000;
    char *text = malloc(depth + 1);
    assert_non_null(text);
    memset(text, '[', depth);
    text[depth] = 0;
    assert_false(cni_json_read(arena, &document, text, depth, &root, &problem));
    assert_non_null(strstr(problem.text, "deeper"));
    assert_false(cni_json_read(arena, &document, "[1\0]", 4, &root, &problem));
    assert_non_null(strstr(problem.text, "zero byte"));
    free(text);
    cni_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(strings),
        cmocka_unit_test(refused),
        cmocka_unit_test(hostile_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
