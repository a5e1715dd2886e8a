// What kernels know of the run that is under way.
//
// One array of whole numbers on the device, written by the host before a run and moved on by
// `total`, the one kernel of a step that is a single block. Kernels before it in a step read
// NEXT, kernels after it NOW: so no kernel reads a number that another one is about to change.
#pragma once
#include "device.cuh"

// As in control.py.
enum {
  NEXT,         // the step, counted from the run's first, that the kernels before `total` do
  NOW,          // the same for the kernels after it
  STOPPED,      // 1 once a loss was not finite: nothing is updated any more
  FIRST_STEP,   // of the run, counted over the whole training
  BATCH,        // rows of a batch, at most
  ROWS,         // of the data
  FIRST_EPOCH,  // of the order
  ORDERED,      // whether there is an order
  STREAMED,     // steps whose batches the data holds, one behind the other; 0: it holds all rows
  SEED,         // of dropout
  DROPPING,     // whether dropout does its work
  STEPS,        // of the run
  CONTROLS
};

// Numbers of a step that one block makes and all blocks read, in float64.
enum {
  MASS,    // the weights of the batch's rows, added up; only where rows have weights
  FACTOR,  // what the gradient is multiplied with to be no longer than it may
  SCALE,   // what the derivatives were multiplied with on their way back (fp16), a power of two
  SCALARS
};

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
