// What networks that are no chain of layers do between their matrix products: norms, factors, sums,
// learned activations, embeddings, and the derivatives.
//
// A stage makes z by its front (layers.py), u = z scale + shift and a = f(u). Values that only
// products read are kept as these read them (`store`), all others and all derivatives in full.
// As in layered.cu, the rows behind a batch's tail repeat its last one, and have derivatives of zero.
// `before`, unless null, is the derivative by the same value that other stages have found.
#include "entries.cuh"
#include "layout.cuh"
#include "sums.cuh"

// a = mask(g(u)), u = (x + other) scale + shift, for `(buffer, units)` entries of stage `l`;
// g(u) = f(u), or with alpha (1 - w) u + w f(u), w = alpha, or 1 - alpha if `complement`. What is
// null is left out. `wide` and `a` become the same, in full and as products read it, `slope` da / du,
// and `learned` da / dalpha; any of them may be null. x and `wide` may be the same.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    transform(const int *int_table, const double *float_table, const int64_t *control,
              const double *steps, int l, int64_t count, const real *x, const real *other,
              const real *scale, const real *shift, const real *alpha, int complement, real *wide,
              store *a, real *slope, real *learned) {
  Table table = {int_table, float_table};
  int units = table.layer(l, LAYER_UNITS), code = table.layer(l, LAYER_CODE);
  Constants constants = table.constants(l);
  uint64_t step = batch_of(control, control[NEXT]).step;
  Masks masks = layer_masks(table, l, control, steps, control[NEXT], step);
  EACH_ENTRY(item, count) {
    int64_t j = item - quotient(item, units) * units;
    real u = x[item];
    if (other) u += other[item];
    if (scale) u *= scale[j];
    if (shift) u += shift[j];
    real out = activated(code, u, constants), steep = 1, more = 0;
    if (slope) steep = slope_at(code, u, out, constants);
    if (alpha) {
      real w = complement ? 1 - alpha[j] : alpha[j];
      more = complement ? u - out : out - u;
      out = (1 - w) * u + w * out;
      steep = 1 - w + w * steep;
    }
    if (masks.count) {
      real factor = masks.factor(item);
      out *= factor;
      steep *= factor;
      more *= factor;
    }
    if (wide) wide[item] = out;
    if (a) a[item] = to_store(out);
    if (slope) slope[item] = steep;
    if (learned) learned[item] = more;
  }
}

// du = d da / du, where that is in `slope`, or computed from `a`, or 1 where both are null; `stored`
// becomes the same as products read it, and `onward` the derivative by z, du scale + before. Any of
// the three may be null, and so may scale.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    transform_back(const int *int_table, const double *float_table, int l, int64_t count,
                   const real *d, const real *a, const real *slope, const real *scale,
                   const real *before, real *du, store *stored, real *onward) {
  Table table = {int_table, float_table};
  int units = table.layer(l, LAYER_UNITS), code = table.layer(l, LAYER_CODE);
  Constants constants = table.constants(l);
  EACH_ENTRY(item, count) {
    real value = d[item] * (slope ? slope[item] : (a ? slope_of(code, a[item], constants) : (real)1));
    if (du) du[item] = value;
    if (stored) stored[item] = to_store_cut(value);
    if (!onward) continue;
    if (scale) value *= scale[item - quotient(item, units) * units];
    onward[item] = before ? value + before[item] : value;
  }
}

// z = (x - m) / s, m the mean of a row of `n` and s^2 its variance + epsilon, each by a group of lanes.
// s `(rows,)` may be null.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    normalize(int rows, int n, int lanes, double epsilon, const real *x, real *z, real *s) {
  int lane = threadIdx.x % lanes, at_once = blockDim.x / lanes;
  for (int first = blockIdx.x * at_once; first < rows; first += gridDim.x * at_once) {
    int r = first + threadIdx.x / lanes, m = r < rows ? n : 0;
    int64_t at = (int64_t)r * n;
    real sum = 0, squares = 0;
    for (int j = lane; j < m; j += lanes) sum += x[at + j];
    real mean = group_sum(sum, lanes) / n;
    for (int j = lane; j < m; j += lanes) squares += (x[at + j] - mean) * (x[at + j] - mean);
    real deviation = sqrt_(group_sum(squares, lanes) / n + (real)epsilon);
    for (int j = lane; j < m; j += lanes) z[at + j] = (x[at + j] - mean) / deviation;
    if (s && m && lane == 0) s[r] = deviation;
  }
}

