/*
 * Reading and recording.
 *
 * Invariant: a path is resolved first, and opened only when it stayed below the root.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sysfs_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (256u << 10)
#define NAMES_MAX 4096

struct cni_sysfs *cni_sysfs_open(struct cni_arena *arena, const char *root, bool record)
{
    char real[PATH_MAX];
    struct stat status;
    if (!realpath(root, real))
        return NULL;
    if (stat(real, &status) != 0 || !S_ISDIR(status.st_mode)) {
        errno = ENOTDIR;
        return NULL;
    }
    struct cni_sysfs *sysfs = cni_arena_alloc(arena, sizeof(*sysfs));
    *sysfs = (struct cni_sysfs){
        .arena = arena,
        .root = cni_arena_copy(arena, real, strcmp(real, "/") == 0 ? 0 : strlen(real)),
        .record = record};
    return sysfs;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* The part of a real path below the root; NULL for one that is elsewhere. */
static const char *below(const struct cni_sysfs *sysfs, const char *real)
{
    size_t length = strlen(sysfs->root);
    if (strncmp(real, sysfs->root, length) != 0 || real[length] != '/')
        return NULL;
    return real + length;
}

static bool resolve(const struct cni_sysfs *sysfs, const char *path, char real[PATH_MAX])
{
    char full[PATH_MAX];
    int length = snprintf(full, sizeof(full), "%s%s", sysfs->root, path);
    return length > 0 && length < PATH_MAX && realpath(full, real) && below(sysfs, real);
}

static void keep(struct cni_sysfs *sysfs, const struct cni_sysfs_entry *entry)
{
    for (const struct cni_sysfs_entry *at = sysfs->entries; at; at = at->next)
        if (strcmp(at->path, entry->path) == 0)
            return;
    struct cni_sysfs_entry *kept = cni_arena_alloc(sysfs->arena, sizeof(*kept));
    *kept = *entry;
    kept->next = sysfs->entries;
    sysfs->entries = kept;
}

static void keep_link(struct cni_sysfs *sysfs, const char *folder, const char *name)
{
    char real[PATH_MAX], full[PATH_MAX], target[PATH_MAX];
    if (!sysfs->record || !resolve(sysfs, folder, real) ||
        snprintf(full, sizeof(full), "%s/%s", real, name) >= PATH_MAX)
        return;
    ssize_t length = readlink(full, target, sizeof(target) - 1);
    if (length <= 0)
        return;
    const char *path = below(sysfs, full);
    keep(sysfs,
         &(struct cni_sysfs_entry){.path = cni_arena_copy(sysfs->arena, path, strlen(path)),
                                   .link = cni_arena_copy(sysfs->arena, target, (size_t)length)});
}

/* All links on the way. */
static void keep_links(struct cni_sysfs *sysfs, const char *path)
{
    char folder[PATH_MAX];
    for (const char *name = path; sysfs->record && *name == '/';) {
        size_t length = strcspn(name + 1, "/");
        snprintf(folder, sizeof(folder), "%.*s", (int)(name - path), path);
        const char *one = cni_arena_copy(sysfs->arena, name + 1, length);
        keep_link(sysfs, *folder ? folder : "/", one);
        name += length + 1;
    }
}

static const char *format_path(struct cni_sysfs *sysfs, const char *format, va_list arguments)
{
    char path[PATH_MAX];
    int length = vsnprintf(path, sizeof(path), format, arguments);
    return cni_arena_copy(sysfs->arena, path, length > 0 && length < PATH_MAX ? (size_t)length : 0);
}

/* ---- files ------------------------------------------------------------------------------------
 */

