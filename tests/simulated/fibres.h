// A block's threads as fibres of one OS thread, in an order that a seed shuffles.
//
// A fibre runs one thread after the other as long as none of them waits: a kernel without
// barriers is a plain loop on one stack. A thread that waits keeps its fibre, and another goes on.
#pragma once
#include <sys/mman.h>

#include "block.h"
#include "context.h"

namespace fn_host {

typedef void (*Body)(const void *arguments);

static const size_t STACK = 256 << 10;
static const unsigned CANARY = 0x5afe57ac;

struct Fibre {
  Context context;
  unsigned *canary;  // at the stack's far end
};

// Numbers for schedules: xorshift (Marsaglia 2003). 0 stays 0, and shuffles nothing.
static uint32_t random_state;
static inline uint32_t below(uint32_t limit) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return (uint32_t)((uint64_t)random_state * limit >> 32);
}

static Context outside;  // of the launch
static Fibre fibres[MOST_THREADS];
static unsigned made;                    // fibres that have a stack and a context
static unsigned idle[MOST_THREADS], idle_count;
static unsigned fibre_of[MOST_THREADS];  // of a thread that has begun
static bool begun[MOST_THREADS];
static unsigned current, starting;       // the fibre at work; the thread that it begins
static unsigned ready[MOST_THREADS], ready_first, ready_count;  // a ring of threads
static bool hasty;                       // whether those that were just let go go first
static Body body;
static const void *body_arguments;
static char error[600];

static inline unsigned &ready_at(unsigned place) {
  return ready[(ready_first + place) % MOST_THREADS];
}

static void release(unsigned thread) { ready_at(ready_count++) = thread; }

// Take the next thread: the first in order, or with a seed any one, or any of the last ones.
static inline unsigned take_ready() {
  unsigned place = 0;
  if (random_state)
    place = hasty && ready_count > LANES ? ready_count - 1 - below(LANES) : below(ready_count);
  unsigned thread = ready_at(place);
  ready_at(place) = random_state ? ready_at(ready_count - 1) : thread;
  if (!random_state) ready_first = (ready_first + 1) % MOST_THREADS;
  --ready_count;
  return thread;
}

[[noreturn]] static void fail(const char *message) {
  snprintf(error, sizeof error, "%s", message);
  change(fibres[current].context, outside);
  __builtin_unreachable();  // its stack is made anew for another thread
}

static void fibre_main();

// A fibre that waits for a thread to run.
static unsigned idle_fibre() {
  if (idle_count) return idle[--idle_count];
  Fibre &fibre = fibres[made];
  if (!fibre.canary) {
    void *stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) fail("no memory for stacks");
    madvise(stack, STACK, MADV_NOHUGEPAGE);  // a page or two of each is used
    fibre.canary = (unsigned *)stack;
  }
  *fibre.canary = CANARY;
  // Stacks begin at different places of their page, or all would share a few lines of the cache.
  prepare(fibre.context, (char *)fibre.canary, STACK, made * 320 % 8192, fibre_main);
  return made++;
}

// Go on with the next thread in another fibre; returns when this one is gone back to.
static void go_on() {
  if (!ready_count) {
    char message[sizeof error];
    describe_waiting(message, sizeof message);
    fail(message);
  }
  unsigned self = current, thread = take_ready();
  if (begun[thread]) {
    current = fibre_of[thread];
  } else {
    current = idle_fibre();
    starting = thread;
  }
  threadIdx.x = thread;
  if (current != self) change(fibres[self].context, fibres[current].context);
}

static void pause(unsigned) { go_on(); }

static void fibre_main() {
  arrive(nullptr);
  for (;;) {
    unsigned self = current, thread = starting;
    begun[thread] = true;
    fibre_of[thread] = self;
    body(body_arguments);
    if (*fibres[self].canary != CANARY) fail("a thread's stack of 256 KiB is too small");
    leave();
    idle[idle_count++] = self;  // and often the very next to be taken from there
    if (block.alive)
      go_on();
    else
      change(fibres[self].context, outside);
  }
}

// Run a block of `threads` threads; returns what went wrong, or null.
static const char *run_block(unsigned threads) {
  open_block(threads);
  ready_first = 0;
  ready_count = threads;
  for (unsigned t = 0; t < threads; t++) {
    ready[t] = t;
    begun[t] = false;
  }
  hasty = random_state && below(2);
  error[0] = 0;
  starting = threadIdx.x = take_ready();
  current = idle_fibre();
  change(outside, fibres[current].context);
  if (!error[0]) return nullptr;
  made = idle_count = 0;  // what lies on the stacks is given up
  return error;
}

}  // namespace fn_host
