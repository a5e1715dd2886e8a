// A network as the tables that layout.py makes of it, and the masks of dropout.
//
// With FN_TABLE the int table is a list of constants, and the compiler makes one network's own
// kernel of what otherwise serves all.
#pragma once
#include "activations.cuh"
#include "control.cuh"
#include "philox.cuh"

// Before a loop over layers: unrolled where the table is known, a loop where it is not.
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
  const int *ints;
  const double *floats;

  __device__ __forceinline__ int operator[](int place) const {
#ifdef FN_TABLE
    return table_entry(place);
#else
    return ints[place];
#endif
  }
  __device__ __forceinline__ int layers() const { return (*this)[TABLE_LAYERS]; }
  __device__ __forceinline__ int layer(int l, int column) const {
    return (*this)[TABLE_HEAD + l * LAYER_COLUMNS + column];
  }
  // The layer of the network that mask `m` is, by which its random words are drawn.
  __device__ __forceinline__ uint32_t mask_layer(int m) const {
    return (uint32_t)(*this)[TABLE_HEAD + layers() * LAYER_COLUMNS + m];
  }
  __device__ __forceinline__ const double *loss_constants() const {
    return floats + layers() * ACTIVATION_CONSTANTS;
  }
  __device__ __forceinline__ Constants constants(int l) const {
    const double *own = floats + l * ACTIVATION_CONSTANTS;
    return {(real)own[0], (real)own[1]};
  }
  // Whether layer `l`'s slope can be computed from what comes out of it alone.
  __device__ __forceinline__ bool layer_slope_from_output(int l) const {
    return slope_from_output(layer(l, LAYER_CODE)) && layer(l, LAYER_MASKS) == 0;
  }
};

// The masks of dropout at one place of the network, in one step.
struct Masks {
  const Table &table;
  int first, count;      // of all masks
  const double *numbers;  // of the first of them: threshold and scale, then the next one's
  uint64_t seed, step;
  uint32_t threshold;  // the first mask's, which is mostly the only one
  real scale;

  // `count` masks from number `first` on. `steps`: the step table; `index`: of the run's step.
  __device__ __forceinline__ Masks(const Table &table, int first, int count,
                                   const int64_t *control, const double *steps, int64_t index,
                                   uint64_t step)
      : table(table), first(first), count(control[DROPPING] ? count : 0), seed(control[SEED]),
        step(step) {
    if (!this->count) return;
    numbers = steps + index * control[STEP_NUMBERS] + STEP_MASKS + 2 * first;
    threshold = (uint32_t)numbers[0];
    scale = (real)numbers[1];
  }
  // What they make of an entry of the batch: 0, or their scales' product.
  __device__ __forceinline__ real factor(uint64_t entry) const {
    uint32_t word = dropout_word(seed, step, table.mask_layer(first), entry);
    real product = word >= threshold ? scale : (real)0;
    for (int m = 1; m < count; m++) {
      word = dropout_word(seed, step, table.mask_layer(first + m), entry);
      product = word >= (uint32_t)numbers[2 * m] ? product * (real)numbers[2 * m + 1] : (real)0;
    }
    return product;
  }
};

// Those on the network's input, and those behind layer `l`.
__device__ __forceinline__ Masks input_masks(const Table &table, const int64_t *control,
                                             const double *steps, int64_t index, uint64_t step) {
  return Masks(table, 0, table[TABLE_MASKS], control, steps, index, step);
}
__device__ __forceinline__ Masks layer_masks(const Table &table, int l, const int64_t *control,
                                             const double *steps, int64_t index, uint64_t step) {
  return Masks(table, table.layer(l, LAYER_FIRST_MASK), table.layer(l, LAYER_MASKS), control,
               steps, index, step);
}
