// Philox4x32-10 (Salmon et al. 2011), the counters of `fastnet.random`: bit for bit the same.
#pragma once
#include "device.cuh"
#include "names.cuh"

// The word of a dropout mask's entry `entry` in step `step`, of layer `layer`.
__device__ __forceinline__ uint32_t dropout_word(uint64_t seed, uint64_t step, uint32_t layer,
                                                 uint64_t entry) {
  uint32_t c0 = (uint32_t)(entry / 4), c1 = (uint32_t)step, c2 = layer;
  uint32_t c3 = FN_DROPOUT + ((uint32_t)(step >> 32) << 8);
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
  uint32_t place = (uint32_t)entry & 3u;
  return place == 0 ? c0 : (place == 1 ? c1 : (place == 2 ? c2 : c3));
}