// The derivative by x: (e - mean(e) - z mean(e z)) / s + before, e = du scale; scale may be null.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    normalize_back(int rows, int n, int lanes, const real *du, const real *z, const real *s,
                   const real *scale, const real *before, real *onward) {
  int lane = threadIdx.x % lanes, at_once = blockDim.x / lanes;
  for (int first = blockIdx.x * at_once; first < rows; first += gridDim.x * at_once) {
    int r = first + threadIdx.x / lanes, m = r < rows ? n : 0;
    int64_t at = (int64_t)r * n;
    real sum = 0, along = 0;
    for (int j = lane; j < m; j += lanes) {
      real e = scale ? du[at + j] * scale[j] : du[at + j];
      sum += e;
      along += e * z[at + j];
    }
    sum = group_sum(sum, lanes) / n;
    along = group_sum(along, lanes) / n;
    for (int j = lane; j < m; j += lanes) {
      real e = scale ? du[at + j] * scale[j] : du[at + j];
      real dx = (e - sum - z[at + j] * along) / s[r];
      onward[at + j] = before ? dx + before[at + j] : dx;
    }
  }
}

// A block's place in a matrix: SUM_COLUMNS columns of the rows of a part, of which each line of
// threads takes a row at a time.
struct Piece {
  int part, j, line, first, last;

  __device__ __forceinline__ Piece(int rows, int columns, int rows_of_part) {
    int blocks = (columns + SUM_COLUMNS - 1) / SUM_COLUMNS;
    part = blockIdx.x / blocks;
    j = blockIdx.x % blocks * SUM_COLUMNS + threadIdx.x % SUM_COLUMNS;
    line = threadIdx.x / SUM_COLUMNS;
    first = part * rows_of_part;
    last = first + rows_of_part < rows ? first + rows_of_part : rows;
  }
};

// What the parts of column j add up to.
template <class T>
__device__ __forceinline__ T whole(const T *parts, int count, int columns, int j) {
  T sum = 0;
  for (int part = 0; part < count; part++) sum += parts[(int64_t)part * columns + j];
  return sum;
}

// sums[part], `(columns,)` of each: of the products of d and z `(rows, columns)`, both where z is
// there; behind them, if `plain`, of d itself.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    sum_products(const real *d, const real *z, int plain, int rows, int columns, int rows_of_part,
                 real *sums) {
  Piece piece(rows, columns, rows_of_part);
  int j = piece.j, width = columns * ((z != nullptr) + (plain != 0));
  real *own = sums + (int64_t)piece.part * width;
  if (z) {
    real sum = sum_of_lines<real>(piece.first, j < columns ? piece.last : 0, [&](int r) {
      return d[(int64_t)r * columns + j] * z[(int64_t)r * columns + j];
    });
    if (piece.line == 0 && j < columns) own[j] = sum;
    own += columns;
  }
  if (!plain) return;
  real sum = sum_of_lines<real>(piece.first, j < columns ? piece.last : 0,
                                [&](int r) { return d[(int64_t)r * columns + j]; });
  if (piece.line == 0 && j < columns) own[j] = sum;
}

// sums[part] `(columns,)` of the rows of a batch x.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    batch_sums(const int64_t *control, const real *x, int columns, int rows_of_part, double *sums) {
  Piece piece(batch_of(control, control[NEXT]).rows, columns, rows_of_part);
  int j = piece.j;
  double sum =
      sum_of_lines<double>(piece.first, j < columns ? piece.last : 0,
                           [&](int r) { return (double)x[(int64_t)r * columns + j]; });
  if (piece.line == 0 && j < columns) sums[(int64_t)piece.part * columns + j] = sum;
}

// squares[part] `(columns,)` of the distances from the columns' means, which `parts` sums make.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    batch_squares(const int64_t *control, const real *x, int columns, int rows_of_part, int parts,
                  const double *sums, double *squares) {
  int rows = batch_of(control, control[NEXT]).rows;
  Piece piece(rows, columns, rows_of_part);
  int j = piece.j;
  real mean = j < columns ? (real)(whole(sums, parts, columns, j) / rows) : (real)0;
  double sum = sum_of_lines<double>(piece.first, j < columns ? piece.last : 0, [&](int r) {
    real apart = x[(int64_t)r * columns + j] - mean;
    return (double)(apart * apart);
  });
  if (piece.line == 0 && j < columns) squares[(int64_t)piece.part * columns + j] = sum;
}

// Whether a batch is normalized by its own statistics.
__device__ __forceinline__ bool by_its_own(const int64_t *control, int rows) {
  return control[TRAINING] && rows > 1;
}

