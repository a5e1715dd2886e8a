// Elementwise activations: a = f(z) and da / dz, as fastnet_numpy defines them.
//
// Each kind stands in one place, its struct. To add one, add a struct: the lists of kinds that the
// switches below go over are made from the structs (names.py).
#pragma once
#include "names.cuh"
#include "numbers.cuh"

// The constants of an activation, in the plan's order.
struct Constants {
  real first, second;
};

// Whether da / dz can be computed from a alone, so that z need not be kept.
struct SlopeFromOutput {};
struct SlopeFromInput {};

template <int KIND>
struct Activation;

__device__ __forceinline__ real sigmoid(real z) { return 1 / (1 + exp_(-z)); }

// max(z, 0) + log(1 + exp(-|z|)), which does not overflow.
__device__ __forceinline__ real softplus(real z) {
  return (z < 0 ? (real)0 : z) + log1p_(exp_(-abs_(z)));
}

// The standard normal's distribution function: erfc keeps the digits of the lower tail. There a
// rounded argument would cost float32 most of them, so what rounding took off it is put back, by
// erfc's derivative.
__device__ __forceinline__ double normal_cdf(double z) {
  return 0.5 * erfc(z * -0.70710678118654752440);
}
__device__ __forceinline__ float normal_cdf(float z) {
  float x = z * -0.707106769f;                                     // -sqrt(1/2) in float32,
  float rest = fmaf(z, -0.707106769f, -x) + z * -1.21016172e-8f;  // and what it leaves out
  float back = isinf(z) ? 0.f : 1.12837917f * expf(-x * x) * rest;
  return 0.5f * (erfcf(x) - back);
}

template <>
struct Activation<ACTIVATION_IDENTITY> : SlopeFromOutput {
  static __device__ __forceinline__ real value(real z, Constants) { return z; }
  static __device__ __forceinline__ real slope(real, Constants) { return 1; }
};

template <>
struct Activation<ACTIVATION_RELU> : SlopeFromOutput {
  static __device__ __forceinline__ real value(real z, Constants) { return z < 0 ? (real)0 : z; }
  static __device__ __forceinline__ real slope(real a, Constants) {
    return a > 0 ? (real)1 : (real)0;
  }
};

template <>
struct Activation<ACTIVATION_SIGMOID> : SlopeFromOutput {
  static __device__ __forceinline__ real value(real z, Constants) { return sigmoid(z); }
  static __device__ __forceinline__ real slope(real a, Constants) { return a * (1 - a); }
};

template <>
struct Activation<ACTIVATION_TANH> : SlopeFromOutput {
  static __device__ __forceinline__ real value(real z, Constants) { return tanh_(z); }
  static __device__ __forceinline__ real slope(real a, Constants) { return 1 - a * a; }
};

template <>
struct Activation<ACTIVATION_LEAKY_RELU> : SlopeFromOutput {  // first: the slope where z <= 0
  static __device__ __forceinline__ real value(real z, Constants c) {
    return z <= 0 ? c.first * z : z;
  }
  static __device__ __forceinline__ real slope(real a, Constants c) {
    return a <= 0 ? c.first : (real)1;
  }
};

template <>
struct Activation<ACTIVATION_ELU> : SlopeFromInput {  // first: the curve's factor; second: scale
  static __device__ __forceinline__ real value(real z, Constants c) {
    return z > 0 ? c.second * z : c.first * expm1_(z);
  }
  static __device__ __forceinline__ real slope(real z, real, Constants c) {
    return z > 0 ? c.second : c.first * exp_(z);
  }
};

template <>
struct Activation<ACTIVATION_SOFTPLUS> : SlopeFromInput {
  static __device__ __forceinline__ real value(real z, Constants) { return softplus(z); }
  static __device__ __forceinline__ real slope(real z, real, Constants) { return sigmoid(z); }
};

template <>
struct Activation<ACTIVATION_SILU> : SlopeFromInput {
  static __device__ __forceinline__ real value(real z, Constants) { return z * sigmoid(z); }
  static __device__ __forceinline__ real slope(real z, real a, Constants) {
    real s = sigmoid(z);
    return s + a * (1 - s);
  }
};

template <>
struct Activation<ACTIVATION_GELU> : SlopeFromInput {
  static __device__ __forceinline__ real value(real z, Constants) { return z * normal_cdf(z); }
  static __device__ __forceinline__ real slope(real z, real, Constants) {
    return normal_cdf(z) + z * (real)0.39894228040143267794 * exp_((real)-0.5 * z * z);
  }
};

