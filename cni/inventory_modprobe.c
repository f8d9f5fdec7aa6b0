/*
 * The mode of RDMA namespaces that the next start of a node brings: what modprobe.d and the
 * kernel's command line set for ib_core.
 *
 * Invariant: files are read in the order of modprobe, by name whatever their folder, and one in an
 * earlier folder hides those of its name in later ones.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include <stdlib.h>
#include <string.h>

#define FILES_MAX 256
#define KERNEL_DEFAULT "shared" /* where nobody chose */
#define BLANKS " \t\r\n"

struct file {
    const char *folder, *name;
};

struct choice {
    const char *mode;          /* NULL: nothing was said */
    const struct file *source; /* NULL: the command line */
    bool looked;               /* something could be read */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static bool is_hidden(const struct file *files, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i].name, name) == 0)
            return true;
    return false;
}

static size_t find_files(struct cni_sysfs *sysfs, struct file *files)
{
    static const char *const folders[] = {"/etc/modprobe.d", "/run/modprobe.d",
                                          "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d",
                                          "/lib/modprobe.d"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        const char *const *names = cni_sysfs_list(sysfs, "%s", folders[i]);
        for (; *names && count < FILES_MAX; names++) {
            size_t length = strlen(*names);
            if (length > 5 && strcmp(*names + length - 5, ".conf") == 0 &&
                !is_hidden(files, count, *names))
                files[count++] = (struct file){.folder = folders[i], .name = *names};
        }
    }
    qsort(files, count, sizeof(files[0]), by_name);
    return count;
}

/* As the kernel reads a truth value; NULL for what it refuses. */
static const char *mode_of(const char *value)
{
    char first = *value;
    if (first == 'o' || first == 'O')
        first = (char)(value[1] == 'n' || value[1] == 'N'   ? '1'
                       : value[1] == 'f' || value[1] == 'F' ? '0'
                                                            : 'o');
    if (first && strchr("1yYtT", first))
        return "shared";
    return first && strchr("0nNfF", first) ? "exclusive" : NULL;
}

static void take_word(struct choice *choice, const char *word, const char *prefix,
                      const struct file *source)
{
    size_t length = strlen(prefix);
    const char *mode = strncmp(word, prefix, length) == 0 ? mode_of(word + length) : NULL;
    if (!mode)
        return;
    choice->mode = mode;
    choice->source = source;
}

/* One line of a file, cut up. */
static void take_line(struct choice *choice, char *line, const struct file *source)
{
    char *rest = NULL, *word = strtok_r(line, BLANKS, &rest);
    if (!word || strcmp(word, "options") != 0)
        return;
    word = strtok_r(NULL, BLANKS, &rest);
    if (!word || (strcmp(word, "ib_core") != 0 && strcmp(word, "ib-core") != 0))
        return;
    while ((word = strtok_r(NULL, BLANKS, &rest)))
        take_word(choice, word, "netns_mode=", source);
}

static void take_file(struct choice *choice, char *text, const struct file *source)
{
    char *rest = NULL;
    for (char *at = text; (at = strstr(at, "\\\n"));) /* the line goes on */
        at[0] = at[1] = ' ';
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        take_line(choice, line, source);
}

/* A copy is cut up, as what was read stays with its tree. */
static void take_text(struct choice *choice, const char *text, const struct file *file)
{
    char *copy = text ? strdup(text) : NULL, *rest = NULL;
    choice->looked |= text != NULL;
    if (copy && file)
        take_file(choice, copy, file);
    else if (copy)
        for (char *word = strtok_r(copy, BLANKS, &rest); word; word = strtok_r(NULL, BLANKS, &rest))
            take_word(choice, word, "ib_core.netns_mode=", NULL);
    free(copy);
}

/* modprobe puts the command line first and files after it, and the last word counts. */
json_t *cni_inventory_boot_mode(struct cni_sysfs *sysfs)
{
    struct file files[FILES_MAX];
    struct choice choice = {0};
    json_t *object = json_object();
    char source[512] = "/proc/cmdline";
    take_text(&choice, cni_sysfs_text(sysfs, "/proc/cmdline"), NULL);
    size_t count = find_files(sysfs, files);
    for (size_t i = 0; i < count; i++)
        take_text(&choice, cni_sysfs_text(sysfs, "%s/%s", files[i].folder, files[i].name),
                  &files[i]);
    if (choice.source)
        snprintf(source, sizeof(source), "%s/%s", choice.source->folder, choice.source->name);
    cni_put_text(object, "mode", choice.mode ? choice.mode : choice.looked ? KERNEL_DEFAULT : NULL);
    cni_put_text(object, "source", choice.mode ? source : NULL);
    return object;
}
