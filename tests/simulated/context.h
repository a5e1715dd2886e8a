// Contexts: one OS thread changes from stack to stack.
//
// On x86-64 by a few instructions (2 ns or so); elsewhere by POSIX's swapcontext, which asks the
// kernel for the signal mask twice each time. AddressSanitizer is told of every change.
#pragma once
#include <stddef.h>
#include <stdint.h>

#if !defined(__x86_64__) || defined(FN_UCONTEXT)
#define FN_POSIX_CONTEXT 1
#include <ucontext.h>
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace fn_host {

struct Context {
#ifdef FN_POSIX_CONTEXT
  ucontext_t machine;
#else
  void *top;  // of its stack, where its registers lie
#endif
  const void *bottom;  // of its stack
  size_t size;
};

static Context *left;  // the context that was changed from last

#ifndef FN_POSIX_CONTEXT
// Keep what the System V ABI wants kept, and go on with another stack.
__attribute__((naked, noinline)) static void swap_stacks(void **, void *) {
  asm("push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
      "mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
      "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");
}
#endif

// What a context does first of all, and after each change back to it.
static inline void arrive([[maybe_unused]] void *kept) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(kept, &left->bottom, &left->size);
#endif
}

// Leave `from`, go on in `to`; returns when something changes back.
static inline void change(Context &from, Context &to) {
  void *kept = nullptr;
  left = &from;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&kept, to.bottom, to.size);
#endif
#ifdef FN_POSIX_CONTEXT
  swapcontext(&from.machine, &to.machine);
#else
  swap_stacks(&from.top, to.top);
#endif
  arrive(kept);
}

// Let `context` begin with `entry`, which never returns, on a stack of its own. `skip` bytes at
// its upper end stay unused, a multiple of 16.
static inline void prepare(Context &context, char *stack, size_t size, size_t skip,
                           void (*entry)()) {
  context.bottom = stack;
  context.size = size;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(stack, size);
#endif
#ifdef FN_POSIX_CONTEXT
  getcontext(&context.machine);
  context.machine.uc_stack.ss_sp = stack;
  context.machine.uc_stack.ss_size = size - skip;
  context.machine.uc_link = nullptr;
  makecontext(&context.machine, entry, 0);
#else
  // Six registers, the entry's address, and a return address that is never used: as after a call.
  uintptr_t *top = (uintptr_t *)(((uintptr_t)stack + size - skip) & ~(uintptr_t)15) - 8;
  for (int i = 0; i < 8; i++) top[i] = 0;
  top[6] = (uintptr_t)entry;
  context.top = top;
#endif
}

}  // namespace fn_host
