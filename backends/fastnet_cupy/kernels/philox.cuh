// Philox4x32-10 (Salmon et al. 2011), the counters of `fastnet.random`: bit for bit the same.
#pragma once
#include "device.cuh"
#include "names.cuh"

// Four words in a row of a stream.
struct Words {
  uint32_t first, second, third, fourth;
};

// Words 4 `place` to 4 `place` + 3 of a stream of random numbers.
__device__ __forceinline__ Words random_words(uint64_t seed, uint32_t purpose, uint64_t stream,
                                              uint32_t part, uint32_t place) {
  uint32_t c0 = place, c1 = (uint32_t)stream, c2 = part;
  uint32_t c3 = purpose + ((uint32_t)(stream >> 32) << 8);
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    uint32_t h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    uint32_t h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// The word of a dropout mask's entry `entry` in step `step`, of layer `layer`.
__device__ __forceinline__ uint32_t dropout_word(uint64_t seed, uint64_t step, uint32_t layer,
                                                 uint64_t entry) {
  Words words = random_words(seed, FN_DROPOUT, step, layer, (uint32_t)(entry / 4));
  uint32_t place = (uint32_t)entry & 3u;
  return place == 0 ? words.first
                    : (place == 1 ? words.second : (place == 2 ? words.third : words.fourth));
}
