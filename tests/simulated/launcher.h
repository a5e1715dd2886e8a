// Launches: FN_LAUNCHER(kernel, threads) makes what Python calls, one set of functions a kernel.
#pragma once
#include <type_traits>
#include <utility>

#include "cuda_host.h"

namespace fn_host {

// Types as NumPy writes them ("f4", "i8"); "*f4" for a pointer to one, "*" to anything else.
template <class T>
static void write_type(char *&to) {
  using Plain = std::remove_cv_t<T>;
  if constexpr (std::is_pointer_v<Plain>) {
    *to++ = '*';
    using Pointed = std::remove_pointer_t<Plain>;
    if constexpr (std::is_arithmetic_v<Pointed>) write_type<Pointed>(to);
  } else {
    static_assert(std::is_arithmetic_v<Plain>, "kernels take pointers and numbers");
    *to++ = std::is_same_v<Plain, bool>          ? 'b'
            : std::is_floating_point_v<Plain>    ? 'f'
            : std::is_signed_v<Plain>            ? 'i'
                                                 : 'u';
    *to++ = (char)('0' + sizeof(Plain));
  }
}

// The types of a kernel's arguments, with a blank after each.
template <class... Types>
static const char *types_of(void (*)(Types...)) {
  static char text[6 * sizeof...(Types) + 1];
  char *to = text;
  ((write_type<Types>(to), *to++ = ' '), ...);
  *to = 0;
  return text;
}

// Call a kernel with arguments that lie 8 bytes apart.
template <class... Types, size_t... places>
static inline void call(void (*kernel)(Types...), const char *values,
                        std::index_sequence<places...>) {
  auto value = [values](auto *kind, size_t place) {
    std::remove_cv_t<std::remove_pointer_t<decltype(kind)>> copy;
    memcpy(&copy, values + 8 * place, sizeof copy);
    return copy;
  };
  kernel(value((Types *)nullptr, places)...);
}

template <class... Types>
static inline void call(void (*kernel)(Types...), const void *values) {
  call(kernel, (const char *)values, std::index_sequence_for<Types...>());
}

// Every byte 0xFF, a NaN in any kind of number. AddressSanitizer has gaps among the arrays.
__attribute__((no_sanitize("address"))) static void poison_shared() {
#ifdef __SANITIZE_ADDRESS__
  for (volatile char *at = __start_fn_shared; at < __stop_fn_shared; at++) *at = (char)0xff;
#else
  if (__start_fn_shared) memset(__start_fn_shared, 0xff, __stop_fn_shared - __start_fn_shared);
#endif
  memset(shared_memory, 0xff, shared_size);
}

// Run a grid, its blocks in an order that `seed` shuffles (0: one after the other). Returns what
// went wrong, or null.
static const char *launch(unsigned blocks, unsigned threads, size_t shared, unsigned seed,
                          Body kernel, const void *arguments) {
  gridDim = {blocks, 1, 1};
  blockDim = {threads, 1, 1};
  body = kernel;
  body_arguments = arguments;
  random_state = seed;
  shared_size = shared;
  shared_memory = (char *)malloc(shared);
  unsigned *order = (unsigned *)malloc(blocks * sizeof *order);
  if (!order || (shared && !shared_memory)) return "no memory for the launch";
  for (unsigned b = 0; b < blocks; b++) order[b] = b;
  for (unsigned b = blocks - 1; seed && b > 0; b--) std::swap(order[b], order[below(b + 1)]);
  const char *wrong = nullptr;
  for (unsigned b = 0; b < blocks && !wrong; b++) {
    blockIdx.x = order[b];
    poison_shared();
    forget_copies(threads);
    wrong = run_block(threads);
  }
  free(order);
  free(shared_memory);
  return wrong;
}

// Where there is no Python: the kernels by name.
struct Known {
  const char *name;
  const char *(*launch)(unsigned, unsigned, size_t, unsigned, const void *);
};

}  // namespace fn_host

#define FN_EXPORT extern "C" __attribute__((visibility("default")))

#define FN_LAUNCHER(kernel, most_threads)                                                      \
  FN_EXPORT const char *fn_types_##kernel() { return fn_host::types_of(kernel); }              \
  FN_EXPORT unsigned fn_threads_##kernel() { return most_threads; }                            \
  FN_EXPORT const char *fn_launch_##kernel(unsigned blocks, unsigned threads, size_t shared,   \
                                           unsigned seed, const void *arguments) {             \
    return fn_host::launch(                                                                    \
        blocks, threads, shared, seed, [](const void *values) { fn_host::call(kernel, values); }, \
        arguments);                                                                            \
  }
