/*
 * Version of the library, for callers that loaded it at run time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/version.h>

uint32_t shoal_version(void)
{
    return SHOAL_VERSION_MAJOR * 1000000u + SHOAL_VERSION_MINOR * 1000u + SHOAL_VERSION_PATCH;
}

const char *shoal_version_string(void)
{
    return SHOAL_VERSION_STRING;
}
