/*
 * The YAML reader: kinds of plain scalars, lines, paths, and what it refuses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "read.h"

#include <stdlib.h>

static void kinds_of_scalars(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum cni_kind kind;
        int64_t integer;
    } cases[] = {
        {"~", CNI_NULL, 0},
        {"", CNI_NULL, 0},
        {"null", CNI_NULL, 0},
        {"on", CNI_BOOL, 1},
        {"Off", CNI_BOOL, 0},
        {"yes", CNI_BOOL, 1},
        {"false", CNI_BOOL, 0},
        {"12", CNI_INT, 12},
        {"-7", CNI_INT, -7},
        {"0x1f", CNI_INT, 31},
        {"010", CNI_INT, 8},
        {"0o17", CNI_INT, 15},
        {"08", CNI_REAL, 0},
        {"1.5", CNI_REAL, 0},
        {"-.5e3", CNI_REAL, 0},
        {"1Gi", CNI_TEXT, 0},
        {"1e", CNI_TEXT, 0},
        {".", CNI_TEXT, 0},
        {"15b3", CNI_TEXT, 0},
        {"\"on\"", CNI_TEXT, 0},
        {"'12'", CNI_TEXT, 0},
        {"0000:03:00.0", CNI_TEXT, 0},
        {"99999999999999999999", CNI_INT, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cni_arena *arena = cni_arena_create();
        char text[64];
        snprintf(text, sizeof(text), "key: %s\n", cases[i].text);
        const struct cni_node *node = cni_get(read_yaml(arena, text)->root, "key");
        assert_non_null(node);
        if (node->kind != cases[i].kind || node->integer != cases[i].integer)
            fail_msg("%s is %s, %lld", cases[i].text, cni_kind_name(node),
                     (long long)node->integer);
        cni_arena_destroy(arena);
    }
}

static void lines_and_paths(void **state)
{
    (void)state;
    struct cni_arena *arena = cni_arena_create();
    const struct cni_document *documents = read_yaml(arena, "# first\n"
                                                            "metadata:\n"
                                                            "  annotations:\n"
                                                            "    example.com/a: b\n"
                                                            "---\n"
                                                            "---\n"
                                                            "list:\n"
                                                            "- one\n"
                                                            "- key:\n"
                                                            "    {deep: 1}\n");
    const struct cni_node *node = cni_at(documents->root, "metadata.annotations")->first;
    assert_int_equal(node->line, 4);
    assert_string_equal(cni_node_path(arena, node), "metadata.annotations['example.com/a']");
    assert_non_null(documents->next);
    assert_null(documents->next->next);
    const struct cni_node *list = cni_get(documents->next->root, "list");
    assert_int_equal(list->count, 2);
    assert_int_equal(list->first->line, 8);
    node = cni_at(list->last, "key.deep");
    assert_int_equal(node->line, 10);
    assert_string_equal(cni_node_path(arena, node), "list[1].key.deep");
    cni_arena_destroy(arena);
}

/* JSON in each style of scalar: findings name the line of the file, after multi-byte text too. */
static void lines_of_json_inside(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a: \xc3\xa9\nconfig: |\n  {\n   \"x\": 1,\n\n   \"y\": 2}\n",
        "a: \xc3\xa9\nconfig: '{\n   \"x\": 1,\n\n   \"it''s\": 0, \"y\": 2}'\n",
        "a: \xc3\xa9\nconfig: >-\n  {\n  \"x\": 1,\n\n  \"y\": 2}\n",
    };
    static const uint32_t lines[] = {6, 5, 6};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct cni_arena *arena = cni_arena_create();
        struct cni_node *root, *config = cni_get(read_yaml(arena, texts[i])->root, "config");
        struct cni_problem problem;
        if (!cni_json_read_text(arena, config, &root, &problem))
            fail_msg("%zu: line %u: %s", i, problem.line, problem.text);
        assert_int_equal(cni_get(root, "y")->line, lines[i]);
        assert_string_equal(cni_node_path(arena, cni_get(root, "y")), "config:y");
        cni_arena_destroy(arena);
    }
}

static void refused(void **state)
{
    (void)state;
    assert_yaml_refused("a: 1\nb: [1, 2\n", 3, "not YAML");
    assert_yaml_refused("a: 1\nb: 2\na: 3\n", 3, "given twice");
    assert_yaml_refused("a: &x 1\nb: *x\n", 2, "alias");
    assert_yaml_refused("a: {b: 1}\nc:\n  <<: {d: 1}\n", 3, "merge key");
    assert_yaml_refused("? [a]\n: b\n", 1, "no text");
    assert_yaml_refused("a: \"x\\0y\"\n", 1, "zero byte");
    assert_yaml_refused("a: \xff\xfe\n", 1, "not YAML");
}

static char *repeat(const char *unit, size_t times, const char *end)
{
    size_t length = strlen(unit);
    char *text = malloc(length * times + strlen(end) + 1);
    assert_non_null(text);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * length, unit, length);
    strcpy(text + length * times, end);
    return text;
}

static void hostile_sizes(void **state)
{
    (void)state;
    char *deep = repeat("[", 100000, "\n");
    assert_yaml_refused(deep, 1, "deeper");
    free(deep);
    char *many = repeat("- 1\n", CNI_NODES_MAX + 1, "");
    assert_yaml_refused(many, CNI_NODES_MAX, "more than");
    free(many);
    char *large = repeat("# comment 89abcdef\n", (CNI_FILE_BYTES_MAX / 19) + 1, "a: 1\n");
    assert_yaml_refused(large, 1, "larger than");
    free(large);
    char *documents = repeat("---\na: 1\n", 10001, "");
    assert_yaml_refused(documents, 20001, "documents");
    free(documents);
}

static void many_keys(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    for (uint32_t i = 0; i <= CNI_KEYS_MAX; i++)
        fprintf(stream, "k%u: 1\n", i);
    fclose(stream);
    assert_yaml_refused(text, CNI_KEYS_MAX + 1, "keys");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_of_scalars),     cmocka_unit_test(lines_and_paths),
        cmocka_unit_test(lines_of_json_inside), cmocka_unit_test(refused),
        cmocka_unit_test(hostile_sizes),        cmocka_unit_test(many_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
