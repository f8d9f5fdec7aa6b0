/*
 * Loading the job secret.
 *
 * Invariant: *secret is empty or holds a whole, long enough secret; nothing else keeps a copy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/secret.h"

#include "core/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define REMEDY "make one with `head -c 32 /dev/urandom | base64`"

static enum shoal_status check_owner(const char *path)
{
    struct stat info;
    if (stat(path, &info))
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_SECRET_FILE %s: %s", path, strerrordesc_np(errno));
    if (info.st_mode & (S_IRWXO | S_IWGRP))
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_SECRET_FILE %s may be used by other users (mode %04o); run `chmod "
                        "600` on it",
                        path, (unsigned)(info.st_mode & 07777));
    return SHOAL_OK;
}

static enum shoal_status read_secret(const char *path, struct shl_secret *secret)
{
    SHL_TRY(check_owner(path));
    if (shl_file_read(path, secret->data, sizeof(secret->data), &secret->bytes) == SHOAL_OK)
        return SHOAL_OK;
    if (errno == EFBIG)
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_SECRET_FILE %s has more than %d bytes; " REMEDY,
                        path, SHL_SECRET_BYTES_MAX);
    return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_SECRET_FILE %s: %s", path, strerrordesc_np(errno));
}

enum shoal_status shl_secret_load(const struct shl_config *config, struct shl_secret *secret)
{
    const char *path = config->secret_file, *text = config->secret;
    enum shoal_status status = SHOAL_OK;
    memset(secret, 0, sizeof(*secret));
    if (path[0] && text[0])
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_SECRET and SHOAL_SECRET_FILE are both set; unset "
                                          "one");
    if (!path[0] && !text[0])
        return SHOAL_OK;
    if (path[0]) {
        status = read_secret(path, secret);
    } else if (strlen(text) > sizeof(secret->data)) {
        status = shl_fail(SHOAL_ERR_CONFIG, "SHOAL_SECRET has more than %d bytes; " REMEDY,
                          SHL_SECRET_BYTES_MAX);
    } else {
        secret->bytes = strlen(text);
        memcpy(secret->data, text, secret->bytes);
    }
    if (status == SHOAL_OK && secret->bytes && secret->data[secret->bytes - 1] == '\n')
        secret->data[--secret->bytes] = 0;
    if (status == SHOAL_OK && secret->bytes < SHL_SECRET_BYTES_MIN)
        status = shl_fail(SHOAL_ERR_CONFIG, "%s holds %zu bytes, a secret needs %d; " REMEDY,
                          path[0] ? path : "SHOAL_SECRET", secret->bytes, SHL_SECRET_BYTES_MIN);
    if (status < 0)
        shl_secret_wipe(secret);
    return status;
}

void shl_secret_wipe(struct shl_secret *secret)
{
    explicit_bzero(secret, sizeof(*secret));
}