template <>
struct Activation<ACTIVATION_TANH_GELU> : SlopeFromInput {  // first, second: of z and of z^3
  // The argument is cut at 30, where tanh is 1 to the last digit: z^2 could overflow.
  static __device__ __forceinline__ real within_30(real z) {
    return z > 30 ? (real)30 : (z < -30 ? (real)-30 : z);
  }
  static __device__ __forceinline__ real inner(real z, Constants c) {
    return tanh_(c.first * (z + c.second * z * z * z));
  }
  static __device__ __forceinline__ real value(real z, Constants c) {
    return (real)0.5 * z * (1 + inner(within_30(z), c));
  }
  static __device__ __forceinline__ real slope(real z, real, Constants c) {
    real u = within_30(z), h = inner(u, c);
    return (real)0.5 * (1 + h) +
           (real)0.5 * u * (1 - h * h) * c.first * (1 + 3 * c.second * u * u);
  }
};

template <>
struct Activation<ACTIVATION_MISH> : SlopeFromInput {  // z tanh(log(1 + e)) = z n / (n + 2)
  // From 20 on n / (n + 2) is 1 to the last digit, and the square does not overflow.
  static __device__ __forceinline__ real power(real z) { return exp_(z > 20 ? (real)20 : z); }
  static __device__ __forceinline__ real value(real z, Constants) {
    real e = power(z), n = e * (e + 2);
    return z * (n / (n + 2));
  }
  static __device__ __forceinline__ real slope(real z, real, Constants) {
    real e = power(z), n = e * (e + 2);
    return n / (n + 2) + z * 4 * e * (1 + e) / ((n + 2) * (n + 2));
  }
};

// min(max(z, 0), 6); NaN stays.
__device__ __forceinline__ real between_0_and_6(real z) {
  return z < 0 ? (real)0 : (z > 6 ? (real)6 : z);
}

template <>
struct Activation<ACTIVATION_HARDSWISH> : SlopeFromInput {
  static __device__ __forceinline__ real value(real z, Constants) {
    return z * (between_0_and_6(z + 3) / 6);
  }
  static __device__ __forceinline__ real slope(real z, real, Constants) {
    return z <= -3 ? (real)0 : (z >= 3 ? (real)1 : z / 3 + (real)0.5);
  }
};

template <>
struct Activation<ACTIVATION_RELU6> : SlopeFromOutput {
  static __device__ __forceinline__ real value(real z, Constants) { return between_0_and_6(z); }
  static __device__ __forceinline__ real slope(real a, Constants) {
    return a > 0 && a < 6 ? (real)1 : (real)0;
  }
};

template <>
struct Activation<ACTIVATION_HARDSIGMOID> : SlopeFromInput {
  static __device__ __forceinline__ real value(real z, Constants) {
    return between_0_and_6(z + 3) / 6;
  }
  static __device__ __forceinline__ real slope(real z, real, Constants) {
    return z > -3 && z < 3 ? (real)1 / 6 : (real)0;
  }
};

// a = f(z).
__device__ __forceinline__ real activated(int code, real z, Constants c) {
#define FN_CASE(KIND) \
  case KIND:          \
    return Activation<KIND>::value(z, c);
  switch (code) { EACH_ACTIVATION_SLOPE_FROM_OUTPUT(FN_CASE) EACH_ACTIVATION_SLOPE_FROM_INPUT(FN_CASE) }
#undef FN_CASE
  return z;
}

// Whether da / dz can be computed from a alone.
__device__ __forceinline__ bool slope_from_output(int code) {
#define FN_CASE(KIND) case KIND:
  switch (code) {
    EACH_ACTIVATION_SLOPE_FROM_OUTPUT(FN_CASE)
    return true;
  }
#undef FN_CASE
  return false;
}

// da / dz from a, for those.
__device__ __forceinline__ real slope_of(int code, real a, Constants c) {
#define FN_CASE(KIND) \
  case KIND:          \
    return Activation<KIND>::slope(a, c);
  switch (code) { EACH_ACTIVATION_SLOPE_FROM_OUTPUT(FN_CASE) }
#undef FN_CASE
  return 1;
}

// da / dz from z and a, for any.
__device__ __forceinline__ real slope_at(int code, real z, real a, Constants c) {
#define FN_CASE(KIND) \
  case KIND:          \
    return Activation<KIND>::slope(z, a, c);
  switch (code) { EACH_ACTIVATION_SLOPE_FROM_INPUT(FN_CASE) }
#undef FN_CASE
  return slope_of(code, a, c);
}
