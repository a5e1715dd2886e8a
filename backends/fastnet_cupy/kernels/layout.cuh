// A network as the table that layout.py makes of it.
//
// With FN_TABLE the table is a list of constants, and the compiler makes one network's own kernel
// of what otherwise serves all.
#pragma once
#include "activations.cuh"
#include "philox.cuh"

// As in layout.py: the losses, and the table's columns.
enum { MSE, MAE, HUBER, POISSON, POISSON_RATE, QUANTILE, BINARY_CROSSENTROPY, CROSSENTROPY };
enum { TABLE_INPUTS, TABLE_OUTPUTS, TABLE_SIZE, TABLE_LAYERS, TABLE_MASKS, TABLE_SOFTMAX,
       TABLE_OUTPUT, TABLE_OUTPUT_SOFTMAX, TABLE_LOSS, TABLE_HEAD };
enum { LAYER_INPUTS, LAYER_UNITS, LAYER_WEIGHT, LAYER_BIASED, LAYER_CODE, LAYER_FIRST_MASK,
       LAYER_MASKS, LAYER_COLUMNS };
enum { MASK_THRESHOLD, MASK_LAYER, MASK_COLUMNS };

// Before a loop over layers: taken apart where the table is known, a loop where it is not.
#ifdef FN_TABLE
#define EACH_LAYER _Pragma("unroll")
#else
#define EACH_LAYER _Pragma("unroll 1")
#endif

#ifdef FN_TABLE
__device__ __forceinline__ constexpr int table_entry(int place) {
  constexpr int entries[] = {FN_TABLE};
  return entries[place];
}
#endif

struct Table {
  const int *whole;
  const double *reals;

  __device__ __forceinline__ int operator[](int place) const {
#ifdef FN_TABLE
    return table_entry(place);
#else
    return whole[place];
#endif
  }
  __device__ __forceinline__ int layers() const { return (*this)[TABLE_LAYERS]; }
  __device__ __forceinline__ int layer(int l, int column) const {
    return (*this)[TABLE_HEAD + l * LAYER_COLUMNS + column];
  }
  __device__ __forceinline__ int mask(int m, int column) const {
    return (*this)[TABLE_HEAD + layers() * LAYER_COLUMNS + m * MASK_COLUMNS + column];
  }
  __device__ __forceinline__ real constant() const { return (real)reals[0]; }
  __device__ __forceinline__ real below(int l) const { return (real)reals[1 + 2 * l]; }
  __device__ __forceinline__ real above(int l) const { return (real)reals[2 + 2 * l]; }
  __device__ __forceinline__ real scale(int m) const {
    return (real)reals[1 + 2 * layers() + m];
  }
  // Whether the way back through layer `l` needs nothing but what came out of it.
  __device__ __forceinline__ bool layer_tells_slope(int l) const {
    return tells_slope(layer(l, LAYER_CODE)) && layer(l, LAYER_MASKS) == 0;
  }
  // What masks `first` to `first + count` make of an entry: 0, or their scales' product.
  __device__ __forceinline__ real masked(int first, int count, uint64_t seed, uint64_t step,
                                         uint64_t entry) const {
    real factor = 1;
    for (int m = first; m < first + count; m++) {
      uint32_t word = dropout_word(seed, step, (uint32_t)mask(m, MASK_LAYER), entry);
      factor = word >= (uint32_t)mask(m, MASK_THRESHOLD) ? factor * scale(m) : (real)0;
    }
    return factor;
  }
};