// z = (x - m) / s of x `(buffer, columns)`, m the mean of a column and s^2 its variance + epsilon: of
// the batch, whose sums and squares the `parts` are; or `means` and `variances`, as where the parts
// are null. s `(columns,)`, and the batch's statistics in `batch_means` and `batch_variances`; all
// three may be null.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    batch_normalize(const int64_t *control, const real *x, int buffer, int columns,
                    int rows_of_part, int parts, const double *sums, const double *squares,
                    double epsilon, const real *means, const real *variances, real *z, real *s,
                    real *batch_means, real *batch_variances) {
  int rows = batch_of(control, control[NEXT]).rows;
  Piece piece(buffer, columns, rows_of_part);
  int j = piece.j;
  if (j >= columns) return;
  real mean = means[j], variance = variances[j], unbiased = variance;
  if (sums && by_its_own(control, rows)) {
    mean = (real)(whole(sums, parts, columns, j) / rows);
    variance = (real)(whole(squares, parts, columns, j) / rows);
    unbiased = variance / (real)(1 - 1.0 / rows);
  }
  real deviation = sqrt_(variance + (real)epsilon);
  if (piece.part == 0 && piece.line == 0 && s) {
    s[j] = deviation;
    batch_means[j] = mean;
    batch_variances[j] = unbiased;
  }
  for (int r = piece.first + piece.line; r < piece.last; r += FN_THREADS / SUM_COLUMNS) {
    int64_t item = (int64_t)r * columns + j;
    z[item] = (x[item] - mean) / deviation;
  }
}

// The derivative by x: (e - mean(e) - z mean(e z)) / s + before over the rows of the batch, e = du
// scale, or e / s + before. `sums` holds the `parts` of du z and behind them of du.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    batch_normalize_back(const int64_t *control, const real *du, const real *z, const real *s,
                         const real *scale, int buffer, int columns, int rows_of_part, int parts,
                         const real *sums, const real *before, real *onward) {
  int rows = batch_of(control, control[NEXT]).rows;
  Piece piece(buffer, columns, rows_of_part);
  int j = piece.j;
  if (j >= columns) return;
  real factor = (scale ? scale[j] : (real)1) / s[j], mean = 0, along = 0;
  bool own = by_its_own(control, rows);
  if (own) {
    along = whole(sums, parts, 2 * columns, j) / rows;
    mean = whole(sums, parts, 2 * columns, columns + j) / rows;
  }
  for (int r = piece.first + piece.line; r < piece.last; r += FN_THREADS / SUM_COLUMNS) {
    int64_t item = (int64_t)r * columns + j;
    real dx = r < rows ? factor * (du[item] - mean - z[item] * along) : (real)0;
    onward[item] = before ? dx + before[item] : dx;
  }
}

// Embeddings. x `(rows, inputs)` has numbers, and behind them a code for each category; what comes
// out has `units` columns. Letters are those of fastnet_numpy/embedding.py: n is the `numbers`, f the
// `functions` of each, which make `made` of the `each` columns that a number becomes.

// The last category whose number in `column` is not beyond `place`.
__device__ __forceinline__ int category_at(const int *categories, int column, int place) {
  int k = 0;
  while (categories[(k + 1) * CATEGORY_COLUMNS + column] <= place) k++;
  return k;
}

// z: the numbers, and for each code its row of a table in p, or all 0 but for a 1 at code - 1.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    embed(int numbers, int inputs, int units, int64_t count, const int *categories, const real *p,
          const real *x, real *z) {
  EACH_ENTRY(item, count) {
    int64_t r = quotient(item, units);
    int j = (int)(item - r * units);
    const real *row = x + r * inputs;
    if (j < numbers) {
      z[item] = row[j];
      continue;
    }
    int k = category_at(categories, CATEGORY_FIRST, j), code = (int)row[numbers + k];
    const int *own = categories + k * CATEGORY_COLUMNS;
    int first = own[CATEGORY_FIRST], width = own[CATEGORY_COLUMNS + CATEGORY_FIRST] - first;
    int table = own[CATEGORY_TABLE], unit = j - first;
    z[item] = table < 0 ? (real)(unit + 1 == code) : p[table + (int64_t)code * width + unit];
  }
}

// The tables' gradient in g: for each code the sum of d `(rows, units)` over the rows that have it.
// A block walks all rows for SUM_COLUMNS columns of one code.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    embed_back(const int *categories, int numbers, int inputs, int units, int rows, const real *x,
               const real *d, real *g) {
  int k = category_at(categories, CATEGORY_FIRST_BLOCK, blockIdx.x);
  const int *own = categories + k * CATEGORY_COLUMNS;
  int first = own[CATEGORY_FIRST], width = own[CATEGORY_COLUMNS + CATEGORY_FIRST] - first;
  int blocks = (width + SUM_COLUMNS - 1) / SUM_COLUMNS;
  int place = blockIdx.x - own[CATEGORY_FIRST_BLOCK], code = place / blocks;
  int j = (place - code * blocks) * SUM_COLUMNS + threadIdx.x % SUM_COLUMNS;
  double sum = sum_of_lines<double>(0, j < width ? rows : 0, [&](int r) {
    bool has = (int)x[(int64_t)r * inputs + numbers + k] == code;
    return has ? (double)d[(int64_t)r * units + first + j] : 0.0;
  });
  if (threadIdx.x < SUM_COLUMNS && j < width)
    g[own[CATEGORY_TABLE] + (int64_t)code * width + j] = sum;
}

