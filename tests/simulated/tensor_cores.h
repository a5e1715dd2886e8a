// The processor's half of `device.cuh`: narrow numbers, and what tensor cores do, with fragments
// laid out as there. Products are exact, sums are float32 in the order of the depth.
#pragma once
#include "block.h"

static inline float fn_fp16_to_float(uint16_t bits) {
  return (float)fn_same_bits<_Float16>(bits);
}

static inline uint16_t fn_float_to_fp16(float value) {
  return fn_same_bits<uint16_t>((_Float16)value);
}

static inline float fn_bf16_to_float(uint16_t bits) {
  return __uint_as_float((uint32_t)bits << 16);
}

static inline uint16_t fn_float_to_bf16(float value) {
  uint32_t bits = __float_as_uint(value);
  if (value != value) return 0x7fff;
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline uint32_t fn_pair_to_fp16(float first, float second) {
  return fn_float_to_fp16(first) | (uint32_t)fn_float_to_fp16(second) << 16;
}

static inline uint32_t fn_pair_to_bf16(float first, float second) {
  return fn_float_to_bf16(first) | (uint32_t)fn_float_to_bf16(second) << 16;
}

// As machine code has it for `cvt.rna.tf32`: a NaN whose bits all lie below the tenth is infinite.
static inline float fn_round_tf32(float value) {
  uint32_t bits = __float_as_uint(value);
  if (fabsf(value) < INFINITY) bits += 0x1000;
  return __uint_as_float(bits & ~0x1fffu);
}

namespace fn_host {

// As fn_fp16_to_float, without a call for each.
static inline float half_to_float(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits & 0x7c00;
  uint32_t wide = (uint32_t)(bits & 0x7fff) << 13;
  if (exponent == 0x7c00) return __uint_as_float(sign | wide | 0x7f800000);
  if (exponent) return __uint_as_float(sign | (wide + (112u << 23)));
  float tiny = (float)(bits & 0x3ff) * 0x1p-24f;
  return sign ? -tiny : tiny;
}

// One warp's matrices: a (16, depth), b (depth, 8), c (16, 8).
struct Matrices {
  float a[16][16], b[16][8], c[16][8];
};

static void multiply(Matrices &m, int depth) {
  for (int k = 0; k < depth; k++)
    for (int i = 0; i < 16; i++)
      for (int j = 0; j < 8; j++) m.c[i][j] += m.a[i][k] * m.b[k][j];
}

static void whole_warp(const Warp &warp, unsigned lanes) {
  if (lanes != 0xffffffffu) fail_at(warp.lanes[__builtin_ctz(lanes)].place, "lanes are missing");
}

// Lane l's numbers of c, and its place in them: words 0 to 3 of what it hands in.
FN_UNSEEN static void gather_sums(const Warp &warp, Matrices &m) {
  for (int l = 0; l < LANES; l++)
    for (int i = 0; i < 4; i++)
      m.c[l / 4 + 8 * (i / 2)][l % 4 * 2 + i % 2] = __uint_as_float(warp.lanes[l].in[i]);
}

FN_UNSEEN static void scatter_sums(Warp &warp, const Matrices &m) {
  for (int l = 0; l < LANES; l++)
    for (int i = 0; i < 4; i++)
      warp.lanes[l].out[i] = __float_as_uint(m.c[l / 4 + 8 * (i / 2)][l % 4 * 2 + i % 2]);
}

template <float (*widen)(uint16_t)>
FN_UNSEEN static void multiply_narrow(Warp &warp, unsigned lanes) {
  whole_warp(warp, lanes);
  Matrices m;
  gather_sums(warp, m);
  for (int l = 0; l < LANES; l++) {
    const uint32_t *a = warp.lanes[l].in + 4, *b = warp.lanes[l].in + 8;
    int g = l / 4, t = l % 4;
    for (int half = 0; half < 2; half++) {
      for (int i = 0; i < 4; i++)
        m.a[g + 8 * (i % 2)][2 * t + half + 8 * (i / 2)] = widen((uint16_t)(a[i] >> 16 * half));
      for (int i = 0; i < 2; i++)
        m.b[2 * t + half + 8 * i][g] = widen((uint16_t)(b[i] >> 16 * half));
    }
  }
  multiply(m, 16);
  scatter_sums(warp, m);
}

FN_UNSEEN static void multiply_tf32(Warp &warp, unsigned lanes) {
  whole_warp(warp, lanes);
  Matrices m;
  gather_sums(warp, m);
  for (int l = 0; l < LANES; l++) {
    const uint32_t *a = warp.lanes[l].in + 4, *b = warp.lanes[l].in + 8;
    int g = l / 4, t = l % 4;
    // The bits below the tenth are not read.
    for (int i = 0; i < 4; i++)
      m.a[g + 8 * (i % 2)][t + 4 * (i / 2)] = __uint_as_float(a[i] & ~0x1fffu);
    for (int i = 0; i < 2; i++) m.b[t + 4 * i][g] = __uint_as_float(b[i] & ~0x1fffu);
  }
  multiply(m, 8);
  scatter_sums(warp, m);
}

static inline void product(Operation operation, float (&c)[4], const uint32_t (&a)[4],
                           const uint32_t (&b)[2], Place place) {
  Lane &lane = own_lane();
  memcpy(lane.in, c, sizeof c);
  memcpy(lane.in + 4, a, sizeof a);
  memcpy(lane.in + 8, b, sizeof b);
  barrier(operation, 0xffffffffu, place);
  memcpy(c, lane.out, sizeof c);
}

// Entry (row, column) of the 8 x 8 matrix whose rows lanes 8 m to 8 m + 7 hand in.
FN_UNSEEN static inline uint32_t entry(const Warp &warp, int m, int row, int column) {
  return warp.lanes[8 * m + row].in[column / 2] >> 16 * (column % 2) & 0xffffu;
}

template <bool turned>
FN_UNSEEN static void load_matrices(Warp &warp, unsigned lanes) {
  whole_warp(warp, lanes);
  for (int l = 0; l < LANES; l++)
    for (int m = 0; m < 4; m++) {
      int g = l / 4, t = 2 * (l % 4);
      warp.lanes[l].out[m] = turned ? entry(warp, m, t, g) | entry(warp, m, t + 1, g) << 16
                                    : entry(warp, m, g, t) | entry(warp, m, g, t + 1) << 16;
    }
}


static inline void load(Operation operation, uint32_t (&m)[4], const void *row, Place place) {
  const char *at = (const char *)row;
  if ((uintptr_t)row % 16) fail_at(place, "a row for ldmatrix is not aligned to 16 bytes");
  bool dynamic = at >= shared_memory && at + 16 <= shared_memory + shared_size;
  bool fixed = at >= __start_fn_shared && at + 16 <= __stop_fn_shared;
  if (!dynamic && !fixed) fail_at(place, "a row for ldmatrix is not in shared memory");
  Lane &lane = own_lane();
  memcpy(lane.in, row, 16);
  barrier(operation, 0xffffffffu, place);
  memcpy(m, lane.out, sizeof m);
}

}  // namespace fn_host

static inline void fn_mma_fp16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                               fn_host::Place place = fn_host::here()) {
  fn_host::product(fn_host::multiply_narrow<fn_host::half_to_float>, c, a, b, place);
}

static inline void fn_mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                               fn_host::Place place = fn_host::here()) {
  fn_host::product(fn_host::multiply_narrow<fn_bf16_to_float>, c, a, b, place);
}

static inline void fn_mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                               fn_host::Place place = fn_host::here()) {
  fn_host::product(fn_host::multiply_tf32, c, a, b, place);
}

static inline void fn_load_matrices(uint32_t (&m)[4], const void *row,
                                    fn_host::Place place = fn_host::here()) {
  fn_host::load(fn_host::load_matrices<false>, m, row, place);
}

static inline void fn_load_matrices_transposed(uint32_t (&m)[4], const void *row,
                                           fn_host::Place place = fn_host::here()) {
  fn_host::load(fn_host::load_matrices<true>, m, row, place);
}
