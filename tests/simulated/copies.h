// Copies to shared memory that go on beside their thread: made as late as they may be.
#pragma once
#include "block.h"

namespace fn_host {

enum { MOST_COPIES = 160 };  // of a thread, on their way

struct Copies {
  struct {
    void *to;
    const void *from;
    unsigned bytes;
  } each[MOST_COPIES];
  unsigned count;
};

static Copies copies[MOST_THREADS];

// Before a block begins: an earlier one may have failed.
static inline void forget_copies(unsigned threads) {
  for (unsigned t = 0; t < threads; t++) copies[t].count = 0;
}

static inline void copy_later(void *to, const void *from, unsigned bytes, Place place) {
  const char *at = (const char *)to, *end = at + bytes;
  if ((uintptr_t)to % bytes || (uintptr_t)from % bytes)
    fail_at(place, "a copy is not aligned to its size");
  bool dynamic = at >= shared_memory && end <= shared_memory + shared_size;
  bool fixed = at >= __start_fn_shared && end <= __stop_fn_shared;
  if (!dynamic && !fixed) fail_at(place, "a copy does not go to shared memory");
  Copies &mine = copies[threadIdx.x];
  if (mine.count == MOST_COPIES) fail_at(place, "a thread has too many copies on their way");
  memset(to, 0xff, bytes);  // who reads before it has waited reads NaN
  mine.each[mine.count++] = {to, from, bytes};
}

static inline void make_copies() {
  Copies &mine = copies[threadIdx.x];
  for (unsigned i = 0; i < mine.count; i++)
    memcpy(mine.each[i].to, mine.each[i].from, mine.each[i].bytes);
  mine.count = 0;
}

}  // namespace fn_host

template <int BYTES>
static inline void fn_copy(void *to, const void *from, fn_host::Place place = fn_host::here()) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async has these sizes");
  fn_host::copy_later(to, from, BYTES, place);
}

static inline void fn_wait_for_copies() { fn_host::make_copies(); }
