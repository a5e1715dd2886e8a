// The optimizers' updates of one parameter, as fastnet_numpy defines them.
//
// Each kind stands in one place, its struct. To add one, add a struct: the list of kinds that the
// switch below goes over is made from the structs (names.py).
#pragma once
#include "names.cuh"
#include "numbers.cuh"

// An optimizer: its constants `c` in the plan's order, 1 minus each in `rest`, and a step's rates.
struct Rule {
  int code;
  real c[OPTIMIZER_CONSTANTS], rest[OPTIMIZER_CONSTANTS];
  real rate, widen, stay;

  // `settings`: of the run.
  __device__ __forceinline__ Rule(int code, const double *settings) : code(code) {
    const double *constants = settings + SETTING_CONSTANTS;
#pragma unroll
    for (int i = 0; i < OPTIMIZER_CONSTANTS; i++) {
      c[i] = (real)constants[i];
      rest[i] = (real)constants[OPTIMIZER_CONSTANTS + i];
    }
  }
  // `step`: a row of the step table.
  __device__ __forceinline__ void take(const double *step) {
    rate = (real)step[STEP_RATE];
    widen = (real)step[STEP_WIDEN];
    stay = (real)step[STEP_STAY];
  }
  // Likewise, for a parameter with factors of its own.
  __device__ __forceinline__ void take(const double *step, real rate_factor, real decay_factor) {
    take(step);
    rate *= rate_factor;
    stay = 1 - (real)(1 - step[STEP_STAY]) * rate_factor * decay_factor;
  }
};

struct OfParameters {};

// What fades away becomes 0, and squares are of gradients that are not too small, by bounds that
// fastnet.definition.optimizers explains. NaN stays.
#ifdef FN_FLOAT64
#define LEAST_PARAMETER NEGLIGIBLE_PARAMETER_64
#define LEAST_MEMORY NEGLIGIBLE_MEMORY_64
#define LEAST_ROOT NEGLIGIBLE_ROOT_64
#else
#define LEAST_PARAMETER (real)NEGLIGIBLE_PARAMETER_32
#define LEAST_MEMORY (real)NEGLIGIBLE_MEMORY_32
#define LEAST_ROOT (real)NEGLIGIBLE_ROOT_32
#endif
__device__ __forceinline__ real cleared(real x, real least) { return abs_(x) < least ? (real)0 : x; }
__device__ __forceinline__ real remembered(real m) { return cleared(m, LEAST_MEMORY); }
__device__ __forceinline__ real squared(real g) {
  real size = abs_(g);
  size = size < LEAST_ROOT ? LEAST_ROOT : size;
  return size * size;
}

// The update of a parameter `p` by its gradient `g`; `m` and `n` are the two numbers of its memory.
template <int KIND>
struct Optimizer;

template <>
struct Optimizer<OPTIMIZER_SGD> : OfParameters {
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &, real &) {
    p -= rule.rate * g;
  }
};

template <>
struct Optimizer<OPTIMIZER_MOMENTUM> : OfParameters {
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m,
                                                real &) {
    m = remembered(rule.c[0] * m + g);
    p -= rule.rate * m;
  }
};

template <>
struct Optimizer<OPTIMIZER_NESTEROV> : OfParameters {
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m,
                                                real &) {
    m = remembered(rule.c[0] * m + g);
    p -= rule.rate * (g + rule.c[0] * m);
  }
};

template <>
struct Optimizer<OPTIMIZER_ADAM> : OfParameters {  // beta1, beta2, epsilon, before
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m,
                                                real &n) {
    m = remembered(rule.c[0] * m + rule.rest[0] * g);
    n = rule.c[1] * n + rule.rest[1] * squared(g);
    real epsilon = rule.c[3] != 0 ? rule.c[2] * rule.widen : rule.c[2];
    p -= rule.rate * (m / (sqrt_(n) * rule.widen + epsilon));
  }
};

template <>
struct Optimizer<OPTIMIZER_RMSPROP> : OfParameters {  // decay, epsilon, momentum
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m,
                                                real &n) {
    m = rule.c[0] * m + rule.rest[0] * squared(g);
    real step = g / (sqrt_(m) + rule.c[1]);
    if (rule.c[2] != 0) {
      n = remembered(rule.c[2] * n + step);
      step = n;
    }
    p -= rule.rate * step;
  }
};

template <>
struct Optimizer<OPTIMIZER_ADAGRAD> : OfParameters {  // epsilon
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m,
                                                real &) {
    m += squared(g);
    p -= rule.rate * (g / (sqrt_(m) + rule.c[0]));
  }
};

template <>
struct Optimizer<OPTIMIZER_RPROP> : OfParameters {  // grow, shrink, smallest, largest
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m,
                                                real &n) {
    g = remembered(g);
    real sign = sign_(m) * sign_(g);
    real grown = n * (sign > 0 ? rule.c[0] : (sign < 0 ? rule.c[1] : (real)1));
    n = grown < rule.c[2] ? rule.c[2] : (grown > rule.c[3] ? rule.c[3] : grown);
    m = sign < 0 ? (real)0 : g;
    p -= sign_(m) * n;
  }
};

template <>
struct Optimizer<OPTIMIZER_LION> : OfParameters {  // beta1, beta2
  static __device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m,
                                                real &) {
    p -= rule.rate * sign_(remembered(rule.c[0] * m + rule.rest[0] * g));
    m = remembered(rule.c[1] * m + rule.rest[1] * g);
  }
};

// Let the parameter decay, then update it.
__device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m, real &n) {
  p = rule.stay * p;
#define FN_CASE(KIND)                            \
  case KIND:                                     \
    Optimizer<KIND>::update(rule, p, g, m, n);   \
    break;
  switch (rule.code) { EACH_OPTIMIZER_OF_PARAMETERS(FN_CASE) }
#undef FN_CASE
  p = cleared(p, LEAST_PARAMETER);
}

// An entry of a gradient cut to [-limit, limit]; NaN stays.
__device__ __forceinline__ real clipped(real g, real limit) {
  return g > limit ? limit : (g < -limit ? -limit : g);
}

// What L1 and L2 add to the loss for a weight `w`, and to its derivative.
__device__ __forceinline__ real penalty(real w, real l1, real l2) {
  return l1 * abs_(w) + (real)0.5 * l2 * w * w;
}
__device__ __forceinline__ real penalty_slope(real w, real l1, real l2) {
  return l1 * sign_(w) + l2 * w;
}

// Squares of a gradient's entries are summed up twice, as they are and of entries times SHRINK:
// the first sum overflows beyond 1e154, where the second is still finite.
#define SHRINK 7.458340731200207e-155  // 2^-512

// What the gradient is multiplied with, so that it is no longer than `limit`.
__device__ __forceinline__ double norm_factor(double squares, double shrunk, double limit) {
  double length = isinf(squares) ? sqrt(shrunk) / SHRINK : sqrt(squares);
  return length > limit ? limit / length : 1.0;
}
