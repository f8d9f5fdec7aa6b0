/*
 * What was recorded as a POSIX tar archive. Owners and times are zero, so that equal machines give
 * equal archives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sysfs_internal.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 512

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], time[12], sum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header of tar is one block");

/* Long names are split at a slash into prefix and name. */
static bool set_name(struct header *header, const char *path)
{
    size_t length = strlen(path), cut = 0;
    if (length > sizeof(header->name)) {
        cut = length - sizeof(header->name) - 1;
        while (cut < length && path[cut] != '/')
            cut++;
        if (cut > sizeof(header->prefix) || cut == length)
            return false;
        memcpy(header->prefix, path, cut++);
    }
    memcpy(header->name, path + cut, length - cut);
    return true;
}

static void set_sum(struct header *header)
{
    unsigned int sum = 0;
    memset(header->sum, ' ', sizeof(header->sum));
    for (size_t i = 0; i < BLOCK; i++)
        sum += ((const unsigned char *)header)[i];
    snprintf(header->sum, sizeof(header->sum), "%06o", sum);
}

/* Names that tar cannot hold are left out: they are longer than any of sysfs. */
static void write_entry(const struct cni_sysfs_entry *entry, FILE *out)
{
    static const char zeros[BLOCK];
    bool file = entry->content != NULL;
    struct header header = {.type = entry->link ? '2' : file ? '0' : '5', .magic = "ustar"};
    size_t link_bytes = entry->link ? strlen(entry->link) : 0;
    if (!set_name(&header, entry->path + 1) || link_bytes > sizeof(header.link))
        return;
    memcpy(header.version, "00", sizeof(header.version));
    if (entry->link)
        memcpy(header.link, entry->link, link_bytes);
    snprintf(header.mode, sizeof(header.mode), "%07o", file ? 0644u : 0755u);
    snprintf(header.uid, sizeof(header.uid), "%07o", 0u);
    snprintf(header.gid, sizeof(header.gid), "%07o", 0u);
    snprintf(header.size, sizeof(header.size), "%011zo", entry->bytes);
    snprintf(header.time, sizeof(header.time), "%011o", 0u);
    set_sum(&header);
    fwrite(&header, BLOCK, 1, out);
    fwrite(entry->bytes ? entry->content : "", 1, entry->bytes, out);
    fwrite(zeros, 1, (BLOCK - entry->bytes % BLOCK) % BLOCK, out);
}

static int compare(const void *a, const void *b)
{
    const struct cni_sysfs_entry *one = *(struct cni_sysfs_entry *const *)a;
    const struct cni_sysfs_entry *two = *(struct cni_sysfs_entry *const *)b;
    return strcmp(one->path, two->path);
}

bool cni_sysfs_capture(const struct cni_sysfs *sysfs, FILE *out)
{
    static const char zeros[2 * BLOCK];
    size_t count = 0, next = 0;
    for (const struct cni_sysfs_entry *at = sysfs->entries; at; at = at->next)
        count++;
    const struct cni_sysfs_entry **sorted =
        cni_arena_alloc(sysfs->arena, (count + 1) * sizeof(*sorted));
    for (const struct cni_sysfs_entry *at = sysfs->entries; at; at = at->next)
        sorted[next++] = at;
    qsort(sorted, count, sizeof(*sorted), compare);
    for (size_t i = 0; i < count; i++)
        write_entry(sorted[i], out);
    fwrite(zeros, 1, sizeof(zeros), out);
    return fflush(out) == 0 && !ferror(out);
}
