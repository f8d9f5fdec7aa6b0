/*
 * What a user's first program does: print the version of the library it runs with.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/shoal.h>

#include <stdio.h>

int main(void)
{
    if (shoal_version() / 1000000u != SHOAL_VERSION_MAJOR)
        return 1;
    printf("shoal %s\n", shoal_version_string());
    return 0;
}
