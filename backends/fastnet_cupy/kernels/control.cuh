// The batch of a step, from a run's control block (`Control` in names.py).
#pragma once
#include "device.cuh"
#include "names.cuh"

// item / by, for numbers that are not negative: in 32 bits where that is enough, which is
// a short piece of code where 64 bits need a long one.
__device__ __forceinline__ int64_t quotient(int64_t item, int64_t by) {
  return (item | by) >> 32 ? item / by : (int64_t)((uint32_t)item / (uint32_t)by);
}

// The rows of a step's batch.
struct Batch {
  int64_t first;  // place of the first in the order, or in the data
  int64_t start;  // rows of its epoch that were before it
  int rows;       // how many
  uint64_t step;  // the step, counted over the whole training
};

// The batch of the run's step `index`.
__device__ __forceinline__ Batch batch_of(const int64_t *control, int64_t index) {
  int64_t size = control[BATCH], rows = control[ROWS];
  int64_t batches = quotient(rows + size - 1, size);
  int64_t step = control[FIRST_STEP] + index;
  int64_t epoch = quotient(step, batches), start = (step - epoch * batches) * size;
  Batch batch;
  batch.step = (uint64_t)step;
  batch.rows = (int)(rows - start < size ? rows - start : size);
  batch.first = batch.start = start;
  if (control[ORDERED]) batch.first += (epoch - control[FIRST_EPOCH]) * rows;
  if (control[STREAMED])
    batch.first = (index - quotient(index, control[STREAMED]) * control[STREAMED]) * size;
  return batch;
}

// The data's row that is row `r` of the batch.
__device__ __forceinline__ int64_t row_of(const Batch &batch, const int64_t *order, int r) {
  return order ? order[batch.first + r] : batch.first + r;
}
