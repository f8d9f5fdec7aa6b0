/*
 * A settings file of any content: it is read, or refused with a detail line; nothing is printed,
 * leaked or half done.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"
#include "fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static char *no_environment[] = {NULL};
    char path[64];
    int fd = memfd_create("settings", MFD_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    struct shl_config config;
    struct shl_config_options options = {.file = path, .environment = no_environment};
    shl_error_set("");
    enum shoal_status status = shl_config_load(&options, &config);
    if (status == SHOAL_OK) {
        FUZZ_REQUIRE(config.dead_after_ms >= 50 && config.port <= 65535);
        FUZZ_REQUIRE(config.rendezvous != NULL && config.job != NULL);
        shl_config_free(&config);
    } else {
        FUZZ_REQUIRE(status == SHOAL_ERR_CONFIG);
        FUZZ_REQUIRE(shl_error_text()[0] != 0 && strchr(shl_error_text(), '\n') == NULL);
    }
    close(fd);
    return 0;
}
