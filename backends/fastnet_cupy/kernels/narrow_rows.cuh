// What a block of the narrow kernel reads of its rows.
//
// They come a tile of ROWS rows at a time, in steps that do not wait for global memory: while a tile
// is on its way forward, its targets are copied to shared memory, and so are the x of the next tile
// and the places of the one after that in the data.
#pragma once
#include "narrow_chip.cuh"

// The data, and the places in it of the batches' rows, one behind the other; null: in order.
struct Data {
  const real *x, *y;
  const int64_t *labels;
  const real *weights;
  const int64_t *order;
};

// Ask for the places of the rows from `first` of the batch on; behind the last one it is repeated.
__device__ __forceinline__ void ask_for_places(const Task &task, const Data &data, int64_t first,
                                               int64_t *places) {
  for (int r = threadIdx.x; r < ROWS; r += THREADS) {
    int64_t row = min(first + r, (int64_t)task.batch.rows - 1);
    if (data.order)
      fn_copy<sizeof(int64_t)>(places + r, data.order + task.batch.first + row);
    else
      places[r] = task.batch.first + row;
  }
}

// Whether rows of `count` entries can be read ENTRIES at a time, by their lengths and alignment.
template <int ENTRIES>
__device__ __forceinline__ bool readable_in(const real *rows, int count) {
  return count % ENTRIES == 0 && (uint64_t)rows % 16 == 0;
}

template <int WIDTH, int ENTRIES>
__device__ __forceinline__ void ask_for_entries(const real *rows, int count,
                                                const int64_t *places, real *to) {
  constexpr int EACH = WIDTH / ENTRIES;
  static_assert(THREADS % EACH == 0, "a thread asks for the same entries of all its rows");
  int i = threadIdx.x % EACH * ENTRIES;
  if (i >= count) return;
#pragma unroll 1
  for (int r = threadIdx.x / EACH; r < ROWS; r += THREADS / EACH)
    fn_copy<ENTRIES * sizeof(real)>(to + r * WIDTH + i, rows + places[r] * count + i);
}

// Ask for the rows in these places, of `count` entries, to be put WIDTH apart.
template <int WIDTH>
__device__ __forceinline__ void ask_for_rows(const real *rows, int count, const int64_t *places,
                                             real *to) {
  constexpr int AT_ONCE = 16 / sizeof(real);
  if (readable_in<AT_ONCE>(rows, count))
    ask_for_entries<WIDTH, AT_ONCE>(rows, count, places, to);
  else
    ask_for_entries<WIDTH, 1>(rows, count, places, to);
}

// Ask for the x of the rows in these places.
__device__ __forceinline__ void ask_for_x(const Task &task, const Data &data,
                                          const int64_t *places, const Chip &chip) {
  ask_for_rows<width(0)>(data.x, task.table[TABLE_INPUTS], places, chip.x);
}

// Ask for their targets and their weights.
__device__ __forceinline__ void ask_for_targets(const Task &task, const Data &data,
                                                const int64_t *places, const Chip &chip) {
  if (data.y) ask_for_rows<OUTPUTS>(data.y, task.table[TABLE_OUTPUTS], places, chip.targets());
  for (int r = threadIdx.x; r < ROWS; r += THREADS) {
    if (data.labels) fn_copy<sizeof(int64_t)>(chip.labels() + r, data.labels + places[r]);
    if (data.weights) fn_copy<sizeof(real)>(chip.row_weights() + r, data.weights + places[r]);
  }
}

// Put the x of the rows from `first` of the batch on where products read it. It was asked for, or
// where there was no room for that, it is read now.
__device__ __forceinline__ void put_x(const Task &task, const Data &data, int first,
                                      const int64_t *places, const Chip &chip) {
  int inputs = task.table[TABLE_INPUTS];
  auto entries = [&](int r, int i) -> const real * {
    return FN_AHEAD ? chip.x + r * width(0) + i : data.x + places[r] * inputs + i;
  };
  Masks masks = input_masks(task.table, task.control, task.steps, task.control[NEXT],
                            task.batch.step);
  if (masks.count || !(FN_AHEAD || readable_in<4>(data.x, inputs))) {
    int i = threadIdx.x % width(0);
#pragma unroll 1
    for (int r = threadIdx.x / width(0); r < ROWS; r += THREADS / width(0)) {
      int row = min(first + r, task.batch.rows - 1);
      real value = i < inputs ? *entries(r, i) : (real)0;
      if (masks.count && i < inputs) value *= masks.factor((uint64_t)row * inputs + i);
      chip.input<0>()[r * row_length(0) + i] = to_store(value);
    }
    return;
  }
  // Several rows at once: at most one other block is on the multiprocessor, to hide the latency.
  constexpr int EACH = width(0) / 4, APART = THREADS / EACH;
  constexpr int AT_ONCE = ROWS / APART < 1 ? 1 : (ROWS / APART < 4 ? ROWS / APART : 4);
  int i = threadIdx.x % EACH * 4;
#pragma unroll 1
  for (int r = threadIdx.x / EACH; r < ROWS; r += AT_ONCE * APART) {
    Four four[AT_ONCE];
#pragma unroll
    for (int q = 0; q < AT_ONCE; q++)
      four[q] = i < inputs ? *(const Four *)entries(r + q * APART, i) : Four{};
#pragma unroll
    for (int q = 0; q < AT_ONCE; q++) {
#pragma unroll
      for (int e = 1; e < 4; e++)
        if (i + e >= inputs) four[q].entry[e] = 0;
      store *to = chip.input<0>() + (r + q * APART) * row_length(0) + i;
      store_pair(to, four[q].entry[0], four[q].entry[1]);
      store_pair(to + 2, four[q].entry[2], four[q].entry[3]);
    }
  }
}
