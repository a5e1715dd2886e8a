// A block at work: its warps, their meetings, its barrier.
//
// A warp's lanes meet for a shuffle, a vote, a matrix product or a barrier. Each hands in words;
// the last to come does the operation for all of them, and lets them go with their results. How a
// thread waits is told by fibres.h or os_threads.h.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef FN_HOST_THREADS
#include <sched.h>
// Not seen by ThreadSanitizer: a meeting gives memory no order, and must not seem to.
#define FN_UNSEEN __attribute__((no_sanitize("thread"), noinline))
#define FN_PER_THREAD thread_local
#else
#define FN_UNSEEN
#define FN_PER_THREAD
#endif

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
};

static FN_PER_THREAD uint3 threadIdx = {0, 0, 0};
static uint3 blockIdx = {0, 0, 0};
static dim3 blockDim = {1, 1, 1}, gridDim = {1, 1, 1};

namespace fn_host {

enum { LANES = 32, MOST_WARPS = 32, MOST_THREADS = LANES * MOST_WARPS };

// A place in the source, for comparisons and messages.
struct Place {
  const char *file;
  int line;
};

// As a default argument: the place of the call.
static inline Place here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
  return {file, line};
}

struct Warp;

// Done once for all `lanes`, a bit each, when they have met.
typedef void (*Operation)(Warp &warp, unsigned lanes);

struct Lane {
  uint32_t in[10];   // what it hands in
  uint32_t out[4];   // what it gets
  unsigned source;   // of a shuffle: the lane it wants to hear
  unsigned mask;     // the lanes it waits for
  Operation operation;
  Place place;
};

// One after the other, where there are several OS threads.
class Lock {
 public:
  FN_UNSEEN void take() {
#ifdef FN_HOST_THREADS
    while (__atomic_exchange_n(&taken_, 1, __ATOMIC_ACQUIRE)) sched_yield();
#endif
  }
  FN_UNSEEN void give() {
#ifdef FN_HOST_THREADS
    __atomic_store_n(&taken_, 0, __ATOMIC_RELEASE);
#endif
  }

 private:
  [[maybe_unused]] int taken_ = 0;
};

struct Warp {
  Lane lanes[LANES];
  unsigned waiting;  // lanes that wait, a bit each
  unsigned gone;     // lanes whose thread has ended
  Lock lock;
};

struct Block {
  Warp warps[MOST_WARPS];
  unsigned threads, alive;
  unsigned waiters[MOST_THREADS], waiting;  // at the block's barrier
  Place place;                              // of that barrier
  Lock lock;
};

static Block block;
static char *shared_memory;
static size_t shared_size;
// The section of `__shared__` arrays; the linker knows where it begins and ends.
extern "C" char __start_fn_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_fn_shared[] __attribute__((weak, visibility("hidden")));

// Of the one OS thread or of many: wait for `release`; let a thread go on; give up.
static void pause(unsigned thread);
static void release(unsigned thread);
[[noreturn]] static void fail(const char *message);

static const char *base(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash ? slash + 1 : file;
}

// Give up because of what happens at `place`.
[[noreturn]] static void fail_at(Place place, const char *what) {
  char message[400];
  snprintf(message, sizeof message, "%s:%d: block %u, thread %u: %s", base(place.file),
           place.line, blockIdx.x, threadIdx.x, what);
  fail(message);
}

FN_UNSEEN static void fail_apart(Place here, Place there, const char *what) {
  char message[300];
  snprintf(message, sizeof message, "divergent: %s at %s:%d", what, base(there.file),
           there.line);
  fail_at(here, message);
}

// Start a block's books.
static void open_block(unsigned threads) {
  block.threads = block.alive = threads;
  block.waiting = 0;
  for (unsigned w = 0; w < threads / LANES; w++) block.warps[w].waiting = block.warps[w].gone = 0;
}

