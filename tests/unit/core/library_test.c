/*
 * Libraries that are loaded when they are needed: found, missing, and too old.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/library.h"

#include "support/test.h"

#include <dlfcn.h>

#define HERE "libc.so.6" /* of every process */

static size_t (*length)(const char *text);
static int (*other)(void);

static void functions_are_found(void **state)
{
    const struct shl_symbol symbols[] = {{"strlen", &length}};
    void *library = NULL;
    (void)state;
    length = NULL;
    ASSERT_OK(shl_library_load(HERE, "libc6", symbols, 1, &library));
    assert_int_equal(length("four"), 4);
    assert_non_null(dlsym(library, "abort"));
    ASSERT_OK(shl_library_load(HERE, "libc6", symbols, 1, NULL));
}

static void a_missing_library_is_named_with_its_package(void **state)
{
    void *library = &length;
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED,
                  shl_library_load("libno-such-thing.so.1", "no-such-package", NULL, 0, &library));
    ASSERT_DETAIL("libno-such-thing.so.1 cannot be loaded");
    ASSERT_DETAIL("apt-get install no-such-package");
    assert_ptr_equal(library, &length);
}

static void a_missing_function_is_named(void **state)
{
    const struct shl_symbol symbols[] = {{"strlen", &length}, {"no_such_function", &other}};
    void *library = &length;
    (void)state;
    other = NULL;
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_library_load(HERE, "libc6", symbols, 2, &library));
    ASSERT_DETAIL("libc.so.6 has no no_such_function");
    assert_null(other);
    assert_ptr_equal(library, &length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_found),
        cmocka_unit_test(a_missing_library_is_named_with_its_package),
        cmocka_unit_test(a_missing_function_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
