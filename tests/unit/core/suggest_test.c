/*
 * Nearest names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/suggest.h"

#include "support/random.h"
#include "support/test.h"

static const char *const names[] = {"timeout_ms", "init_timeout_ms", "transport", "run", "ring",
                                    NULL};

static void slips_find_their_name(void **state)
{
    (void)state;
    static const struct {
        const char *word, *name;
    } cases[] = {
        {"timeout_ms", "timeout_ms"},  /* exact */
        {"TIMEOUT_MS", "timeout_ms"},  /* case */
        {"timeot_ms", "timeout_ms"},   /* a letter lost */
        {"timeoutt_ms", "timeout_ms"}, /* one too many */
        {"timeouy_ms", "timeout_ms"},  /* another */
        {"itmeout_ms", "timeout_ms"},  /* two swapped */
        {"timeout", "timeout_ms"},
        {"int_timeout", "init_timeout_ms"},
        {"transprot", "transport"},
        {"rn", "run"},
        {"rnig", "ring"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *found = shl_suggest(cases[i].word, names);
        assert_non_null(found);
        assert_string_equal(found, cases[i].name);
    }
}

static void a_swap_counts_as_one_edit(void **state)
{
    (void)state;
    static const char *const two[] = {"abxx", "ba", NULL};
    assert_string_equal(shl_suggest("ab", two), "ba"); /* one swap, against two letters */
}

static void an_end_left_out_is_no_other_word(void **state)
{
    (void)state;
    static const char *const settings[] = {"SHOAL_JOIN", "SHOAL_CONFIG_FILE", NULL};
    assert_string_equal(shl_suggest("SHOAL_CONFIG", settings), "SHOAL_CONFIG_FILE");
    assert_string_equal(shl_suggest("SHOAL_JION", settings), "SHOAL_JOIN");
}

static void what_is_far_gets_nothing(void **state)
{
    (void)state;
    assert_null(shl_suggest("bandwidth", names));
    assert_null(shl_suggest("", names));
    static const char *const none[] = {NULL};
    assert_null(shl_suggest("run", none));
}

static void the_first_of_equals_wins(void **state)
{
    (void)state;
    static const char *const equals[] = {"rang", "rung", NULL};
    assert_string_equal(shl_suggest("ring", equals), "rang");
}

static void long_words_are_compared_by_their_beginning(void **state)
{
    (void)state;
    char word[5000];
    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = 0;
    assert_null(shl_suggest(word, names));
    char name[200];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    const char *const list[] = {name, NULL};
    assert_ptr_equal(shl_suggest(word, list), name);
}

static void random_words_never_crash(void **state)
{
    (void)state;
    uint64_t seed = shl_test_seed();
    for (int i = 0; i < 3000; i++) {
        char word[100];
        size_t length = shl_test_random(&seed) % sizeof(word);
        for (size_t j = 0; j < length; j++)
            word[j] = (char)(1 + shl_test_random(&seed) % 255);
        word[length ? length - 1 : 0] = 0;
        shl_suggest(word, names);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slips_find_their_name),
        cmocka_unit_test(a_swap_counts_as_one_edit),
        cmocka_unit_test(an_end_left_out_is_no_other_word),
        cmocka_unit_test(what_is_far_gets_nothing),
        cmocka_unit_test(the_first_of_equals_wins),
        cmocka_unit_test(long_words_are_compared_by_their_beginning),
        cmocka_unit_test(random_words_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
