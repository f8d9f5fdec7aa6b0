/*
 * Files as documents.
 *
 * Invariant: at most CNI_FILE_BYTES_MAX bytes of a file are read, whatever it claims to be.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_FILES_MAX 10000
#define READ_BYTES 65536
#define INVENTORY "shoal.dev/inventory/v1alpha1"

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* The content with a zero behind it, from malloc; NULL with errno. */
static char *read_all(int fd, size_t *bytes)
{
    size_t capacity = 0;
    char *content = NULL;
    for (*bytes = 0;;) {
        if (capacity - *bytes < READ_BYTES + 1) {
            capacity = capacity * 2 + READ_BYTES + 1;
            char *larger = realloc(content, capacity);
            if (!larger)
                break;
            content = larger;
        }
        ssize_t got = read(fd, content + *bytes, READ_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        *bytes += (size_t)got;
        content[*bytes] = 0;
        if (got == 0)
            return content;
        if (*bytes > CNI_FILE_BYTES_MAX) {
            errno = EFBIG;
            break;
        }
    }
    free(content);
    return NULL;
}

static bool parse(struct cni_findings *findings, const char *name, const char *content,
                  size_t bytes, struct cni_document **documents)
{
    struct cni_problem problem;
    bool json =
        ends_with(name, ".json") || ends_with(name, ".conf") || ends_with(name, ".conflist");
    bool good;
    if (json) {
        struct cni_document *document = cni_arena_alloc(findings->arena, sizeof(*document));
        document->file = name;
        good = cni_json_read(findings->arena, document, content, bytes, &document->root, &problem);
        *documents = good ? document : NULL;
    } else {
        good = cni_yaml_read(findings->arena, name, content, bytes, documents, &problem);
    }
    if (!good)
        cni_find_at(findings,
                    problem.duplicate_key ? CNI_RULE_yaml_duplicate_key : CNI_RULE_yaml_syntax,
                    name, problem.line, problem.text);
    return good;
}

static void append(struct cni_document **documents, struct cni_document *more)
{
    while (*documents)
        documents = &(*documents)->next;
    *documents = more;
}

const char *cni_source_content(struct cni_arena *arena, const char *path, size_t *bytes,
                               const char **error)
{
    bool input = strcmp(path, "-") == 0;
    int fd = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char *content = fd >= 0 ? read_all(fd, bytes) : NULL;
    int problem = errno;
    if (fd >= 0 && !input)
        close(fd);
    if (!content) {
        *error = cni_arena_format(arena, "%s: %s%s", path, strerror(problem),
                                  problem == EFBIG ? "; files may have 16 MiB" : "");
        return NULL;
    }
    const char *kept = cni_arena_copy(arena, content, *bytes);
    free(content);
    return kept;
}

static bool read_file(struct cni_findings *findings, const char *path,
                      struct cni_document **documents, const char **error)
{
    size_t bytes = 0;
    const char *kept = cni_source_content(findings->arena, path, &bytes, error);
    const char *shown = strcmp(path, "-") == 0 ? "(stdin)" : path;
    const char *name = cni_arena_copy(findings->arena, shown, strlen(shown));
    struct cni_document *more = NULL;
    if (!kept)
        return false;
    bool good = parse(findings, name, kept, bytes, &more);
    append(documents, more);
    return good;
}

static int is_manifest(const struct dirent *entry)
{
    static const char *const ends[] = {".yaml", ".yml", ".json", ".conf", ".conflist"};
    for (size_t i = 0; entry->d_name[0] != '.' && i < sizeof(ends) / sizeof(ends[0]); i++)
        if (ends_with(entry->d_name, ends[i]))
            return 1;
    return 0;
}

static bool read_folder(struct cni_findings *findings, const char *path,
                        struct cni_document **documents, const char **error)
{
    struct dirent **entries;
    bool good = true;
    int count = scandir(path, &entries, is_manifest, alphasort);
    if (count < 0) {
        *error = cni_arena_format(findings->arena, "%s: %s", path, strerror(errno));
        return false;
    }
    if (count == 0)
        *error = cni_arena_format(findings->arena, "%s: no manifests in this folder", path);
    if (count > FOLDER_FILES_MAX)
        *error =
            cni_arena_format(findings->arena, "%s: more than %d files", path, FOLDER_FILES_MAX);
    for (int i = 0; i < count; i++) {
        if (count <= FOLDER_FILES_MAX)
            good &= read_file(findings,
                              cni_arena_format(findings->arena, "%s/%s", path, entries[i]->d_name),
                              documents, error);
        free(entries[i]);
    }
    free(entries);
    return good && !*error;
}

bool cni_source_read(struct cni_findings *findings, const char *path,
                     struct cni_document **documents, const char **error)
{
    struct stat status;
    *error = NULL;
    if (strcmp(path, "-") != 0 && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return read_folder(findings, path, documents, error);
    return read_file(findings, path, documents, error);
}

bool cni_source_read_inventory(struct cni_findings *findings, const char *path,
                               struct cni_document **nodes, const char **error)
{
    struct cni_findings syntax = {.arena = findings->arena};
    struct cni_document *document = NULL;
    *error = NULL;
    if (!read_file(&syntax, path, &document, error) && !*error)
        *error = cni_arena_format(findings->arena, "%s:%u: %s", path, syntax.first->line,
                                  syntax.first->message);
    else if (!*error && (!document || !cni_is(cni_get(document->root, "schema"), INVENTORY)))
        *error = cni_arena_format(findings->arena,
                                  "%s: no inventory; make one with "
                                  "`shoal-cni inspect`",
                                  path);
    if (*error)
        return false;
    append(nodes, document);
    return true;
}
