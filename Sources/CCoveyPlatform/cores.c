#define _GNU_SOURCE
#include "CCoveyPlatform.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ---- Control groups: containers, of version 2 or 1 ----------------------------------

// The numbers at the start of a group's file; how many of them were found.
static int read_numbers(const char *folder, const char *name, long long *first, long long *second) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 0;
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  int found = fscanf(file, "%lld %lld", first, second);  // or "max 100000"
  fclose(file);
  return found;
}

// 0: no bound.
static int32_t quota_of(const char *folder) {
  long long quota = 0, period = 0, unused;
  if (read_numbers(folder, "cpu.max", &quota, &period) != 2 &&
      (read_numbers(folder, "cpu.cfs_quota_us", &quota, &unused) < 1 ||
       read_numbers(folder, "cpu.cfs_period_us", &period, &unused) < 1))
    return 0;
  if (quota <= 0 || period <= 0 || quota > LLONG_MAX - period) return 0;
  long long cores = (quota + period - 1) / period;
  return cores < 1 << 16 ? (int32_t)cores : 0;
}

static int32_t smaller(int32_t a, int32_t b) { return a == 0 || (b > 0 && b < a) ? b : a; }

// Of the group at `path` below `root`, and of those above it up to `root` itself, which is
// where a container may find its own.
static int32_t quota_below(const char *root, const char *path) {
  char folder[PATH_MAX];
  const char *slash = *path == '/' ? "" : "/";
  if (snprintf(folder, sizeof folder, "%s%s%s", root, slash, path) >= (int)sizeof folder) return 0;
  int32_t found = 0;
  for (;;) {
    found = smaller(found, quota_of(folder));
    char *last = strrchr(folder, '/');
    if (!last || (size_t)(last - folder) < strlen(root)) return found;
    *last = 0;
  }
}

static bool has_cpu(const char *controllers) {
  for (const char *at = controllers; at; at = strchr(at, ',')) {
    at += *at == ',';
    if (strncmp(at, "cpu", 3) == 0 && (at[3] == 0 || at[3] == ',')) return true;
  }
  return false;
}

int32_t cv_core_quota(const char *groups, const char *root) {
  FILE *file = fopen(groups, "re");
  if (!file) return 0;
  int32_t found = 0;
  char line[PATH_MAX], folder[PATH_MAX];
  // NUMBER:CONTROLLERS:PATH; of version 2 without controllers.
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path) continue;
    *controllers++ = *path++ = 0;
    if (*controllers && !has_cpu(controllers)) continue;
    found = smaller(found, quota_below(root, path));
    if (!*controllers) continue;
    // Where version 1 is mounted, by its controllers or one of them.
    const char *const names[] = {controllers, "cpu"};
    for (int i = 0; i < 2; i++)
      if (snprintf(folder, sizeof folder, "%s/%s", root, names[i]) < (int)sizeof folder)
        found = smaller(found, quota_below(folder, path));
  }
  fclose(file);
  return found;
}

int32_t cv_core_count(void) {
  int32_t count = 0;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    count = CPU_COUNT(&set);
  } else {
    count = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
  }
  int32_t quota = cv_core_quota("/proc/self/cgroup", "/sys/fs/cgroup");
  if (quota > 0 && quota < count) count = quota;
  return count > 0 ? count : 1;
}
