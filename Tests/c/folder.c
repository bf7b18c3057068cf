#include "folder.h"

#include "check.h"
#include "video.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

folder make_folder(void)
{
    folder made;
    const char *parent = getenv("TMPDIR");
    int length = snprintf(made.path, sizeof made.path, "%s/covey-test-XXXXXX",
                          parent && *parent ? parent : P_tmpdir);
    if (length < 0 || (size_t)length >= sizeof made.path || !mkdtemp(made.path))
        check_abort("no temporary folder");
    return made;
}

void folder_path(const folder *folder, const char *name, char *path)
{
    snprintf(path, FOLDER_PATH, "%s/%s", folder->path, name);
}

static int each_file(const folder *folder, void (*act)(const char *path))
{
    DIR *directory = opendir(folder->path);
    struct dirent *entry;
    int count = 0;
    if (!directory) check_abort("the temporary folder cannot be read");
    while ((entry = readdir(directory))) {
        char path[2 * FOLDER_PATH];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder->path, entry->d_name);
        if (act) act(path);
        count++;
    }
    closedir(directory);
    return count;
}

static void remove_file(const char *path) { remove(path); }

void free_folder(folder *folder)
{
    each_file(folder, remove_file);
    rmdir(folder->path);
}

int folder_count(const folder *folder) { return each_file(folder, NULL); }

void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        check_abort("a file of the test cannot be written");
}

uint8_t *read_bytes(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) check_abort("a file of the test cannot be read");
    long end = ftell(file);
    if (end < 0) check_abort("a file of the test cannot be read");
    rewind(file);
    uint8_t *bytes = take((size_t)end);
    if (fread(bytes, 1, (size_t)end, file) != (size_t)end)
        check_abort("a file of the test cannot be read");
    fclose(file);
    *size = (size_t)end;
    return bytes;
}