static const char *read_file(struct cni_sysfs *sysfs, const char *real)
{
    size_t bytes = 0;
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char *buffer = fd >= 0 ? malloc(FILE_BYTES_MAX) : NULL;
    ssize_t got = buffer ? 1 : -1;
    while (got > 0 && bytes < FILE_BYTES_MAX) {
        got = read(fd, buffer + bytes, FILE_BYTES_MAX - bytes);
        bytes += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    const char *text = NULL;
    if (got >= 0 && !memchr(buffer, 0, bytes)) {
        while (bytes && isspace((unsigned char)buffer[bytes - 1]))
            bytes--;
        text = cni_arena_copy(sysfs->arena, buffer, bytes);
    }
    free(buffer);
    return text;
}

static const char *text_of(struct cni_sysfs *sysfs, const char *path)
{
    char real[PATH_MAX];
    struct stat status;
    if (!resolve(sysfs, path, real) || stat(real, &status) != 0 || !S_ISREG(status.st_mode))
        return NULL;
    const char *text = read_file(sysfs, real);
    if (text && sysfs->record) {
        bool self = strncmp(path, "/proc/self/", 11) == 0; /* a link to a number that passes */
        const char *at = self ? path : below(sysfs, real);
        if (!self)
            keep_links(sysfs, path);
        keep(sysfs, &(struct cni_sysfs_entry){.path = cni_arena_copy(sysfs->arena, at, strlen(at)),
                                              .content = text,
                                              .bytes = strlen(text)});
    }
    return text;
}

const char *cni_sysfs_text(struct cni_sysfs *sysfs, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(sysfs, format, arguments);
    va_end(arguments);
    return text_of(sysfs, path);
}

int64_t cni_sysfs_integer(struct cni_sysfs *sysfs, const char *format, ...)
{
    va_list arguments;
    char *end;
    va_start(arguments, format);
    const char *path = format_path(sysfs, format, arguments);
    va_end(arguments);
    const char *text = text_of(sysfs, path);
    if (!text || !*text)
        return -1;
    int64_t value = strtoll(text, &end, 0);
    return *end ? -1 : value;
}

bool cni_sysfs_live(const struct cni_sysfs *sysfs)
{
    return !*sysfs->root;
}

const char *cni_sysfs_add(struct cni_sysfs *sysfs, const char *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(sysfs, format, arguments);
    va_end(arguments);
    const char *kept = cni_arena_copy(sysfs->arena, text, strlen(text));
    if (sysfs->record)
        keep(sysfs,
             &(struct cni_sysfs_entry){.path = path, .content = kept, .bytes = strlen(kept)});
    return kept;
}

/* ---- folders ----------------------------------------------------------------------------------
 */

static int compare(const void *a, const void *b)
{
    const char *one = *(const char *const *)a, *two = *(const char *const *)b;
    char *one_end, *two_end;
    long one_number = strtol(one, &one_end, 10), two_number = strtol(two, &two_end, 10);
    if (!*one_end && !*two_end && one_number != two_number)
        return one_number < two_number ? -1 : 1;
    return strcmp(one, two);
}

static size_t list_into(struct cni_sysfs *sysfs, const char *path, const char **names)
{
    char real[PATH_MAX];
    size_t count = 0;
    DIR *folder = resolve(sysfs, path, real) ? opendir(real) : NULL;
    if (!folder)
        return 0;
    keep_links(sysfs, path);
    for (struct dirent *entry; (entry = readdir(folder)) && count < NAMES_MAX;) {
        if (entry->d_name[0] == '.')
            continue;
        names[count++] = cni_arena_copy(sysfs->arena, entry->d_name, strlen(entry->d_name));
        if (entry->d_type == DT_LNK)
            keep_link(sysfs, path, entry->d_name);
    }
    closedir(folder);
    return count;
}

const char *const *cni_sysfs_list(struct cni_sysfs *sysfs, const char *format, ...)
{
    const char *names[NAMES_MAX];
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(sysfs, format, arguments);
    va_end(arguments);
    size_t count = list_into(sysfs, path, names);
    qsort(names, count, sizeof(*names), compare);
    const char **list = cni_arena_alloc(sysfs->arena, (count + 1) * sizeof(*list));
    for (size_t i = 0; i < count; i++)
        list[i] = names[i];
    return list;
}

const char *cni_sysfs_real(struct cni_sysfs *sysfs, const char *format, ...)
{
    char real[PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(sysfs, format, arguments);
    va_end(arguments);
    if (!resolve(sysfs, path, real))
        return NULL;
    const char *at = below(sysfs, real);
    at = cni_arena_copy(sysfs->arena, at, strlen(at));
    keep_links(sysfs, path);
    if (sysfs->record)
        keep(sysfs, &(struct cni_sysfs_entry){.path = at});
    return at;
}