// t = 2 pi x frequency + phase, k counting all functions of all numbers.
__device__ __forceinline__ real angle(real x, const real *frequency, const real *phase, int k) {
  return x * (real)6.283185307179586 * frequency[k] + phase[k];
}

// e `(rows, n, f)`: the ways between `edges` `(n, f + 1)`, or cos(t) where these are null.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    functions_of_numbers(int numbers, int functions, int inputs, int64_t count, const real *x,
                         const real *frequency, const real *phase, const real *edges, real *e) {
  EACH_ENTRY(item, count) {
    int64_t r = quotient(item, numbers * functions);
    int k = (int)(item - r * numbers * functions), i = k / functions;
    real value = x[r * inputs + i];
    if (!edges) {
      e[item] = cos_(angle(value, frequency, phase, k));
      continue;
    }
    const real *own = edges + i * (functions + 1);
    real left = own[k - i * functions], right = own[k - i * functions + 1];
    real way = (value - left) * (left < right ? 1 / (right - left) : (real)0);
    if (way < 0 && left > own[0]) way = 0;
    if (way > 1 && right < own[functions]) way = 1;
    e[item] = way;
  }
}

// z: e w + bias + x slope of each number, w `(n, f, made)`, where `each` is one more x itself, and
// the other columns of x; slope may be null.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    embed_numbers(int numbers, int functions, int each, int made, int inputs, int units,
                  int64_t count, const real *e, const real *w, const real *bias, const real *slope,
                  const real *x, real *z) {
  EACH_ENTRY(item, count) {
    int64_t r = quotient(item, units);
    int j = (int)(item - r * units), i = j / each, u = j - i * each;
    const real *row = x + r * inputs;
    if (i >= numbers || u == made) {
      z[item] = row[i < numbers ? i : j - numbers * (each - 1)];
      continue;
    }
    const real *own = e + (r * numbers + i) * functions, *to = w + i * functions * made + u;
    real sum = 0;
    for (int k = 0; k < functions; k++) sum += own[k] * to[k * made];
    if (slope) sum += row[i] * slope[i * made + u];
    z[item] = sum + bias[i * made + u];
  }
}

// dt = -sin(t) d w' `(rows, n, f)`, of d `(rows, units)`.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    angles_back(int numbers, int functions, int each, int made, int inputs, int units,
                int64_t count, const real *x, const real *frequency, const real *phase,
                const real *w, const real *d, real *dt) {
  EACH_ENTRY(item, count) {
    int64_t r = quotient(item, numbers * functions);
    int k = (int)(item - r * numbers * functions), i = k / functions;
    const real *of = d + r * units + i * each, *to = w + (int64_t)k * made;
    real sum = 0;
    for (int u = 0; u < made; u++) sum += of[u] * to[u];
    dt[item] = -sin_(angle(x[r * inputs + i], frequency, phase, k)) * sum;
  }
}

// g `(n, f, made)` = factor a' d, number by number: a has rows `a_length` apart, of n f columns, d
// rows `length` apart, of `each` columns a number. Where a is null, all of it is 1.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    sum_by_number(int rows, int numbers, int functions, int made, double factor, const real *a,
                  int a_length, const real *d, int length, int each, real *g) {
  int j = blockIdx.x * SUM_COLUMNS + threadIdx.x % SUM_COLUMNS;
  bool here = j < numbers * functions * made;
  int k = j / made, at = k / functions * each + j - k * made;
  double sum = sum_of_lines<double>(0, here ? rows : 0, [&](int r) {
    double value = d[(int64_t)r * length + at];
    return a ? value * a[(int64_t)r * a_length + k] : value;
  });
  if (threadIdx.x < SUM_COLUMNS && here) g[j] = factor * sum;
}

// The derivative by x as training needs it: none by numbers, which are inputs, and that of the other
// columns + before.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    past_numbers(int numbers, int each, int inputs, int units, int64_t count, const real *d,
                 const real *before, real *onward) {
  EACH_ENTRY(item, count) {
    int64_t r = quotient(item, inputs);
    int j = (int)(item - r * inputs);
    real dx = j < numbers ? (real)0 : d[r * units + j + numbers * (each - 1)];
    onward[item] = before ? dx + before[item] : dx;
  }
}
