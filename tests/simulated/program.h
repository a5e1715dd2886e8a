// main() of a program that reads arrays and launches from a file, does the launches, and writes
// the arrays to another: kernels without Python around them, for the sanitizers.
//
// The file is a row of int64: arrays (bytes, then that many bytes, filled up to 8), then launches
// (kernel, blocks, threads, shared, seed, values, then for each value its array or -1, and its
// bytes or the offset). `sanitized.py` writes it.
#pragma once
#include <stdio.h>

#include "launcher.h"

namespace fn_host {

static FILE *given;

static int64_t take() {
  int64_t number = 0;
  if (fread(&number, sizeof number, 1, given) != 1) {
    fprintf(stderr, "the file of launches is cut off\n");
    exit(2);
  }
  return number;
}

// Returns the exit status: 0, or 1 when a launch failed.
static int run_program(const Known *kernels, const char *input, const char *output) {
  given = fopen(input, "rb");
  if (!given) return 2;
  int64_t count = take();
  char **arrays = (char **)malloc(count * sizeof *arrays);
  int64_t *bytes = (int64_t *)malloc(count * sizeof *bytes);
  for (int64_t i = 0; i < count; i++) {
    bytes[i] = take();
    arrays[i] = (char *)malloc(bytes[i]);  // of just this size: its end is watched
    for (int64_t done = 0; done < bytes[i]; done += 8) {
      int64_t eight = take(), rest = bytes[i] - done;
      memcpy(arrays[i] + done, &eight, rest < 8 ? rest : 8);
    }
  }
  for (int64_t launches = take(); launches > 0; launches--) {
    const Known &kernel = kernels[take()];
    unsigned blocks = (unsigned)take(), threads = (unsigned)take();
    size_t shared = (size_t)take();
    unsigned seed = (unsigned)take();
    int64_t values = take();
    int64_t *arguments = (int64_t *)malloc(values * sizeof *arguments);
    for (int64_t i = 0; i < values; i++) {
      int64_t array = take(), value = take();
      arguments[i] = array < 0 ? value : (int64_t)(uintptr_t)(arrays[array] + value);
    }
    const char *wrong = kernel.launch(blocks, threads, shared, seed, arguments);
    free(arguments);
    if (wrong) {
      fprintf(stderr, "kernel %s: %s\n", kernel.name, wrong);
      return 1;
    }
  }
  fclose(given);
  FILE *file = fopen(output, "wb");
  if (!file) return 2;
  for (int64_t i = 0; i < count; i++) fwrite(arrays[i], 1, bytes[i], file);
  return fclose(file) ? 2 : 0;
}

}  // namespace fn_host
