/* A temporary folder. */
#ifndef FOLDER_H
#define FOLDER_H

#include <stddef.h>
#include <stdint.h>

enum { FOLDER_PATH = 512 };

typedef struct folder {
    char path[FOLDER_PATH / 2];
} folder;

folder make_folder(void);
/* Removes it and the files in it. */
void free_folder(folder *folder);
/* `path` has room for FOLDER_PATH bytes. */
void folder_path(const folder *folder, const char *name, char *path);
/* The number of files in it. */
int folder_count(const folder *folder);

void write_bytes(const char *path, const void *bytes, size_t size);
/* The whole file, to be freed. */
uint8_t *read_bytes(const char *path, size_t *size);

#endif
