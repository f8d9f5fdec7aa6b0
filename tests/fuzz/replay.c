/*
 * Runs a fuzz target over files and folders of inputs, for compilers without libFuzzer: what a
 * fuzzer once found stays tested everywhere.
 *
 * Usage: replay PATH...
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

#define INPUT_BYTES_MAX (1 << 20)

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    if (file == NULL || data == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(data);
        if (file != NULL)
            fclose(file);
        return -1;
    }
    size_t bytes = fread(data, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    /* A copy of the exact size lets AddressSanitizer see a read past the end. */
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    for (size_t i = 0; exact != NULL && i < bytes; i++)
        exact[i] = data[i];
    free(data);
    if (exact == NULL)
        return -1;
    LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
    return 0;
}

static int replay_folder(const char *path, unsigned *count)
{
    DIR *folder = opendir(path);
    if (folder == NULL) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        return -1;
    }
    int result = 0;
    for (struct dirent *entry; result == 0 && (entry = readdir(folder)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        result = replay_file(name);
        (*count)++;
    }
    closedir(folder);
    return result;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) != 0) {
            fprintf(stderr, "%s: not found\n", argv[i]);
            return 1;
        }
        int result = S_ISDIR(info.st_mode) ? replay_folder(argv[i], &count) : replay_file(argv[i]);
        if (result != 0)
            return 1;
        count += S_ISDIR(info.st_mode) ? 0 : 1;
    }
    printf("%u inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
