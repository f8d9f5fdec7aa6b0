/*
 * Shared libraries that are loaded when they are first needed, so that a job without them runs
 * where they are not installed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_LIBRARY_H
#define SHL_CORE_LIBRARY_H

#include "core/status.h"

#include <stddef.h>

/* A function, and where its address goes. */
struct shl_symbol {
    const char *name;
    void *slot; /* a pointer to a function; must not be NULL */
};

/*
 * shl_library_load - load a library for the rest of the process's life, and find functions in it.
 *
 * name     "libcurl.so.4"
 * package  Debian's, for the remedy
 * library  receives what dlsym takes, for functions that may be missing; NULL: not wanted
 * Errors   SHOAL_ERR_UNSUPPORTED: it is not installed, or so old that it lacks a function
 * Threads  any
 */
enum shoal_status shl_library_load(const char *name, const char *package,
                                   const struct shl_symbol *symbols, size_t count, void **library);

#endif
