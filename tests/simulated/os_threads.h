// A block's threads as threads of the operating system, for ThreadSanitizer.
//
// Waiting is done out of the sanitizer's sight, and then it is told just the order that CUDA
// promises: of a barrier's threads what was before it comes before what is after it; of a shuffle,
// a vote or a matrix product nothing. So a missing `__syncwarp` shows, too.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "block.h"

extern "C" void __tsan_acquire(void *);
extern "C" void __tsan_release(void *);

namespace fn_host {

typedef void (*Body)(const void *arguments);

enum { PATIENCE = 60 };  // seconds

static int released[MOST_THREADS];
static Body body;
static const void *body_arguments;
static uint32_t random_state;

static inline uint32_t below(uint32_t limit) {
  random_state = random_state * 1664525u + 1013904223u;
  return (uint32_t)((uint64_t)random_state * limit >> 32);
}

[[noreturn]] static void fail(const char *message) {
  fprintf(stderr, "%s\n", message);
  _exit(1);
}

FN_UNSEEN static void release(unsigned thread) {
  __atomic_store_n(&released[thread], 1, __ATOMIC_RELEASE);
}

FN_UNSEEN static void pause(unsigned thread) {
  time_t start = time(nullptr);
  for (unsigned turn = 1; !__atomic_load_n(&released[thread], __ATOMIC_ACQUIRE); turn++) {
    sched_yield();
    if (turn % 1024 == 0 && time(nullptr) - start > PATIENCE) {
      char message[600];
      describe_waiting(message, sizeof message);
      fail(message);
    }
  }
  __atomic_store_n(&released[thread], 0, __ATOMIC_RELAXED);
}

// The order of barriers, for the sanitizer. Two addresses in turn: a thread that is at the next
// barrier already must not seem to be before one that has just left this one.
static char block_order[2], warp_order[MOST_WARPS][3];
static thread_local unsigned block_turn, warp_turn;

static inline void sync_block(Place place) {
  char *order = &block_order[block_turn++ % 2];
  __tsan_release(order);
  meet_block(place);
  __tsan_acquire(order);
}

static inline void sync_warp(unsigned mask, Place place) {
  bool whole = mask == 0xffffffffu;
  char *order = &warp_order[threadIdx.x / LANES][whole ? warp_turn++ % 2 : 2];
  __tsan_release(order);
  barrier(nothing, mask, place);
  __tsan_acquire(order);
}

static void *thread_main(void *number) {
  threadIdx.x = (unsigned)(uintptr_t)number;
  body(body_arguments);
  leave();
  return nullptr;
}

static const char *run_block(unsigned threads) {
  static pthread_t running[MOST_THREADS];
  static unsigned order[MOST_THREADS];
  open_block(threads);
  for (unsigned t = 0; t < threads; t++) order[t] = t;
  for (unsigned t = threads - 1; t > 0; t--) {
    unsigned other = below(t + 1), kept = order[t];
    order[t] = order[other];
    order[other] = kept;
  }
  for (unsigned t = 0; t < threads; t++)
    if (pthread_create(&running[t], nullptr, thread_main, (void *)(uintptr_t)order[t]))
      fail("no more threads can be started");
  for (unsigned t = 0; t < threads; t++) pthread_join(running[t], nullptr);
  return nullptr;
}

}  // namespace fn_host
