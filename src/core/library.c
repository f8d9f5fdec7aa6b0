/*
 * Loading shared libraries.
 *
 * Invariant: what was loaded is never unloaded, since some keep threads and handlers of their own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/library.h"

#include <dlfcn.h>
#include <string.h>

enum shoal_status shl_library_load(const char *name, const char *package,
                                   const struct shl_symbol *symbols, size_t count, void **library)
{
    void *opened = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!opened)
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "%s cannot be loaded (%.120s); on Debian: apt-get install %s", name,
                        dlerror(), package);
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(opened, symbols[i].name);
        if (!address)
            return shl_fail(SHOAL_ERR_UNSUPPORTED,
                            "%s has no %s; a newer one is needed, on Debian of the package %s",
                            name, symbols[i].name, package);
        memcpy(symbols[i].slot, &address, sizeof(address));
    }
    if (library)
        *library = opened;
    return SHOAL_OK;
}