// If all lanes of `mask` that are still there wait for one another, do what they wait for and
// let them go, but for `self`, which is not asleep. Returns whether they were.
FN_UNSEEN static bool settle(unsigned number, unsigned mask, unsigned self) {
  Warp &warp = block.warps[number];
  unsigned present = mask & ~warp.gone;
  if (!present || (warp.waiting & present) != present) return false;
  const Lane &first = warp.lanes[__builtin_ctz(present)];
  for (unsigned rest = present; rest; rest &= rest - 1) {
    const Lane &lane = warp.lanes[__builtin_ctz(rest)];
    if (lane.mask != mask) return false;
    if (lane.operation != first.operation || lane.place.line != first.place.line)
      fail_apart(first.place, lane.place, "another lane of its warp is");
  }
  first.operation(warp, present);
  warp.waiting &= ~present;
  for (unsigned rest = present; rest; rest &= rest - 1) {
    unsigned thread = number * LANES + __builtin_ctz(rest);
    if (thread != self) release(thread);
  }
  return true;
}

// This thread's lane.
static inline Lane &own_lane() {
  return block.warps[threadIdx.x / LANES].lanes[threadIdx.x % LANES];
}

// Meet the other lanes of `mask` for `operation`; what this lane hands in lies in it already.
FN_UNSEEN static void barrier(Operation operation, unsigned mask, Place place) {
  unsigned self = threadIdx.x, number = self / LANES, bit = 1u << self % LANES;
  if (!(mask & bit)) fail_at(place, "the lane is not in its own mask");
  Warp &warp = block.warps[number];
  Lane &lane = own_lane();
  lane.mask = mask;
  lane.operation = operation;
  lane.place = place;
  warp.lock.take();
  warp.waiting |= bit;
  bool met = settle(number, mask, self);
  warp.lock.give();
  if (!met) pause(self);
}

FN_UNSEEN static void nothing(Warp &, unsigned) {}

// Let the threads at the block's barrier go, but for `self`.
FN_UNSEEN static void open_barrier(unsigned self) {
  unsigned waiting = block.waiting;
  block.waiting = 0;
  for (unsigned i = 0; i < waiting; i++)
    if (block.waiters[i] != self) release(block.waiters[i]);
}

FN_UNSEEN static void meet_block(Place place) {
  unsigned self = threadIdx.x;
  block.lock.take();
  if (block.waiting && block.place.line != place.line)
    fail_apart(place, block.place, "other threads of the block wait");
  block.place = place;
  block.waiters[block.waiting++] = self;
  bool met = block.waiting == block.alive;
  if (met) open_barrier(self);
  block.lock.give();
  if (!met) pause(self);
}

// A thread has ended: nobody waits for it any more.
FN_UNSEEN static void leave() {
  unsigned self = threadIdx.x, number = self / LANES;
  Warp &warp = block.warps[number];
  warp.lock.take();
  warp.gone |= 1u << self % LANES;
  for (unsigned rest = warp.waiting; rest; rest &= rest - 1)
    if (warp.waiting >> __builtin_ctz(rest) & 1)
      settle(number, warp.lanes[__builtin_ctz(rest)].mask, self);
  warp.lock.give();
  block.lock.take();
  --block.alive;
  if (block.waiting && block.waiting == block.alive) open_barrier(self);
  block.lock.give();
}

// What the threads that are left wait for, in words.
static void describe_waiting(char *text, size_t room) {
  int used = snprintf(text, room, "deadlock (divergent barrier) in block %u: of %u threads %u "
                      "have ended", blockIdx.x, block.threads, block.threads - block.alive);
  if (block.waiting && used < (int)room)
    used += snprintf(text + used, room - used, ", %u wait at %s:%d for the block", block.waiting,
                     base(block.place.file), block.place.line);
  for (unsigned w = 0; w < block.threads / LANES && used < (int)room; w++) {
    const Warp &warp = block.warps[w];
    if (!warp.waiting) continue;
    Place place = warp.lanes[__builtin_ctz(warp.waiting)].place;
    used += snprintf(text + used, room - used, ", %d of warp %u wait at %s:%d for their warp",
                     __builtin_popcount(warp.waiting), w, base(place.file), place.line);
  }
}

}  // namespace fn_host
