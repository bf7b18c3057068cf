// kernels - GOP/s of the matrix products of a ViT-S/8, on one thread, and their
// share of the measured peak.
//
//     kernels [--json FILE] [--isa avx2]
//
// A multiplication and an addition are two operations.  Peak: the fastest
// register-only loop for the number type (peaks.c), measured before and after
// each product, so that a clock that moves does not count for or against it.
#define _POSIX_C_SOURCE 200809L
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATCH = 8, CHANNELS = 384, HEADS = 6, WIDTH = CHANNELS / HEADS, REPETITIONS = 9,
       MAX_PEAKS = 8 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Operations per second, in thousand millions: the best of a few short runs.
static double measure_peak(const peak *p) {
  size_t rounds = 1 << 12;
  double best = 0, seconds;
  do {
    rounds *= 2;
    double start = now();
    p->run(rounds);
    seconds = now() - start;
  } while (seconds < 2e-3);
  for (int i = 0; i < 5; i++) {
    double start = now();
    p->run(rounds);
    double rate = p->operations * (double)rounds / (now() - start) / 1e9;
    if (rate > best) best = rate;
  }
  return best;
}

static const peak *fastest(const peak **peaks, size_t count, number_type type, int avx2) {
  const peak *best = NULL;
  double rate = 0;
  for (size_t i = 0; i < count; i++) {
    if (peaks[i]->type != type || (avx2 && !peaks[i]->at_avx2)) continue;
    double own = measure_peak(peaks[i]);
    if (own > rate) { rate = own; best = peaks[i]; }
  }
  return best;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Median seconds of one product.
static double measure_product(const product *p, void *workspace) {
  double seconds[REPETITIONS];
  p->run(workspace);
  for (int i = 0; i < REPETITIONS; i++) {
    double start = now();
    p->run(workspace);
    seconds[i] = now() - start;
  }
  qsort(seconds, REPETITIONS, sizeof seconds[0], ascending);
  return seconds[REPETITIONS / 2];
}

static const char *type_name(number_type type) { return type == NUMBER_INT8 ? "int8" : "fp32"; }

static void row(FILE *json, int *rows, const product *p, const peak *top, const shape *s,
                const char *size) {
  void *workspace = p->make(s);
  double before = measure_peak(top);
  double seconds = measure_product(p, workspace);
  double after = measure_peak(top);
  p->free(workspace);
  double operations = 2.0 * (double)s->m * (double)s->n * (double)s->k * (double)s->count;
  if (s->kind == SHAPE_ATTENTION) operations *= 2;  // softmax is not counted
  double rate = operations / seconds / 1e9, limit = (before + after) / 2;
  printf("  %-16s %-9s %5zu %5zu %5zu %3zu %9.1f %6.0f %%\n", p->name, s->name, s->m, s->n,
         s->k, s->count, rate, 100 * rate / limit);
  if (!json) return;
  fprintf(json, "%s\n {\"name\": \"%s, %s, %s\", \"kernel\": \"%s\", \"type\": \"%s\", "
          "\"size\": \"%s\", \"shape\": \"%s\", \"m\": %zu, \"n\": %zu, \"k\": %zu, "
          "\"count\": %zu, \"median_s\": %.9f, \"gops\": %.3f, \"peak\": \"%s\", "
          "\"peak_gops\": %.3f}", (*rows)++ ? "," : "", p->name, s->name, size, p->name,
          type_name(p->type), size, s->name, s->m, s->n, s->k, s->count, seconds, rate,
          top->name, limit);
}

int main(int count, char **arguments) {
  FILE *json = NULL;
  int avx2 = 0, rows = 0;
  for (int i = 1; i + 1 < count; i += 2) {
    if (strcmp(arguments[i], "--json") == 0) json = fopen(arguments[i + 1], "w");
    else if (strcmp(arguments[i], "--isa") == 0) avx2 = strcmp(arguments[i + 1], "avx2") == 0;
  }
  // covey chooses its kernels by this, OpenBLAS by that.
  if (avx2) {
    setenv("COVEY_ISA", "avx2", 1);
    if (!getenv("OPENBLAS_CORETYPE")) {
      // Read when OpenBLAS is loaded: once more, from the start.
      setenv("OPENBLAS_CORETYPE", "Haswell", 1);
      execv("/proc/self/exe", arguments);
    }
  }

  const peak *peaks[MAX_PEAKS];
  size_t peak_count = peaks_of_this_cpu(peaks, MAX_PEAKS);
  printf("peaks of one thread, registers only\n");
  for (size_t i = 0; i < peak_count; i++) {
    printf("  %-16s %s %9.1f GOP/s\n", peaks[i]->name, type_name(peaks[i]->type),
           measure_peak(peaks[i]));
  }
  static const struct { const char *name; size_t height, width; } sizes[] = {
    {"192x384", 192, 384}, {"320x480", 320, 480}};
  if (json) fputc('[', json);
  for (size_t i = 0; i < 2; i++) {
    // Tokens: the patches and CLS.
    size_t n = 1 + sizes[i].height / PATCH * (sizes[i].width / PATCH);
    const shape shapes[] = {
      {"qkv", n, 3 * CHANNELS, CHANNELS, 1, SHAPE_PRODUCT},
      {"proj", n, CHANNELS, CHANNELS, 1, SHAPE_PRODUCT},
      {"fc1", n, 4 * CHANNELS, CHANNELS, 1, SHAPE_PRODUCT},
      {"fc2", n, CHANNELS, 4 * CHANNELS, 1, SHAPE_PRODUCT},
      {"attention", n, n, WIDTH, HEADS, SHAPE_ATTENTION},
    };
    printf("%-29s     M     N     K  of     GOP/s  of peak\n", sizes[i].name);
    for (size_t j = 0; j < product_count; j++) {
      const peak *top = fastest(peaks, peak_count, products[j].type, avx2);
      if (!top) continue;
      for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        if (shapes[k].kind == products[j].kind) {
          row(json, &rows, &products[j], top, &shapes[k], sizes[i].name);
        }
      }
    }
  }
  if (json) {
    fputs("\n]\n", json);
    if (fclose(json)) return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
